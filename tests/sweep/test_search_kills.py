"""Killed searches continue with the same trials and bit-identical results; a second call trains nothing."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.sweep.test_kills import numbers as numbers_of
from tests.sweep.test_kills import rows
from tests.warm import Warm

pytestmark = pytest.mark.slow

WORDS = [
    *("train", "-m", "data.rows=60000", "model=mlp", "model.units=[8]", "chunksize=full,1000", "epochs=9"),
    *("learning_rate=tag(log,interval(1e-4,1e3))", "search.trials=18", "search.confirm={top: 1, seeds: 2}"),
]


@pytest.fixture(scope="module")
def undisturbed(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    assert warm.run(folder, *WORDS) in (0, 1), (folder / "log").read_text()
    return folder


def numbers(folder: Path) -> dict[tuple, float]:
    """Return all metrics of runs except times; after a kill, those of the summary run differ."""
    return numbers_of(folder, "AND tags.run_uuid IN (SELECT run_uuid FROM tags WHERE key = 'kind' AND value = 'run')")


def record(folder: Path) -> Any:
    """Return the search's own record, without the ids of runs."""
    (path,) = (folder / "mlartifacts").rglob("search.json")
    found = json.loads(path.read_text())
    for run in [*found["confirmed"], *(run for each in found["trials"] for run in each["runs"])]:
        del run["run_id"]
    return found


def test_every_chunk_size_finishes_a_run(undisturbed: Path) -> None:
    found = record(undisturbed)
    for each in found["trials"]:
        ended = Counter(f"{run['status']} {run.get('pruned_at', '')}" for run in each["runs"])
        assert ended["finished "] == 1
        assert ended["killed 1"] + ended["killed 3"] + ended["failed "] == 8
        finished = next(run for run in each["runs"] if run["status"] == "finished")
        assert all(finished["value"] <= run["value"] for run in each["runs"] if run.get("pruned_at") == 3)
    failed = [run for each in found["trials"] for run in each["runs"] if run["status"] == "failed"]
    assert all(run["reason"].startswith("diverged") for run in failed)
    assert [run["status"] for run in found["confirmed"]] == ["finished"] * 4


def test_the_same_command_trains_nothing(warm: Warm, undisturbed: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(undisturbed, again)
    before = rows(again, "SELECT count(*) FROM runs"), numbers(again)
    assert warm.run(again, *WORDS, log=tmp_path / "log") in (0, 1)
    assert (rows(again, "SELECT count(*) FROM runs"), numbers(again)) == before
    assert record(again) == record(undisturbed)
    # A grid with the configuration of a pruned run trains it from the start.
    pruned = next(run["name"] for run in record(again)["trials"][0]["runs"] if run.get("pruned_at"))
    rate = pruned.split()[1].removeprefix("lr=")
    words = [word for word in WORDS if not word.startswith(("search", "learning", "chunksize"))]
    assert warm.run(again, *words, "chunksize=full", f"learning_rate={rate}", log=tmp_path / "log") == 0
    states = rows(
        again,
        "SELECT status FROM runs JOIN tags ON tags.run_uuid = runs.run_uuid"
        f" WHERE tags.key = 'mlflow.runName' AND tags.value LIKE 'full lr={rate} %' AND name NOT LIKE '%seed%'",
    )
    assert sorted(states) == [("FINISHED",), ("KILLED",)]


@pytest.mark.parametrize(("checkpoints", "keeps"), [(1, False), (2, True), (3, False), (5, True)])
def test_kills(warm: Warm, undisturbed: Path, tmp_path: Path, checkpoints: int, keeps: bool) -> None:
    """Killed before the first checkpoint, during a generation or during confirmation; with or without checkpoints."""
    status = warm.run(tmp_path, *WORDS, checkpoints=checkpoints)
    assert status in (-9, 0, 1)
    if not keeps:
        shutil.rmtree(tmp_path / ".harness" / "checkpoints", ignore_errors=True)
    assert warm.run(tmp_path, *WORDS) in (0, 1), (tmp_path / "log").read_text()
    assert record(tmp_path) == record(undisturbed)
    whole = numbers(undisturbed)
    found = numbers(tmp_path)
    assert found == whole


def test_what_the_clock_decided_is_repeated(warm: Warm, tmp_path: Path) -> None:
    words = [*WORDS[:7], "learning_rate=tag(log,interval(1e-4,1e-1))", "search.minutes=0.00001", "search.confirm=null"]

    def trials() -> int:
        assert warm.run(tmp_path, *words) == 0, (tmp_path / "log").read_text()
        return len({tuple(found) for found in rows(tmp_path, "SELECT run_uuid FROM tags WHERE key = 'signature'")}) - 1

    assert trials() == 54
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as store, store:
        (spent,) = store.execute("SELECT value FROM tags WHERE key = 'search_spent'").fetchone()
        assert spent == "over"
        # As if there had been time for another generation, and then the command had been killed.
        store.execute("UPDATE tags SET value = '0.1 over' WHERE key = 'search_spent'")
    assert trials() == 108
    assert [len(each["runs"]) for each in record(tmp_path)["trials"]] == [54, 54]
    assert trials() == 108
