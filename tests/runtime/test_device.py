"""How TensorFlow is set up before anything is built."""

from __future__ import annotations

import pytest
import tensorflow as tf

from harness.config import Device, RuntimeConfig
from harness.runtime.device import choose_device

tf.config.threading.set_intra_op_parallelism_threads(1)


@pytest.mark.parametrize(("deterministic", "calls"), [(True, 1), (False, 0)])
def test_operations_are_deterministic_if_asked_for(
    monkeypatch: pytest.MonkeyPatch, deterministic: bool, calls: int
) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(tf.config.experimental, "enable_op_determinism", lambda: asked.append(True))
    choose_device(RuntimeConfig(Device.cpu, deterministic=deterministic))
    assert len(asked) == calls
