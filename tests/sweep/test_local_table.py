"""Copies of tables on a node's own disk."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.config import DataConfig
from harness.data.tables.builder import open_table, replace_table
from harness.data.tables.locks import hold, release
from harness.data.tables.pages import DamagedTable
from harness.data.tables.table import Table
from harness.sweep.tasks.local_table import Passes, local_copy, measured_passes

GB = 1e9


@pytest.mark.parametrize(
    ("number", "training", "shared", "memory", "scanning", "copying"),
    [
        (10, 10, 0.1, 0, 10_000, 1500),  # Reading is slow.
        (10, 10, 0.1, 200, 1090, 1500),  # It is read once.
        (1, 10, 0.1, 0, 1000, 1050),
        (10, 2000, 0.1, 0, 20_000, 21_000),  # Training is slower.
        (10, 10, 5, 0, 200, 600),  # The disk is slower.
    ],
)
def test_when_a_copy_pays(
    number: int, training: float, shared: float, memory: float, scanning: float, copying: float
) -> None:
    passes = Passes(100 * GB, number, training, shared * GB, 2 * GB, 1 * GB, memory * GB)
    assert (passes.scanning, passes.copying) == pytest.approx((scanning, copying))
    assert passes.pays == (copying < scanning)


def test_what_is_said() -> None:
    passes = Passes(8 * GB, 10, 10, 0.1 * GB, 2 * GB, GB, 0)
    words = "0:13:20 if a worker reads 8 GB 10 times, 0:03:00 if it makes a copy first (100 MB/s, 2 GB/s from the disk)"
    assert passes.describe() == words


@pytest.fixture
def data(tmp_path: Path) -> DataConfig:
    (tmp_path / "some.csv").write_text("x,y\n" + "1,2\n3,4\n" * 500)
    return DataConfig(features=["x"], target="y", path=str(tmp_path / "some.csv"))


@pytest.fixture
def table(data: DataConfig, tmp_path: Path) -> Table:
    return open_table(data, tmp_path / "cache")


def test_a_copy_is_removed_at_the_end(table: Table, tmp_path: Path) -> None:
    said: list[str] = []
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    assert measured_passes(table, str(scratch), 3, 0.0).bytes > 4000
    assert [*scratch.iterdir()] == []
    with local_copy(table, str(scratch), said.append) as copy:
        assert copy.folder.is_relative_to(scratch)
        assert (copy.digest, copy.address) == (table.digest, table.address)
        assert (copy.read("train", 0, 9)[0] == table.read("train", 0, 9)[0]).all()
    assert not copy.folder.exists()
    assert table.folder.exists()
    assert said == []


def test_what_a_killed_worker_has_left_is_removed(table: Table, data: DataConfig, tmp_path: Path) -> None:
    with local_copy(table, str(tmp_path), print) as copy:
        left, used = copy.folder.with_name("left"), copy.folder.with_name("used")
        for folder in (left, used):
            shutil.copytree(copy.folder, folder)
    hold(used)
    with local_copy(table, str(tmp_path), print):
        assert not left.exists()
        assert used.exists()
    release(used)


def test_a_damaged_copy_is_replaced_by_the_table(table: Table, data: DataConfig, tmp_path: Path) -> None:
    with local_copy(table, str(tmp_path), print) as copy:
        page = copy.folder / "train.0.bin"
        page.write_bytes(bytes(page.stat().st_size))
        with pytest.raises(DamagedTable):
            copy.check()
        assert replace_table(copy, data, tmp_path / "cache").folder == table.folder
        assert not copy.folder.exists()
    table.check()


def test_a_table_that_cannot_be_copied_is_read_where_it_is(
    table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    with local_copy(table, str(tmp_path / "nowhere"), said.append) as read:
        assert read is table
    monkeypatch.setattr("harness.sweep.tasks.local_table.SPARE_BYTES", 1e18)
    with local_copy(table, str(tmp_path), said.append) as read:
        assert read is table
    with pytest.raises(KeyError) as error, local_copy(table, str(tmp_path / "nowhere"), print):
        raise KeyError
    assert error.value.__context__ is None  # The reason would be taken for that of an error in training.
    missing, full = said
    assert missing.startswith(f"the table is not copied to {tmp_path}/nowhere ({tmp_path}/nowhere/harness-")
    assert missing.endswith(": No such file or directory)")
    assert "(it needs" in full
