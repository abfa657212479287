"""Checkpoints: saved whole or not at all, and loaded without running code."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from filelock import Timeout

from harness.sweep import checkpoint as module
from harness.sweep.checkpoint import Checkpoint, Saved

SAVED = Saved({"runs": ["a"], "inf": float("inf")}, {"scan/x": np.arange(6.0).reshape(2, 3), "n": np.array(7)})


def test_a_save_is_loaded_and_replaced_by_the_next(tmp_path: Path) -> None:
    place = Checkpoint(tmp_path / "all" / "c", {"command": "harness train"})
    assert place.load() is None
    place.save(SAVED)
    place.save(Saved({"runs": ["b"]}, SAVED.arrays))
    found = place.load()
    assert found
    assert found.facts == {"runs": ["b"]}
    assert {name: value.tolist() for name, value in found.arrays.items()} == {
        name: value.tolist() for name, value in SAVED.arrays.items()
    }
    assert sorted(path.name for path in (tmp_path / "all" / "c").iterdir()) == ["lock", "manifest.json", "state.npz"]
    place.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Checkpoint(tmp_path / "c", {})
    place.save(SAVED)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            place.save(Saved({"runs": []}, {}))
    found = place.load()
    assert found
    assert found.facts == SAVED.facts
    assert not (tmp_path / "c" / "state.aside").exists()
    place.close()


def test_no_pickle_is_loaded(tmp_path: Path) -> None:
    place = Checkpoint(tmp_path / "c", {})
    with (tmp_path / "c" / "state.npz").open("wb") as file:
        np.savez(file, facts=np.array([{"runs": []}], dtype=object))
    assert place.load() is None
    place.close()


def test_only_one_process_holds_a_checkpoint(tmp_path: Path) -> None:
    place = Checkpoint(tmp_path / "c", {})
    with pytest.raises(Timeout):
        Checkpoint(tmp_path / "c", {})
    place.close()
    Checkpoint(tmp_path / "c", {}).close()


def test_saving_takes_at_most_one_percent_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    place = Checkpoint(tmp_path / "c", {})
    assert not place.due
    now += module.INTERVAL
    assert place.due

    def slow(descriptor: int) -> None:
        nonlocal now
        now += 2.0

    monkeypatch.setattr(module.os, "fsync", slow)
    place.save(SAVED)  # Two fsyncs; the second, of the folder, counts too.
    assert not place.due
    now += 4.0 / module.TIME_SHARE - 0.1
    assert not place.due
    now += 0.2
    assert place.due
    place.close()
