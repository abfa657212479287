"""Tables are listed, verified, and freed unless they are in use."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.cli.main import cli
from harness.data.tables.cache import CachedTable, free, list_tables, select_tables, verify_table
from harness.data.tables.locks import release
from harness.data.tables.table import Table
from harness.errors import ConfigError
from tests.tables import SMALL


@pytest.fixture
def cached(make_table) -> Callable[..., Table]:
    """Create a table that no process is using."""

    def run(*arguments: Any, **options: Any) -> Table:
        table = make_table(*arguments, **options)
        release(table.folder)
        return table

    return run


def verify(cache: Path) -> list[str]:
    return [verify_table(each, lambda state: None) for each in list_tables(cache)]


def states(cache: Path) -> list[str]:
    return sorted(each.state for each in list_tables(cache))


def leftover(cache: Path, pid: int) -> Path:
    folder = cache / "tables" / f".{'0' * 32}.{pid}.1"
    folder.mkdir(parents=True)
    (folder / "train.0.bin").write_bytes(b"1234")
    return folder


@pytest.fixture
def dead() -> int:
    """Return the id of a process that has ended."""
    return int(subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True).stdout)


def test_tables_are_listed_most_recently_used_first(cached, write, tmp_path: Path, dead: int) -> None:
    old, new = cached(write(SMALL, "old.csv")), cached(write(SMALL, "new.csv"))
    os.utime(old.folder / "table.json", (1, 1))
    left = leftover(tmp_path / "cache", dead)
    leftover(tmp_path / "cache", os.getpid())
    found = list_tables(tmp_path / "cache")
    assert {each.folder for each in found} == {old.folder, new.folder, left}
    assert [each.table for each in found][-1] == old
    assert states(tmp_path / "cache") == ["broken", "ready", "ready"]
    assert found[-1].addresses == (str(tmp_path / "old.csv"),)
    assert found[-1].bytes == sum(file.stat().st_size for file in old.folder.iterdir())
    assert list_tables(tmp_path / "nowhere") == []


def test_the_last_use_of_a_table_is_recorded(cached, write, tmp_path: Path) -> None:
    path = write(SMALL)
    os.utime(cached(path).folder / "table.json", (1, 1))
    assert list_tables(tmp_path / "cache")[0].used == 1
    cached(path)
    assert list_tables(tmp_path / "cache")[0].used > 1


@pytest.mark.parametrize("manifest", ["", "{}", '{"source": "file.csv", "columns": []}'])
def test_tables_of_another_version_are_listed_and_can_be_freed(cached, write, tmp_path: Path, manifest: str) -> None:
    table = cached(write(SMALL))
    (table.folder / "table.json").write_text(manifest)
    assert states(tmp_path / "cache") == ["broken"]
    (found,) = verify(tmp_path / "cache")
    assert found == f"{table.folder / 'table.json'} is damaged; remove the table (it is rebuilt when needed)"
    list(free(tmp_path / "cache", [], everything=False, age=None))
    assert not table.folder.exists()


@pytest.mark.parametrize("change", ["gone", "longer"])
def test_a_table_whose_source_has_changed_is_stale(cached, write, tmp_path: Path, change: str) -> None:
    path = write(SMALL)
    cached(path)
    path.unlink() if change == "gone" else path.write_text(SMALL + "6,z,-6,60\n")
    assert states(tmp_path / "cache") == ["stale"]


def test_tables_are_selected_by_prefix_or_source(cached, write, tmp_path: Path) -> None:
    one, two = cached(write(SMALL, "one.csv")), cached(write(SMALL, "two.csv"))
    cache = tmp_path / "cache"

    def names(*words: str) -> list[Path]:
        return [each.folder for each in select_tables(cache, words)]

    assert names(one.folder.name[:6]) == [one.folder]
    assert names(str(tmp_path / "two.csv"), one.folder.name[:8]) == [two.folder, one.folder]
    assert sorted(names()) == sorted([one.folder, two.folder])
    with pytest.raises(ConfigError, match=r"^No table none in .*cache\. Tables there: "):
        names("none")


def test_verifying_finds_a_change_in_the_middle(cached, write, tmp_path: Path) -> None:
    half = "1,2\n" * (3 << 17)
    path = write(f"a,y\n{half}3,4\n{half}")
    cached(path)
    before = path.stat()
    path.write_text(f"a,y\n{half}3,5\n{half}")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert states(tmp_path / "cache") == ["stale"]
    assert verify(tmp_path / "cache") == ["its source has changed; remove the table (it is rebuilt when needed)"]
    assert len(list((tmp_path / "cache" / "tables").iterdir())) == 1


def test_only_stale_and_broken_tables_are_freed_by_default(cached, write, tmp_path: Path, dead: int) -> None:
    cache = tmp_path / "cache"
    ready, gone = cached(write(SMALL, "ready.csv")), cached(write(SMALL, "gone.csv"))
    (tmp_path / "gone.csv").unlink()
    leftover(cache, dead)
    at_work = leftover(cache, os.getpid())
    assert list(free(cache, [], everything=False, age=86_400)) == ["0 B freed"]
    size = sum(file.stat().st_size for file in gone.folder.iterdir()) + 4
    assert list(free(cache, [], everything=False, age=None)) == [f"{size / 1000:.3g} kB freed"]
    assert sorted((cache / "tables").iterdir()) == sorted([ready.folder, at_work])
    list(free(cache, [], everything=True, age=None))
    assert list((cache / "tables").iterdir()) == [at_work]


def test_a_table_in_use_is_kept(cached, write, tmp_path: Path) -> None:
    table = cached(write(SMALL))
    with (table.folder / "table.json").open() as user:
        fcntl.flock(user, fcntl.LOCK_SH)
        said = list(free(tmp_path / "cache", [table.folder.name[:8]], everything=False, age=None))
        assert said == [f"{table.folder.name[:8]} is in use and is kept", "0 B freed"]
        assert table.folder.is_dir()
    assert len(list(free(tmp_path / "cache", [table.folder.name[:8]], everything=False, age=None))) == 1
    assert not table.folder.exists()


@pytest.mark.parametrize("what", ["folder", "FIFO", "link"])
def test_what_is_not_a_table_is_freed_but_no_link_is_followed(cached, write, tmp_path: Path, what: str) -> None:
    table = cached(write(SMALL))
    manifest = table.folder / "table.json"
    if what == "link":
        table.folder.rename(tmp_path / "elsewhere")
        table.folder.symlink_to(tmp_path / "elsewhere")
    else:
        manifest.unlink()
        os.mkfifo(manifest) if what == "FIFO" else (manifest / "inner").mkdir(parents=True)
    list(free(tmp_path / "cache", [], everything=True, age=None))
    assert list((tmp_path / "cache" / "tables").iterdir()) == []
    assert (tmp_path / "elsewhere" / "table.json").exists() == (what == "link")


def test_old_tables_are_freed(cached, write, tmp_path: Path) -> None:
    old, new = cached(write(SMALL, "old.csv")), cached(write(SMALL, "new.csv"))
    week = time.time() - 7 * 86_400 - 60
    os.utime(old.folder / "table.json", (week, week))
    list(free(tmp_path / "cache", [], everything=True, age=7 * 86_400))
    assert not old.folder.exists()
    assert new.folder.is_dir()


def test_the_commands(cached, write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(SMALL)
    name = cached(path).folder.name[:8]

    def run(*words: str) -> tuple[int | None, list[str]]:
        code = cli.main(["data", *words, "--cache", str(tmp_path / "cache")], standalone_mode=False)
        return code, capsys.readouterr().out.splitlines()

    code, lines = run("list")
    assert lines[1].split()[:5] == [name, "ready", "5", "2", lines[1].split()[4]]
    assert lines[1].endswith(str(path))
    assert run("verify") == (0, [f"{name}: unchanged"])
    path.write_text("")
    code, lines = run("verify", name)
    assert (code, lines) == (
        1,
        [f"{name}: its source cannot be read again: data.path: {path} is empty; a CSV must start with a header line."],
    )
    assert run("clean")[1][0].endswith("B freed")
    assert run("list") == (None, ["table  state  rows  columns  size  used  source", "0 B in total"])


def test_a_cached_table_has_a_short_name() -> None:
    assert CachedTable(Path(".0123456789.7.1"), None, (), 0, 0.0, "broken").name == "01234567"
