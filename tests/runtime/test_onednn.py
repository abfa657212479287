"""A recorded setting of oneDNN is restored as long as TensorFlow has not read it."""

from __future__ import annotations

import sys

import pytest

from harness.runtime.onednn import ONEDNN, onednn, restore_onednn


def test_a_recorded_setting_is_restored_before_tensorflow_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ONEDNN, raising=False)
    monkeypatch.setitem(sys.modules, "tensorflow", sys)
    assert restore_onednn("default")
    assert not restore_onednn("0")
    monkeypatch.delitem(sys.modules, "tensorflow")
    assert restore_onednn("0")
    assert onednn() == "0"
    assert not restore_onednn("0; rm")
    assert restore_onednn("default")
    assert onednn() == "default"
