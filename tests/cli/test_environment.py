"""Environment variables and folders that users of MLflow and Hydra expect to work."""

from __future__ import annotations

import pytest

from harness.cli.compose import LONGEST_FOLDER, _as_folder
from harness.cli.environment import check_environment
from harness.errors import ConfigError


@pytest.mark.parametrize("name", ["MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID"])
def test_a_variable_that_cannot_be_followed_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    check_environment()
    monkeypatch.setenv(name, "1")
    with pytest.raises(ConfigError, match=f"^{name} is set, but "):
        check_environment()


def test_a_long_name_of_a_folder_is_shortened() -> None:
    names = [f"data.features=[{'größe,' * 60}{end}]" for end in "ab"]
    found = {_as_folder(name) for name in names}
    assert len(found) == 2
    assert all(len(name.encode()) <= LONGEST_FOLDER for name in found)
    assert _as_folder("a=1,b=2") == "a=1,b=2"
