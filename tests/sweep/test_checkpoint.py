"""Checkpoints are saved completely or not at all, and loaded without running code."""

from __future__ import annotations

import errno
import io
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import Timeout

from harness.errors import ConfigError
from harness.runtime import state_files
from harness.runtime.state_files import write_state
from harness.sweep import checkpoint as module
from harness.sweep.checkpoint import Checkpoint, Saved
from harness.tracking.outbox import LeaseLost


def facts(**more: Any) -> Any:
    """Facts of a batch with one run."""
    run = {"run_id": "ab", "sweeps": ["cd"], "status": "", "reason": "", "cost": math.inf}
    run |= {"stopped_at": None, "pruned_at": None, "has_model": False}
    run |= {"best": {"val/loss": (0.5, 1)}, "last": {"val/loss": 0.5}, "test": {}}
    recorder = {"runs": {"signature": run}, "kept": {}, "seconds": {"wall": 1.5}, "best": None}
    record = {"kind": "metrics", "run": "ab", "values": {"val/loss": 0.5}, "step": 1, "ms": 1}
    known = {"runs": ["signature"], "scan": 0, "records": [record], "points": {"ab": {"val/loss": (1, 1)}}}
    return known | {"recorder": recorder} | more


SAVED = Saved(facts(), {"scan/x": np.arange(6.0).reshape(2, 3), "n": np.array(7)})


def place_in(folder: Path) -> Checkpoint:
    return Checkpoint(folder / "all" / "c", {"command": "harness train"})


def test_what_a_process_killed_as_it_saved_has_left_is_removed(tmp_path: Path) -> None:
    place_in(tmp_path).close()
    left = tmp_path / "all" / "c" / ".state.1.2"
    left.touch()
    place_in(tmp_path).close()
    assert not left.exists()


def test_a_save_is_loaded_and_the_one_before_is_kept(tmp_path: Path) -> None:
    place, said = place_in(tmp_path), []
    assert place.load(said.append) is None
    for scan in range(3):
        place.save(Saved(facts(scan=scan), SAVED.arrays))
    found = place.load(said.append)
    assert found
    assert found.facts == facts(scan=2)
    assert {name: value.tolist() for name, value in found.arrays.items()} == {
        name: value.tolist() for name, value in SAVED.arrays.items()
    }
    folder = tmp_path / "all" / "c"
    assert sorted(path.name for path in folder.iterdir()) == ["lock", "manifest.json", "state", "state.before"]
    assert module.manifest(folder) == {"command": "harness train"}
    place.reject()
    before = place.load(said.append)
    assert before
    assert before.facts["scan"] == 1
    assert said == []
    place.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = place_in(tmp_path)
    place.save(SAVED)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(state_files.os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            place.save(Saved(facts(scan=1), {}))
    found = place.load(lambda line: None)
    assert found
    assert found.facts == SAVED.facts
    assert sorted(path.name for path in (tmp_path / "all" / "c").glob("*state*")) == ["state"]
    place.close()


def contents() -> dict[str, bytes]:
    """Contents that have a valid checksum but are not checkpoints."""

    def packed(**arrays: Any) -> bytes:
        with io.BytesIO() as file:
            np.savez(file, **arrays)
            return file.getvalue()

    run = facts()["recorder"]["runs"]["signature"]
    edits = {
        "scan": facts(scan=-1),
        "runs": facts(runs=[7]),
        "kind": facts(records=[{"kind": "text", "run": "ab", "text": "", "file": "a"}]),
        "nan": facts(records=[facts()["records"][0] | {"values": {"a": math.nan}}]),
        "more": facts(more=1),
        "points": facts(points={"ab": {"val/loss": [0.5, 1]}}),
        "status": facts(recorder=facts()["recorder"] | {"runs": {"signature": run | {"status": "RUNNING"}}}),
        "id": facts(recorder=facts()["recorder"] | {"runs": {"signature": run | {"run_id": "../x"}}}),
        "none": facts(recorder=None),
    }
    texts = {name: packed(facts=np.frombuffer(json.dumps(each).encode(), np.uint8)) for name, each in edits.items()}
    pickled = packed(facts=np.array([{"runs": []}], dtype=object))
    return texts | {"pickle": pickled, "empty": b"", "text": b"{}", "half": pickled[:100], "no facts": packed(a=1)}


@pytest.mark.parametrize("name", contents())
def test_no_pickle_and_nothing_unexpected_is_loaded(tmp_path: Path, name: str) -> None:
    place, said = place_in(tmp_path), []
    place.save(SAVED)
    place.save(SAVED)
    path = tmp_path / "all" / "c" / "state"
    write_state(path, "checkpoint 6", contents()[name])
    assert place.load(said.append)
    assert said == [f"resume: {path} does not have the expected fields. Moved to state.damaged."]
    place.close()


def test_a_process_that_may_not_save_leaves_the_checkpoints_as_they_are(tmp_path: Path) -> None:
    place = place_in(tmp_path)
    place.save(SAVED)
    place.save(SAVED)

    def files() -> dict[str, int]:
        return {path.name: path.stat().st_ino for path in (tmp_path / "all" / "c").iterdir()}

    before = files()
    assert before.keys() >= {"state", "state.before"}

    def refuse() -> None:
        assert len(files()) == len(before) + 1  # Only the file that would replace the last checkpoint is new.
        raise LeaseLost("taken over")

    with pytest.raises(LeaseLost):
        place.save(SAVED, refuse)
    assert files() == before
    place.close()


@pytest.mark.parametrize("name", ["state", "state.before", "manifest.json", "lock"])
@pytest.mark.parametrize("way", ["folder", "link", "fifo"])
def test_anything_but_a_file_is_set_aside(tmp_path: Path, name: str, way: str) -> None:
    folder = tmp_path / "all" / "c"
    folder.mkdir(parents=True)
    canary = tmp_path / "canary"
    canary.write_text("kept")
    if way == "link":
        (folder / name).symlink_to(canary)
    else:
        os.mkfifo(folder / name) if way == "fifo" else (folder / name).mkdir()
    place = place_in(tmp_path)
    assert place.load(lambda line: None) is None
    place.save(SAVED)
    place.save(SAVED)
    assert place.load(lambda line: None)
    assert canary.read_text() == "kept"
    place.close()


def test_folders_of_other_users_are_refused(tmp_path: Path) -> None:
    place_in(tmp_path).close()
    (tmp_path / "all" / "c").chmod(0o777)
    with pytest.raises(ConfigError, match="Other users can write to"):
        place_in(tmp_path)
    if os.geteuid() == 0:
        (tmp_path / "all" / "c").chmod(0o700)
        os.chown(tmp_path / "all", 12345, -1)
        with pytest.raises(ConfigError, match="belongs to another user"):
            place_in(tmp_path)


def test_only_one_process_holds_a_checkpoint(tmp_path: Path) -> None:
    place = place_in(tmp_path)
    with pytest.raises(Timeout):
        place_in(tmp_path)
    place.close()
    place_in(tmp_path).close()


def test_saving_takes_at_most_one_percent_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    place = place_in(tmp_path)
    assert not place.due
    now += module.INTERVAL
    assert place.due

    def slow(descriptor: int) -> None:
        nonlocal now
        now += 2.0

    monkeypatch.setattr(state_files.os, "fsync", slow)

    def wait_for_store() -> None:
        nonlocal now
        now += 100.0

    # There are two calls of fsync; the second one, for the folder, counts too. Waiting for the store does not.
    place.save(SAVED, wait_for_store)
    assert not place.due
    now += 4.0 / module.TIME_SHARE - 0.1
    assert not place.due
    now += 0.2
    assert place.due
    place.close()
