"""Other people's records in an outbox: nothing outside the store and the outbox is read or written."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from harness.errors import ConfigError
from harness.tracking.outbox import Outbox, new_outbox
from harness.tracking.tracker import Tracker

SECRET = "5ecret-5esame"
IS_ROOT = os.geteuid() == 0


class Place:
    """A store with a run, a leftover outbox, and files outside both."""

    def __init__(self, path: Path, store: Path) -> None:
        self.uri, self.store, self.folder = f"sqlite:///{store}/mlflow.db", store, path / "work" / "outbox"
        with Tracker(self.uri, "q") as tracker:
            self.run_id = tracker.start_run("a", {}, {})
            self.left = new_outbox(self.folder, tracker.store)
        self.outside = path / "outside"
        self.outside.mkdir()
        (self.outside / "secret.txt").write_text(SECRET)
        (self.outside / ".bashrc").write_text("kept")
        self.own = self.left.new_folder()

    def deliver(self) -> list[str]:
        """Deliver the outbox, and return the messages."""
        self.left.close()
        said: list[str] = []
        with Tracker(self.uri, "q", self.folder, say=said.append) as tracker:
            tracker.log(self.run_id, {"after": 1.0}, 1)
        return said

    def check(self) -> None:
        """Check that nothing outside has changed or leaked, and that other records are delivered."""
        assert {path.name: path.read_text() for path in self.outside.iterdir() if path.is_file()} == {
            "secret.txt": SECRET,
            ".bashrc": "kept",
        }
        assert sorted(path.name for path in self.outside.parent.iterdir()) == ["outside", "work"]
        assert {path.name.partition(".")[0] for path in self.store.iterdir()} <= {"mlflow", "mlartifacts"}
        places = [*self.store.rglob("*"), *self.outside.with_name("work").rglob("*")]
        inside = [path for path in places if path.is_file() and not path.is_symlink()]
        assert not [path for path in inside if SECRET.encode() in path.read_bytes()]
        run = MlflowClient(self.uri).get_run(self.run_id)
        assert run.data.metrics == {"before": 1.0, "after": 1.0}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def place(tmp_path: Path, store: Path) -> Place:
    return Place(tmp_path, store)


def text(file: str) -> Callable[[Place], dict[str, Any]]:
    return lambda place: {"kind": "text", "text": "alias ls=rm", "file": file.format(outside=place.outside)}


def file(path: str, folder: str = "", kind: str = "artifact") -> Callable[[Place], dict[str, Any]]:
    def record(place: Place) -> dict[str, Any]:
        names = {"outside": place.outside, "own": place.own.name}
        more = {"folder": folder} if kind == "artifact" else {}
        return {"kind": kind, "path": path.format(**names), **more}

    return record


def linked(place: Place) -> dict[str, Any]:
    (place.own / "a").symlink_to(place.outside / "secret.txt")
    return file("{own}/a")(place)


def in_a_linked_folder(place: Place) -> dict[str, Any]:
    (place.left.files / "7").symlink_to(place.outside)
    return file("7/secret.txt")(place)


def fifo(place: Place) -> dict[str, Any]:
    os.mkfifo(place.own / "a")
    return file("{own}/a")(place)


def of_another_user(place: Place) -> dict[str, Any]:
    if not IS_ROOT:
        pytest.skip("only the superuser can give files away")
    (place.own / "a").write_text(SECRET[:4])
    os.chown(place.own / "a", 12345, -1)
    return file("{own}/a")(place)


def linked_model(place: Place) -> dict[str, Any]:
    (place.own / "model").mkdir()
    (place.own / "model" / "MLmodel").symlink_to(place.outside / ".bashrc")
    return file("{own}/model", kind="model")(place)


def linked_in_a_model(place: Place) -> dict[str, Any]:
    (place.own / "model" / "data").mkdir(parents=True)
    (place.own / "model" / "MLmodel").write_text("flavors: {}\n")
    (place.own / "model" / "data" / "a").symlink_to(place.outside / "secret.txt")
    return file("{own}/model", kind="model")(place)


def to_a_run_elsewhere(place: Place) -> dict[str, Any]:
    """The run's recorded artifact location is outside the experiment's folder."""
    with Tracker(place.uri, "q") as tracker:
        run_id = tracker.start_run("b", {}, {})
    with closing(sqlite3.connect(place.uri.removeprefix("sqlite:///"))) as store, store:
        store.execute("UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?", (f"file://{place.outside}", run_id))
    return {"kind": "text", "run": run_id, "text": "alias ls=rm", "file": "new"}


HOSTILE: dict[str, Callable[[Place], dict[str, Any]]] = {
    "text above": text("../../../../outside/.bashrc"),
    "text absolute": text("{outside}/.bashrc"),
    "text in a folder": text("a/b"),
    "text hidden": text(".bashrc"),
    "file absolute": file("{outside}/secret.txt"),
    "file above": file("{own}/../../../../../outside/secret.txt"),
    "file from a link": linked,
    "file in a linked folder": in_a_linked_folder,
    "file from a pipe": fifo,
    "file of another user": of_another_user,
    "file to above": file("{own}/a", "../../../../../outside"),
    "file missing": file("{own}/a"),
    "model absolute": file("{outside}", kind="model"),
    "model above": file("..", kind="model"),
    "model with a link": linked_in_a_model,
    "model that is a link": linked_model,
    "huge step": lambda _: {"kind": "metrics", "values": {"a": 1.0}, "step": 10**30, "ms": 1},
    "huge time": lambda _: {"kind": "metrics", "values": {"a": 1.0}, "step": 1, "ms": 10**30},
    "huge value": lambda _: {"kind": "curve", "key": "a", "points": [[1, 10**400]], "ms": 1},
    "experiment": lambda _: {"kind": "experiment", "run": "", "experiment": "../1", "key": "a", "value": "b"},
    "run above": lambda _: {"kind": "text", "run": "../../outside", "text": "a", "file": "new"},
    "run elsewhere": to_a_run_elsewhere,
    "unknown run": lambda _: {"kind": "text", "run": "0" * 32, "text": "a", "file": "new"},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_record_does_no_harm(place: Place, name: str) -> None:
    place.left.append({"kind": "metrics", "run": place.run_id, "values": {"before": 1.0}, "step": 1, "ms": 1})
    place.left.append({"run": place.run_id, **HOSTILE[name](place)})
    (said,) = place.deliver()
    place.check()
    assert str(place.left.rejected) in said
    assert said.count("\n") == 0
    assert len(said) < 700
    assert [path.name for path in place.folder.iterdir()] == [place.left.rejected.name]


@pytest.mark.parametrize("suffix", [".jsonl", ".files", ".delivered", ".rejected", ".lock"])
def test_no_link_is_followed(place: Place, suffix: str) -> None:
    place.left.append({"kind": "metrics", "run": place.run_id, "values": {"before": 1.0}, "step": 1, "ms": 1})
    (place.own / "secret.txt").write_text("own")
    place.left.append({"run": place.run_id, **file("{own}/secret.txt")(place)})
    place.left.append({"kind": "end", "run": 7})  # So that at least one record is rejected.
    place.left.close()
    path = place.left.path.with_suffix(suffix)
    if path.is_dir():
        (place.outside / place.own.name).mkdir()
        (place.outside / place.own.name / "secret.txt").write_text(SECRET)
        path.rename(path.with_suffix(".old"))
    elif suffix == ".jsonl":
        path.rename(path.with_suffix(".old"))
    else:
        path.unlink(missing_ok=True)
    path.symlink_to(place.outside / ("" if suffix == ".files" else ".bashrc"))
    said: list[str] = []
    with Tracker(place.uri, "q", place.folder, say=said.append) as tracker:
        tracker.log(place.run_id, {"before": 1.0, "after": 1.0} if suffix == ".jsonl" else {"after": 1.0}, 1)
    if suffix == ".jsonl":
        assert f"{path} is a symbolic link. Moved to {path.name}.damaged" in said[0]
    place.check()


def test_outboxes_that_others_can_write_to_are_refused(place: Place) -> None:
    place.left.close()
    place.folder.mkdir(exist_ok=True)
    place.folder.chmod(0o777)
    with pytest.raises(ConfigError, match=r"runtime.cache: Other users can write to .*outbox"):
        Tracker(place.uri, "q", place.folder)
    if IS_ROOT:
        place.folder.chmod(0o700)
        os.chown(place.folder, 12345, -1)
        with pytest.raises(ConfigError, match=r"runtime.cache: .*outbox belongs to another user"):
            Tracker(place.uri, "q", place.folder)


def test_an_outbox_of_another_user_is_set_aside(place: Place) -> None:
    place.left.append({"kind": "metrics", "run": place.run_id, "values": {"bad": 1.0}, "step": 1, "ms": 1})
    place.left.close()
    if not IS_ROOT:
        pytest.skip("only the superuser can give files away")
    os.chown(place.left.path, 12345, -1)
    said: list[str] = []
    with Tracker(place.uri, "q", place.folder, say=said.append) as tracker:
        tracker.log(place.run_id, {"before": 1.0, "after": 1.0}, 1)
    assert "belongs to another user. Moved to" in said[0]
    place.check()


def test_an_outbox_that_cannot_be_delivered_does_not_stop_others(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.left.append({"kind": "metrics", "run": place.run_id, "values": {"bad": 1.0}, "step": 1, "ms": 1})
    take = Outbox.take

    def broken(self: Outbox) -> Any:
        if self.path == place.left.path:
            raise RuntimeError("no way")
        return take(self)

    monkeypatch.setattr(Outbox, "take", broken)
    (said,) = place.deliver()
    assert said == f"store:  {place.left.path} cannot be delivered (no way) and is kept"
    assert MlflowClient(place.uri).get_run(place.run_id).data.metrics == {"after": 1.0}
