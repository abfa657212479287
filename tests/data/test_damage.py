"""A damaged table or generated file is detected, reported in a sentence and rebuilt, and never used."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.config import DataConfig, Missing, Order, Scaling
from harness.data.blocks import Blocks
from harness.data.scaler import Scaler
from harness.data.tables.builder import open_table, replace_table
from harness.data.tables.cache import list_tables, verify_table
from harness.data.tables.locks import unused
from harness.data.tables.manifest import read_manifest, write_manifest
from harness.data.tables.pages import PARTS, DamagedTable, column_path
from harness.data.tables.removal import remove
from harness.data.tables.table import Table, save_table
from harness.errors import ConfigError
from harness.runtime.state_files import StateError, checksum

ROWS = 90_000
"""Rows of the table: with a fifth held out, two pages of training rows and one of holdout rows."""


@dataclass
class Case:
    """A source, a cache with its table, and the same table undamaged elsewhere."""

    data: DataConfig
    cache: Path
    table: Table
    expected: str
    spare: Path

    def open(self, said: list[str]) -> Table:
        return open_table(self.data, self.cache, say=said.append)


def content(table: Table) -> str:
    """Return a checksum of everything that training sees, and the digest."""
    scaler = Scaler.of(table, Scaling.standard)
    passes = [checksums(Blocks(table, part, scaler)) for part in PARTS]
    return f"{table.digest} {passes}"


def checksums(blocks: Blocks) -> list[str]:
    return [checksum(block.x.tobytes() + block.y.tobytes()) for block in blocks.read(1)]


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp("damage")
    draw = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"a": draw.normal(size=ROWS), "b": draw.normal(size=ROWS), "kind": draw.integers(3, size=ROWS)}
    )
    frame.assign(y=frame.a + frame.b).to_csv(folder / "file.csv", index=False)
    data = DataConfig(["a", "b", "kind"], "y", str(folder / "file.csv"), categorical=["kind"])
    table = open_table(data, folder / "cache")
    shutil.copytree(table.folder, folder / "spare")
    open_table(replace(data, features=["b", "a", "kind"]), folder / "cache")
    return Case(data, folder / "cache", table, content(table), folder / "spare")


@pytest.fixture(autouse=True)
def undamaged(case: Case) -> None:
    remove(case.table.folder)
    shutil.copytree(case.spare, case.table.folder)


def overwrite(path: Path, start: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(data)


def flip_bit(table: Table) -> None:
    path = column_path(table.folder, "train", 0)
    overwrite(path, 200_001, bytes([path.read_bytes()[200_001] ^ 16]))


def zero_page(table: Table) -> None:
    overwrite(column_path(table.folder, "train", 1), 4096, bytes(4096))


def truncate(table: Table) -> None:
    os.truncate(column_path(table.folder, "train", 0), 1000)


def extend(table: Table) -> None:
    os.truncate(column_path(table.folder, "holdout", 0), 1 << 20)


def swap_columns(table: Table) -> None:
    one, other = (column_path(table.folder, "train", index) for index in (0, 1))
    one.rename(table.folder / "aside")
    other.rename(one)
    (table.folder / "aside").rename(other)


def edit(change: Callable) -> Callable[[Table], None]:
    def run(table: Table) -> None:
        manifest = read_manifest(table.folder)
        write_manifest(table.folder, replace(manifest, facts=change(manifest.facts)))

    return run


def other_categories(facts):
    *features, kind = facts.features
    return replace(facts, features=(*features, replace(kind, categories=kind.categories[::-1])))


def other_std(facts):
    first, *features = facts.features
    return replace(facts, features=(replace(first, std=first.std * (1 + 1e-9)), *features))


def change_code(table: Table) -> None:
    overwrite(column_path(table.folder, "train", 2), 0, np.float32(2).tobytes() + np.float32(3).tobytes())


def empty_file(table: Table) -> None:
    os.truncate(column_path(table.folder, "train", 3), 0)


def remove_file(table: Table) -> None:
    column_path(table.folder, "train", 3).unlink()


def remove_sums(table: Table) -> None:
    (table.folder / "pages.sums").unlink()


def remove_manifest(table: Table) -> None:
    (table.folder / "table.json").unlink()


def garble_manifest(table: Table) -> None:
    (table.folder / "table.json").write_bytes(b"\xff{}")


def manifest_of_another(table: Table) -> None:
    (other,) = (path for path in table.folder.parent.iterdir() if path.name != table.folder.name)
    shutil.copy(other / "table.json", table.folder / "table.json")


def everything_of_another(table: Table) -> None:
    (other,) = (path for path in table.folder.parent.iterdir() if path.name != table.folder.name)
    shutil.copytree(other, table.folder, dirs_exist_ok=True)


def manifest_is_folder(table: Table) -> None:
    remove_manifest(table)
    (table.folder / "table.json" / "inner").mkdir(parents=True)


def manifest_is_fifo(table: Table) -> None:
    remove_manifest(table)
    os.mkfifo(table.folder / "table.json")


def table_is_file(table: Table) -> None:
    shutil.rmtree(table.folder)
    table.folder.write_text("text")


def table_is_link(table: Table) -> None:
    elsewhere = table.folder.parent.parent / "elsewhere"
    shutil.rmtree(elsewhere, ignore_errors=True)
    table.folder.rename(elsewhere)
    table.folder.symlink_to(elsewhere)
    remove_file_of(table)


SOMETHING_ELSE = [manifest_is_folder, manifest_is_fifo, table_is_file, table_is_link]
NOTICED_WHEN_READ = [flip_bit, zero_page, swap_columns, change_code]
NOTICED_WHEN_OPENED = [
    *(truncate, extend, empty_file, remove_file, remove_sums, remove_manifest, garble_manifest),
    *(manifest_of_another, everything_of_another),
    pytest.param(edit(other_std), id="other_std"),
    pytest.param(edit(lambda facts: replace(facts, train_rows=facts.train_rows - 1)), id="other_train_rows"),
    pytest.param(edit(other_categories), id="other_categories"),
    pytest.param(edit(lambda facts: replace(facts, page_rows=1024)), id="other_page_rows"),
]


@pytest.mark.parametrize("damage", [*NOTICED_WHEN_OPENED, *SOMETHING_ELSE])
def test_a_damaged_table_is_rebuilt_when_it_is_opened(case: Case, damage: Callable[[Table], None]) -> None:
    damage(case.table)
    said: list[str] = []
    table = case.open(said)
    assert content(table) == case.expected
    assert len(said) == 1
    assert case.table.folder.name[:8] in said[0]
    assert said[0].endswith(". Rebuilding it from its source.")
    case.open(said)
    assert len(said) == 1, "said once"
    assert [
        path.name for path in case.cache.glob("tables/*") if path.name.startswith((".", case.table.folder.name))
    ] == [case.table.folder.name], "nothing is left of the damaged one"


@pytest.mark.parametrize("damage", [*NOTICED_WHEN_READ, *NOTICED_WHEN_OPENED])
def test_a_table_damaged_while_it_is_used_is_replaced(case: Case, damage: Callable[[Table], None]) -> None:
    """After damage between two passes, the second returns the same rows, or raises an error that names the page."""
    table = case.open([])
    blocks = Blocks(table, "train", Scaler.of(table, Scaling.standard), block_rows=5 * 1024)
    first = checksums(blocks)
    damage(table)
    found = None
    try:
        assert checksums(blocks) == first
    except DamagedTable as error:
        found = error
    if found:
        assert found.folder == table.folder
        assert re.match(rf"Table {table.folder.name[:8]} is damaged: (cannot read )?page \d of column ", str(found))
    else:
        assert damage not in NOTICED_WHEN_READ
    table = replace_table(table, case.data, case.cache)
    assert content(table) == case.expected
    assert verify_table(next(each for each in list_tables(case.cache) if each.folder == table.folder), print) == ""


@pytest.mark.parametrize("use", ["read", "open", "list", "generate"])
def test_running_out_of_descriptors_is_not_damage(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, use: str
) -> None:
    table = case.open([])
    built_in = DataConfig(["sqft_living"], "price", rows=50)
    path = Path(open_table(built_in, tmp_path).address)
    before = path.stat().st_ino
    uses: dict[str, Callable[[], object]] = {
        "read": lambda: table.read("train", 0, 1),
        "open": lambda: case.open([]),
        "list": lambda: list_tables(case.cache),
        "generate": lambda: open_table(built_in, tmp_path),
    }

    real = os.open

    def fail(path: str, *arguments: Any, **options: Any) -> int:
        if str(path).endswith((".bin", ".json", ".note")):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), path)
        return real(path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", fail)
        with pytest.raises((OSError, ConfigError), match="Too many open files") as error:
            uses[use]()
    assert "cannot write" not in str(error.value)
    assert (path.stat().st_ino, content(case.open([]))) == (before, case.expected)


def test_a_page_is_read_once_in_a_pass(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks that are shorter than a page, or begin inside one, do not cause it to be read or checked again."""
    from harness.data.tables import pages

    opened: list[str] = []
    monkeypatch.setattr(pages, "open_own", lambda path: (opened.append(path.name), path.open("rb"))[1])
    table = case.table
    for rows in (1024, 37 * 1024, 10**9):
        opened.clear()
        assert len(list(Blocks(table, "train", Scaler.of(table, Scaling.none), block_rows=rows).read(1))) > 0
        assert opened == [f"train.{index}.bin" for _ in range(2) for index in range(4)]


@pytest.mark.parametrize("fate", ["gone", "changed"])
def test_a_damaged_table_whose_source_is_lost_is_refused_in_a_sentence(write, tmp_path: Path, fate: str) -> None:
    path = write("a,y\n1,2\n3,4\n5,7\n")
    data = DataConfig(["a"], "y", str(path), holdout=0.0)
    table = open_table(data, tmp_path / "cache")
    overwrite(column_path(table.folder, "train", 0), 0, b"\1")
    with pytest.raises(DamagedTable, match=r"page 1 of column a \(train\.0\.bin\) does not match its checksum\.$"):
        table.read("train", 1, 2)
    path.unlink() if fate == "gone" else path.write_text("a,y\n1,2\n3,4\n5,8\n")
    with pytest.raises(ConfigError) as error:
        replace_table(table, data, tmp_path / "cache")
    reason = f"data.path: no such file: {path}" if fate == "gone" else f"{path} has changed since."
    assert str(error.value) == f"Table {table.folder.name[:8]} is damaged and cannot be rebuilt: {reason}"
    assert table.folder.exists()


@pytest.mark.parametrize("damage", NOTICED_WHEN_OPENED)
def test_damaged_tables_are_listed_and_verified(case: Case, damage: Callable[[Table], None]) -> None:
    damage(case.table)
    (found,) = (each for each in list_tables(case.cache) if each.folder == case.table.folder)
    assert (found.state, found.table) == ("broken", None)
    assert verify_table(found, print).endswith("; remove the table (it is rebuilt when needed)")


@pytest.mark.parametrize("damage", NOTICED_WHEN_READ)
def test_verifying_reads_every_page(case: Case, damage: Callable[[Table], None]) -> None:
    damage(case.table)
    (found,) = (each for each in list_tables(case.cache) if each.folder == case.table.folder)
    assert "does not match its checksum; remove the table" in verify_table(found, print)


def test_a_damaged_table_of_another_user_is_refused(write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = DataConfig(["a"], "y", str(write("a,y\n1,2\n3,4\n")), holdout=0.0)
    table = open_table(data, tmp_path / "cache")
    remove_file_of(table)
    monkeypatch.setattr(os, "geteuid", lambda: table.folder.stat().st_uid + 1)
    with pytest.raises(ConfigError, match=r"It belongs to another user; set runtime\.cache to another folder\.$"):
        open_table(data, tmp_path / "cache")
    assert (table.folder / "table.json").exists()


def test_a_table_that_does_not_load_after_it_was_written_is_refused(
    write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = DataConfig(["a"], "y", str(write("a,y\n1,2\n3,4\n")), holdout=0)
    assert open_table(data, tmp_path / "cache") == open_table(replace(data, holdout=0.0), tmp_path / "cache")

    def save_and_damage(table: Table, *arguments: Any) -> None:
        save_table(table, *arguments)
        remove_file_of(table)

    monkeypatch.setattr("harness.data.tables.builder.save_table", save_and_damage)
    with pytest.raises(
        ConfigError, match=r"^runtime\.cache: Table .{8} is damaged: train\.0\.bin is missing\. It has just "
    ):
        open_table(data, tmp_path / "elsewhere")


def test_a_table_that_was_replaced_is_marked_as_in_use(write, tmp_path: Path) -> None:
    data = DataConfig(["a"], "y", str(write("a,y\n1,2\n3,4\n")), holdout=0.0)
    remove_file_of(open_table(data, tmp_path / "cache"))
    table = open_table(data, tmp_path / "cache")
    with unused(table.folder) as is_unused:
        assert not is_unused


def remove_file_of(table: Table) -> None:
    column_path(table.folder, "train", 0).unlink()


# Generated data.


def cut(path: Path) -> None:
    path.write_text("\n".join(path.read_text().splitlines()[:6]))


def forget(path: Path) -> None:
    path.with_suffix(".note").unlink()


def garble(path: Path) -> None:
    path.with_suffix(".note").write_text("{}")


def touch(path: Path) -> None:
    os.utime(path, (1, 1))


def note_is_folder(path: Path) -> None:
    forget(path)
    (path.with_suffix(".note") / "file").mkdir(parents=True)


def data_is_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [cut, forget, garble, Path.unlink, touch, note_is_folder, data_is_folder])
def test_generated_data_is_trusted_only_with_its_checksum(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    data = DataConfig(["sqft_living"], "price", rows=500)
    table = open_table(data, tmp_path)
    path = Path(table.address)
    before = path.read_bytes()
    damage(path)
    said: list[str] = []
    again = open_table(data, tmp_path, say=said.append)
    assert path.read_bytes() == before
    assert again.digest == table.digest
    quiet = damage in (Path.unlink, touch)
    fault = "is damaged" if damage in (cut, data_is_folder) else "has no checksum"
    assert said == ([] if quiet else [f"{path} {fault}; generating it again."])
    assert open_table(data, tmp_path, say=said.append) == again
    assert len(said) == (not quiet)


# Pages.


@pytest.mark.parametrize("order", Order)
@pytest.mark.parametrize("missing", [Missing.drop, Missing.mean])
def test_every_page_has_its_checksum(make_table, order: Order, missing: Missing) -> None:
    lines = "".join(f"{'' if row == 70_000 else row},{row % 7}\n" for row in range(140_000))
    table = make_table(f"a,y\n{lines}", order=order, missing=missing)
    table.check()
    assert table.pages("train") == 3
    overwrite(column_path(table.folder, "train", 0), 4 * 139_998, b"\7")
    with pytest.raises(DamagedTable, match=r"page 3 of column a"):
        table.check()


def test_a_link_is_not_followed(make_table, tmp_path: Path) -> None:
    table = make_table("a,y\n1,2\n3,4\n")
    path = column_path(table.folder, "train", 0)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StateError, match="is a symbolic link"):
        table.read("train", 0, 2)
