"""What `stopping.*` accepts."""

from __future__ import annotations

import pytest

from harness.config import Restore, StoppingConfig
from harness.errors import ConfigError


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"patience": 0}, "stopping.patience must be positive, not 0."),
        ({"patience": 1, "min_delta": -1}, "stopping.min_delta must be from 0 to 3e+38, not -1."),
        ({"min_delta": 0.1}, "stopping.min_delta has no effect without stopping.patience; set both."),
        (
            {"metric": "val/r2"},
            "stopping.metric has no effect without stopping.patience or stopping.restore=best.",
        ),
    ],
)
def test_refused(values: dict, sentence: str) -> None:
    with pytest.raises(ConfigError) as refused:
        StoppingConfig(**values)
    assert str(refused.value) == sentence


def test_on_and_off() -> None:
    assert not StoppingConfig().is_on
    assert StoppingConfig(patience=1).is_on
    assert StoppingConfig(restore=Restore.best, metric="val/r2").is_on
