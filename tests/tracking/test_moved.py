"""A store whose folder is moved, renamed or copied keeps its artifacts and name; nothing is written elsewhere."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from harness.tracking.client import client_of
from harness.tracking.reader import RunReader
from harness.tracking.store_identity import store_identity
from harness.tracking.tracker import Tracker


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store without experiments, created only once because this takes MLflow a long time."""
    folder = tmp_path_factory.mktemp("empty")
    with Tracker(uri(folder), "harness", folder / "outbox"):
        pass
    with closing(sqlite3.connect(folder / "mlflow.db")) as store:
        store.execute("DELETE FROM experiment_tags")
        store.execute("DELETE FROM experiments WHERE name = 'harness'")
        store.commit()
        store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return folder / "mlflow.db"


@pytest.fixture
def old(empty: Path, tmp_path: Path) -> Path:
    """The folder of a new store."""
    folder = tmp_path / "ol'd %41"
    folder.mkdir()
    shutil.copyfile(empty, folder / "mlflow.db")
    return folder


def uri(folder: Path, name: str = "mlflow.db") -> str:
    return f"sqlite:///{folder}/{name}".replace("%", "%25")


def record(folder: Path, text: str, name: str = "mlflow.db") -> str:
    """Record a run with an artifact, and return its id."""
    with Tracker(uri(folder, name), "harness", folder / "outbox") as tracker:
        run_id = tracker.start_run("a", {}, {"kind": "run"})
        tracker.log_text(run_id, text, "some.txt")
        tracker.end_run(run_id, "FINISHED")
    return run_id


def identity(folder: Path, name: str = "mlflow.db") -> str:
    return store_identity(uri(folder, name), client_of(uri(folder, name)))


def locations(folder: Path) -> set[str]:
    with closing(sqlite3.connect(folder / "mlflow.db")) as store:
        return {
            place for (place,) in store.execute("SELECT artifact_location FROM experiments WHERE name != 'Default'")
        }


@pytest.mark.parametrize("is_copied", [False, True], ids=["renamed", "moved to another disk"])
def test_a_moved_store_keeps_working_in_its_new_location(old: Path, tmp_path: Path, is_copied: bool) -> None:
    new = tmp_path / "n'ew %41 ü/below"
    first, name = record(old, "one"), identity(old)
    new.parent.mkdir()
    if is_copied:
        shutil.copytree(old, new)
        shutil.rmtree(old)
    else:
        old.rename(new)
    old.write_text("canary")
    reader = RunReader(uri(new))
    assert reader.artifact(first, "some.txt") == "one"
    assert identity(new) == name
    second = record(new, "two")
    assert RunReader(uri(new)).artifact(second, "some.txt") == "two"
    assert locations(new) == {(new / "mlartifacts/harness").as_uri()}
    assert old.read_text() == "canary"
    new.rename(new.with_name("again"))
    assert RunReader(uri(new.with_name("again"))).artifact(second, "some.txt") == "two"


def test_a_copied_folder_is_independent_of_its_original(old: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    first = record(old, "one")
    shutil.copytree(old, new)
    name = identity(old)
    record(new, "two")
    assert identity(new) != name == identity(old)
    (new / "mlartifacts/harness" / first / "artifacts/some.txt").write_text("changed")
    assert RunReader(uri(new)).artifact(first, "some.txt") == "changed"
    assert RunReader(uri(old)).artifact(first, "some.txt") == "one"
    assert [path.name for path in (old / "mlartifacts/harness").iterdir()] == [first]


def test_a_store_that_leaves_its_artifacts_keeps_their_addresses(old: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    (new / "mlartifacts" / "harness").mkdir(parents=True)  # Artifacts of another store.
    first = record(old, "one")
    (old / "mlflow.db").rename(new / "mlflow.db")
    assert RunReader(uri(new)).artifact(first, "some.txt") == "one"
    assert locations(new) == {(old / "mlartifacts/harness").as_uri()}


def test_artifacts_that_were_put_elsewhere_stay_there(old: Path, tmp_path: Path) -> None:
    new, elsewhere = tmp_path / "new", tmp_path / "elsewhere"
    record(old, "one")
    client = client_of(uri(old))
    own = client.create_experiment("own", artifact_location=elsewhere.as_uri())
    run_id = client.create_run(own).info.run_id
    client.log_text(run_id, "there", "some.txt")
    old.rename(new)
    assert RunReader(uri(new)).artifact(run_id, "some.txt") == "there"
    assert elsewhere.as_uri() in locations(new)


def test_a_store_without_runs_is_used_where_it_is(old: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    with Tracker(uri(old), "harness", old / "outbox"):
        pass
    old.rename(new)
    record(new, "one")
    assert not old.exists()
    assert (new / "mlartifacts" / "harness").is_dir()


def test_a_copy_beside_a_store_is_another_store(old: Path) -> None:
    record(old, "one")
    shutil.copyfile(old / "mlflow.db", old / "backup.db")
    assert identity(old, "backup.db") != (name := identity(old))
    record(old, "two", "backup.db")
    assert identity(old, "backup.db") != name == identity(old)
    (old / "mlflow.db").rename(old / "runs.db")
    assert identity(old, "runs.db") == name
