"""Claims on runs last as long as the process that made them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from harness.errors import ConfigError
from harness.runtime import user_folder as user_folder_module
from harness.runtime.user_folder import user_folder
from harness.sweep.run_locks import RunLocks, claims_folder, only_one
from harness.tracking.store import open_store
from harness.tracking.uri import tracking_uri

PROGRAM = (
    "import sys, time\nfrom pathlib import Path\nfrom harness.sweep.run_locks import RunLocks\n"
    "locks = RunLocks(Path(sys.argv[1]))\nprint(locks.take(sys.argv[2:]), flush=True)\ntime.sleep(60)\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "locks"


def test_a_claim_excludes_others_until_it_is_dropped(folder: Path) -> None:
    with RunLocks(folder) as one, RunLocks(folder) as other, RunLocks(folder / "1") as apart:
        assert one.place == other.place != apart.place
        assert one.take(["a", "b"]) == {"a", "b"}
        assert other.take(["b", "c"]) == {"c"}
        assert other.others() == {"a", "b"}
        assert one.others() == {"c"}
        assert apart.take(["a", "c"]) == {"a", "c"}
        assert one.take(["d"]) == {"d"}
        one.drop(["a", "d"])
        assert other.take(["a", "b", "d"]) == {"a", "d"}
    with RunLocks(folder) as later:
        assert later.others() == set()
        assert later.place == one.place


def test_a_kept_claim_outlives_a_drop(folder: Path) -> None:
    with RunLocks(folder) as one, RunLocks(folder) as other:
        one.keep("summary")
        one.drop()
        assert other.others() == {"summary"}


def test_a_killed_process_has_no_claims(folder: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, folder, "a"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        assert process.stdout.readline() == "{'a'}\n"
        with RunLocks(folder) as mine:
            assert mine.take(["a", "b"]) == {"b"}
            process.kill()
            process.wait()
            assert mine.others() == set()
            assert mine.take(["a"]) == {"a"}
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("suffix", [".json", ".lock"])
def test_a_folder_in_place_of_a_dead_process_claims_is_set_aside(folder: Path, suffix: str) -> None:
    folder.mkdir()
    for name in ("1-dead.json", "1-dead.lock"):
        (folder / name).mkdir() if name.endswith(suffix) else (folder / name).touch()
    with RunLocks(folder) as mine:
        assert mine.take(["a"]) == {"a"}
    assert not (folder / "1-dead.json").exists()


def test_damage_is_reported_only_if_its_process_lives(folder: Path) -> None:
    with RunLocks(folder) as one, RunLocks(folder) as other:
        one.take(["a"])
        (path,) = (path for path in folder.glob("*.json") if '"a"' in path.read_text())
        path.write_text("{}")
        with pytest.raises(ConfigError) as refusal:
            other.take(["a"])
    assert str(refusal.value) == f"{path} is damaged. It lists the runs of process {os.getpid()}; wait for it to end."
    place = RunLocks(folder).place
    (folder.parent / "place").write_text("{}")
    with RunLocks(folder) as later:
        assert later.take(["a"]) == {"a"}
        assert later.place != place


def test_a_database_has_one_set_of_claims_under_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "to a.db").symlink_to("real/a.db")  # The folder does not exist yet.
    monkeypatch.chdir(tmp_path / "real")
    client, _ = open_store(tracking_uri(f"sqlite:///{tmp_path}/to a.db"), "harness")
    (tmp_path / "real" / "hard.db").hardlink_to(tmp_path / "real" / "a.db")
    whole = [
        f"{tmp_path}/{name}" for name in ("real/a.db", "link/a.db", "to a.db", "link/../real//a.db", "real/%61.db")
    ]
    uris = [
        "sqlite:///a.db",
        "sqlite+pysqlite:///./a.db",
        "sqlite:///hard.db",
        *(f"sqlite:///{name}" for name in whole),
    ]
    folders = {claims_folder(tracking_uri(uri), client) for uri in uris}
    (folder,) = folders
    assert folder.parent == tmp_path / "real" / ".harness" / "locks"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "real", "to a.db"]


def test_claims_do_not_depend_on_the_number_of_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the machine restarts, another process may have this id."""
    uri = f"sqlite:///{tmp_path}/a.db"
    client, _ = open_store(uri, "harness")
    before, stat = claims_folder(uri, client), Path.stat

    def on_another_device(path: Path, **words: bool) -> os.stat_result:
        status = [*stat(path, **words)]
        status[2] += 1
        return os.stat_result(status)

    monkeypatch.setattr(Path, "stat", on_another_device)
    assert claims_folder(uri, client) == before


def test_the_users_folder_depends_only_on_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It depends neither on the environment nor on an entry in the user database."""
    program = "from harness.runtime.user_folder import user_folder; print(user_folder())"
    no_user = "import pwd\ndef unknown(*_): raise KeyError\npwd.getpwuid = pwd.getpwnam = unknown\n"
    odd = {"TMPDIR": str(tmp_path), "HOME": str(tmp_path), "USER": "ann", "XDG_CACHE_HOME": str(tmp_path)}
    found = {
        subprocess.run(
            [sys.executable, "-c", start + program], env=env, check=True, capture_output=True, text=True
        ).stdout.strip()
        for start, env in (("", dict(os.environ)), (no_user, {"PATH": os.environ["PATH"]} | odd))
    }
    assert found == {str(user_folder())}
    assert user_folder().stat().st_mode & 0o777 == 0o700


def test_a_users_folder_of_someone_else_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(user_folder_module, "PARENTS", (tmp_path / "missing", tmp_path))
    (tmp_path / f"harness-{os.geteuid()}").symlink_to(tmp_path)
    with pytest.raises(ConfigError, match=r"Locks are kept in .*, but it is not safe to use: .* is not a folder"):
        user_folder()


def test_only_one_lets_in_one_process_and_reports_waiting() -> None:
    said, order = [], []

    def second() -> None:
        with only_one("gpu-0", said.append):
            order.append("second")

    with only_one("gpu-0", said.append):
        thread = threading.Thread(target=second)
        thread.start()
        while not said:
            thread.join(0.01)
        order.append("first")
    thread.join()
    assert said == ["waiting: another process is using gpu-0"]
    assert order == ["first", "second"]
