"""What is kept on disk, what can be removed, and what a resumable sweep keeps."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from harness.cli import main
from harness.cli.clean import IN_USE, UNDELIVERED, Item, free, look, seconds, survey
from harness.config import DataConfig
from harness.data.tables.builder import open_table
from harness.data.tables.cache import NEEDED
from harness.data.tables.cache import free as free_tables
from harness.data.tables.locks import release
from harness.data.tables.table import Table
from harness.errors import ConfigError
from harness.runtime.state_files import write_json
from harness.sweep.checkpoint import needed_tables
from harness.tracking.outbox import new_outbox
from harness.tracking.reader import RunReader
from harness.tracking.tracker import Tracker

WEEK = 604_800.0
CSV = "x,y\n" + "".join(f"{x},{2 * x + 1}\n" for x in range(13))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / ".harness"


@pytest.fixture
def shelve(cache: Path, tmp_path: Path) -> Callable[..., Table]:
    """Create a table that no process is using."""

    def make(name: str = "small.csv", **data: Any) -> Table:
        (tmp_path / name).write_text(CSV)
        found = open_table(DataConfig(**{"features": ["x"], "target": "y", "path": str(tmp_path / name)} | data), cache)
        release(found.folder)
        return found

    return make


def checkpoint(cache: Path, table: str, key: str = "0123456789abcdef") -> Path:
    folder = cache / "checkpoints" / key
    folder.mkdir(parents=True)
    (folder / "lock").touch()
    (folder / "state").write_bytes(b"0" * 1000)
    manifest = {"table": table, "command": "harness train -m seed=0,1", "experiment": "harness"}
    write_json(folder / "manifest.json", "checkpoint manifest 1", manifest)
    return folder


def brief(items: list[Item]) -> list[tuple[str, str, str]]:
    return [(item.kind, item.name, item.kept) for item in items]


def test_an_empty_cache_has_no_items(cache: Path) -> None:
    assert survey(cache) == []
    assert list(free([], force=False, dry_run=False)) == ["0 B freed"]


@pytest.mark.parametrize(
    ("age", "expected"), [("7d", WEEK), ("1w", WEEK), ("7", WEEK), ("12h", 43200), ("0.5d", 43200)]
)
def test_ages(age: str, expected: float) -> None:
    assert seconds(age) == expected


@pytest.mark.parametrize("age", ["", "d", "-1d", "7 days", "1y", "nan"])
def test_invalid_ages_are_refused(age: str) -> None:
    with pytest.raises(ConfigError, match="--older-than must be an age such as 7d, 12h or 2w, not "):
        seconds(age)


def test_a_resumable_sweep_keeps_what_it_needs(cache: Path, shelve: Callable[..., Table]) -> None:
    kept, other = shelve("kept.csv"), shelve("other.csv")
    folder = checkpoint(cache, kept.folder.name)
    items = survey(cache)
    assert brief(items)[0] == ("checkpoints", folder.name, NEEDED)
    assert items[0].state == "harness train -m seed=0,1"
    assert items[0].bytes == sum(file.stat().st_size for file in folder.iterdir())
    assert {item.name: item.kept for item in items[1:]} == {kept.folder.name[:8]: NEEDED, other.folder.name[:8]: ""}
    said = list(free(items, force=False, dry_run=False))
    assert said[0] == f"{folder.name} {NEEDED} and is kept (--force removes it)"
    assert said[-1].endswith("B freed")
    assert (folder.is_dir(), kept.folder.is_dir(), other.folder.is_dir()) == (True, True, False)
    (folder / "manifest.json").write_text("")  # It was being rewritten when the process was killed.
    assert [item.kept for item in survey(cache, ["checkpoints"])] == [NEEDED]
    list(free(survey(cache), force=True, dry_run=False))
    assert (folder.exists(), kept.folder.exists()) == (False, False)


def test_cleaning_tables_keeps_what_a_resumable_sweep_needs(
    cache: Path, shelve: Callable[..., Table], tmp_path: Path
) -> None:
    kept, other = shelve("kept.csv"), shelve("other.csv")
    checkpoint(cache, kept.folder.name)
    (tmp_path / "kept.csv").unlink()
    said = list(free_tables(cache, [], everything=True, age=None, needed=needed_tables(cache)))
    assert said[0] == f"{kept.folder.name[:8]} {NEEDED} and is kept"
    assert (kept.folder.is_dir(), other.folder.is_dir()) == (True, False)


def test_generated_data_stays_as_long_as_its_table_is_needed(cache: Path, shelve: Callable[..., Table]) -> None:
    table = shelve(features=["sqft_living"], target="price", path=None, rows=100)
    folder = checkpoint(cache, table.folder.name)
    assert [item.kept for item in survey(cache, ["tables"])] == [NEEDED] * 2
    list(free_tables(cache, [], everything=True, age=None, needed=needed_tables(cache)))
    assert Path(table.address).is_file()
    (folder / "manifest.json").unlink()
    (folder / "state").unlink()
    assert [item.kept for item in survey(cache)] == [""] * 3
    list(free_tables(cache, [], everything=True, age=None, needed=needed_tables(cache)))
    assert not Path(table.address).exists()


def test_items_in_use_stay_even_with_force(cache: Path, shelve: Callable[..., Table]) -> None:
    table = shelve()
    folder = checkpoint(cache, table.folder.name)
    before = survey(cache)
    with (folder / "lock").open() as lock, (table.folder / "table.json").open() as user:
        fcntl.flock(lock, fcntl.LOCK_EX)
        fcntl.flock(user, fcntl.LOCK_SH)
        assert [item.kept for item in survey(cache)] == [IN_USE, IN_USE]
        for items in (survey(cache), before):  # Even if the process started after they were listed.
            said = list(free(items, force=True, dry_run=False))
            assert said == [
                f"{folder.name} is in use and is kept",
                f"{table.folder.name[:8]} is in use and is kept",
                "0 B freed",
            ]
    assert (folder / "state").exists()


def test_a_checkpoint_whose_lock_is_not_a_file_is_removed(cache: Path) -> None:
    folder = checkpoint(cache, "table")
    (folder / "lock").unlink()
    os.mkfifo(folder / "lock")
    list(free(survey(cache), force=True, dry_run=False))
    assert not folder.exists()


def test_records_stay_until_they_are_delivered(cache: Path) -> None:
    outbox = new_outbox(cache / "outbox", "store")
    assert [item.kept for item in survey(cache, ["records"])] == [IN_USE]
    outbox.append({"kind": "tags", "run": "1", "values": {}})
    (outbox.new_folder() / "model").write_text("0" * 1000)
    outbox.close()
    (item,) = survey(cache)
    assert (item.kind, item.kept) == ("records", UNDELIVERED)
    assert item.bytes > 1000
    said = list(free([item], force=False, dry_run=False))
    reason = "has not been delivered to a store and is kept (--force removes it)"
    assert said == [f"{outbox.path.name} {reason}", "0 B freed"]
    list(free([item], force=True, dry_run=False))
    assert list((cache / "outbox").iterdir()) == []


def test_records_that_were_set_aside_can_be_removed(cache: Path) -> None:
    outbox = new_outbox(cache / "outbox", "store")
    outbox.append({"kind": "tags", "run": "1", "values": {}})
    outbox.reject([b"damaged\n"])
    outbox.close()
    for name in ("a.rejected", "a.jsonl.damaged"):
        (cache / "outbox" / name).write_text("00")
    items = survey(cache, ["records"])
    assert sorted((item.name, item.state) for item in items if not item.kept) == [
        ("a.jsonl.damaged", "set aside"),
        ("a.rejected", "set aside"),
    ]
    list(free(items, force=True, dry_run=False))
    assert list((cache / "outbox").iterdir()) == []


@pytest.fixture
def store(tmp_path: Path) -> dict[str, str]:
    """A run for each way a run can end, each with a file, and a failed sweep."""
    ids = {}
    with Tracker(f"sqlite:///{tmp_path}/mlflow.db", "a question") as tracker:
        for name in ("finished", "failed", "diverged", "gone"):
            tags = {"kind": "run"} | ({"diverged_at": "2"} if name == "diverged" else {})
            ids[name] = tracker.start_run(name, {}, tags)
            tracker.log_text(ids[name], "0" * 1000, "config.yaml")
            tracker.end_run(ids[name], "FAILED" if name in ("failed", "diverged") else "FINISHED")
        ids["sweep"] = tracker.start_run("sweep", {}, {"kind": "sweep"})
        tracker.log_text(ids["sweep"], "0" * 1000, "report.html")
        tracker.end_run(ids["sweep"], "FAILED")
    MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").delete_run(ids["gone"])
    return ids


def test_artifacts_of_failed_and_deleted_runs_are_removed(tmp_path: Path, cache: Path, store: dict[str, str]) -> None:
    def left() -> list[str]:
        files = (tmp_path / "mlartifacts").rglob("*.*")
        return sorted(name for file in files if file.is_file() for name in store if store[name] in file.parts)

    items = survey(cache, ["artifacts"], RunReader(f"sqlite:///{tmp_path}/mlflow.db"))
    names = [(f"{store['failed'][:8]} failed", "failed", 1000, ""), (f"{store['gone'][:8]} gone", "deleted", 1000, "")]
    assert sorted((item.name, item.state, item.bytes, item.kept) for item in items) == sorted(names)
    assert all(abs(time.time() - item.used) < 60 for item in items)
    assert left() == ["diverged", "failed", "finished", "gone", "sweep"]
    assert list(free(items, force=False, dry_run=False)) == ["2 kB freed"]
    assert left() == ["diverged", "finished", "sweep"]


def test_artifacts_outside_the_store_are_left_alone(tmp_path: Path, cache: Path) -> None:
    """Otherwise, anyone who can write to a store could get any folder deleted."""
    uri, elsewhere = f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "elsewhere"
    client = MlflowClient(uri)
    for place in (elsewhere, tmp_path / "mlartifacts" / ".." / "elsewhere", tmp_path / "mlartifacts" / "link"):
        experiment = client.create_experiment(str(place), artifact_location=f"file://{place}")
        run = client.create_run(experiment, tags={"kind": "run"})
        folder = elsewhere / run.info.run_id / "artifacts"
        folder.mkdir(parents=True)
        (folder / "mine").write_text("mine")
        client.set_terminated(run.info.run_id, "FAILED")
    (tmp_path / "mlartifacts").mkdir()
    (tmp_path / "mlartifacts" / "link").symlink_to(elsewhere)
    assert len(list(RunReader(uri).discarded())) == 3
    assert survey(cache, ["artifacts"], RunReader(uri)) == []


def test_artifacts_of_a_server_are_refused(cache: Path, tmp_path: Path) -> None:
    uri = "http://me:secret@127.0.0.1:9"
    assert look(cache, ["artifacts"], uri, is_asked=False) == []
    with pytest.raises(ConfigError) as refusal:
        look(cache, ["artifacts"], uri, is_asked=True)
    assert str(refusal.value) == (
        "--artifacts needs a local store. Run `mlflow gc` on the server of http://me:***@127.0.0.1:9."
    )
    assert look(cache, ["artifacts"], f"sqlite:///{tmp_path}/none.db", is_asked=False) == []
    with pytest.raises(ConfigError, match="No tracking store at"):
        look(cache, ["artifacts"], f"sqlite:///{tmp_path}/none.db", is_asked=True)


def test_the_command(
    cache: Path,
    shelve: Callable[..., Table],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    old, new, kept = shelve("old.csv"), shelve("new.csv"), shelve("kept.csv")
    folder = checkpoint(cache, kept.folder.name)
    past = time.time() - 1.01 * WEEK
    for table in (old, kept):
        os.utime(table.folder / "table.json", (past, past))

    def run(*words: str) -> list[str]:
        assert not main.cli.main(["clean", *words], standalone_mode=False)
        return capsys.readouterr().out.splitlines()

    lines = run()
    assert lines[0].split() == ["kind", "name", "size", "age", "state"]
    assert [line.split()[:2] for line in lines[1:2]] == [["checkpoints", folder.name]]
    assert lines[1].rstrip().endswith(f"harness train -m seed=0,1, {NEEDED}")
    assert sorted(line.split()[1] for line in lines[2:5]) == sorted(table.folder.name[:8] for table in (old, new, kept))
    assert [line.split()[4:6] for line in lines[2:5] if line.split()[1] == old.folder.name[:8]] == [["7", "d"]]
    assert "in total; can be freed: --checkpoints 0 B, --tables " in lines[5]
    said = run("--all", "--older-than", "7d", "--dry-run")
    assert f"{kept.folder.name[:8]} {NEEDED} and is kept (--force removes it)" in said[:2]
    assert said[-1].endswith("B would be freed")
    assert old.folder.is_dir()
    run("--tables", "--older-than", "7d")
    assert (old.folder.exists(), new.folder.exists(), kept.folder.exists()) == (False, True, True)
    run("--checkpoints", "--force")
    assert (folder.exists(), new.folder.exists()) == (False, True)
    (cache / "tiles").mkdir()
    (cache / "tiles" / "kind.json").write_text("{}")
    assert "1 measurement of harness tune" in "\n".join(run())
    run("--tiles")
    assert (new.folder.exists(), (cache / "tiles").exists()) == (True, False)
    run("--all")
    assert not list((cache / "tables").iterdir())
