"""A table is created once, and completely or not at all, despite concurrent processes and interruptions."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness.config import DataConfig, Missing, Scaling
from harness.data.ingest import IngestProgress
from harness.data.tables.builder import open_table
from tests.tables import SMALL, age, rows


def test_a_table_is_made_once(make_table, write) -> None:
    path = write(SMALL)
    table = make_table(path, holdout=0.3)
    before = age(table)
    assert make_table(path, holdout=0.3) == table
    assert make_table(path, holdout=0.3, scaling=Scaling.none, origin="elsewhere") == table
    assert age(table) == before


def test_a_relative_path_and_a_home_are_the_same_source(
    make_table, write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = make_table(write(SMALL))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    before = age(table)
    assert make_table(Path("file.csv")) == make_table(Path("~/file.csv")) == table
    assert age(table) == before


def test_each_choice_of_rows_and_columns_has_its_table(make_table, write, tmp_path: Path) -> None:
    """None is mistaken for another table of the same source."""
    path = write("a,b,y\n1,5,10\n2,6,20\n,7,30\n4,8,40\n5,9,50\n")
    rest: dict = {"missing": Missing.drop}
    choices = [
        rest,
        rest | {"missing": Missing.mean},
        rest | {"features": ["a", "b"]},
        rest | {"features": ["b", "a"]},
        rest | {"features": ["y"], "target": "a"},
        rest | {"log_columns": ["a"]},
        rest | {"log_columns": ["y"]},
        rest | {"holdout": 0.5},
        rest | {"holdout": 0.5, "split_seed": 2},
    ]
    tables = [make_table(path, **choice) for choice in choices]
    assert len({table.digest for table in tables}) == len(choices)
    for choice, table in zip(choices, tables, strict=True):
        assert make_table(path, **choice) == table
        data = DataConfig(**({"features": ["a"], "target": "y", "holdout": 0.0, "path": str(path)} | choice))
        alone = open_table(data, tmp_path / "alone" / table.folder.name)
        assert (alone.digest, alone.columns) == (table.digest, table.columns)
    assert make_table(path, **rest, log_columns=["y", "a"]) == make_table(path, **rest, log_columns=["a", "y"])


@pytest.mark.parametrize("row", [1, 150_000, 300_000])
def test_a_changed_source_is_noticed(make_table, write, row: int) -> None:
    """Even if name, size and modification time are the same, and the change is in the middle of a large file."""
    lines = ["a,y\n", *(f"{number},10\n" for number in range(1, 300_001))]
    path = write("".join(lines))
    before, status = make_table(path), path.stat()
    lines[row] = f"{row},99\n"
    path.write_text("".join(lines))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    now = path.stat()
    assert (now.st_size, now.st_mtime_ns, now.st_ino) == (status.st_size, status.st_mtime_ns, status.st_ino)
    after = make_table(path)
    assert after.digest != before.digest
    assert rows(after)[row - 1].tolist() == [row, 99]
    with path.open("a") as file:
        file.write("7,70\n")
    assert rows(make_table(path))[-1].tolist() == [7, 70]


def test_a_copy_or_hard_link_gives_the_same_table(make_table, write, tmp_path: Path) -> None:
    path = write("a,y\n1,2\n")
    table = make_table(path)
    copy, link = tmp_path / "copy.csv", tmp_path / "link.csv"
    copy.write_bytes(path.read_bytes())
    link.hardlink_to(path)
    for source in (path, copy, link):
        again = make_table(source)
        assert (again.digest, again.folder == table.folder) == (table.digest, False)


def test_the_manifest_is_plain_json(make_table) -> None:
    table = make_table(SMALL)
    _, text = (table.folder / "table.json").read_text().split("\n", 1)
    manifest = json.loads(text, parse_constant=pytest.fail)
    common = {"log": False, "count": 5, "categories": [], "dtype": "float32", "shape": [], "offset": 0, "rounding": 0}
    common |= {"channel_means": [], "channel_stds": []}
    data, facts = manifest.pop("data"), manifest.pop("facts")
    assert (data["features"], data["target"], data["path"]) == (["a"], "y", table.address)
    assert manifest.pop("files")[0][:2] == [table.address, len(SMALL)]
    assert manifest == {"digest": table.digest}
    assert facts == {
        "features": [{"name": "a", "mean": 3.0, "std": 2.0**0.5, "min": 1.0, "max": 5.0} | common],
        "targets": [{"name": "y", "mean": 30.0, "std": 200.0**0.5, "min": 10.0, "max": 50.0} | common],
        "page_rows": 65_536,
        "train_rows": 5,
        "holdout_rows": 0,
        "test_rows": 0,
        "weights": [],
        "dropped": 0,
        "filled": 0,
        "drift": "",
        "notes": [],
        "embedding": None,
    }


@pytest.mark.parametrize("error", [KeyboardInterrupt, BrokenPipeError])
def test_an_interrupted_ingest_leaves_nothing(write, tmp_path: Path, error: type[BaseException]) -> None:
    source = DataConfig(["a"], "y", str(write(SMALL)), holdout=0.0)

    def interrupt(state: IngestProgress) -> None:
        if state.rows == 4:
            raise error

    with pytest.raises(error):
        open_table(source, tmp_path / "cache", interrupt, block_bytes=2)
    assert list((tmp_path / "cache" / "tables").iterdir()) == []
    assert [thread.name for thread in threading.enumerate() if thread.name == "prefetch"] == []
    assert open_table(source, tmp_path / "cache").train_rows == 5


PROGRAM = """
import os, signal, sys, time
from pathlib import Path
from harness.config import DataConfig
from harness.data.tables.builder import open_table

source, cache = sys.argv[1], Path(sys.argv[2])

def die(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)

def progress(state):
    if state.rows == 4:
        AT_ROW_4

print(open_table(DataConfig(["a"], "y", source, holdout=0.0), cache, progress, block_bytes=5))
"""
NOTE = """
        (cache / str(os.getpid())).touch()
        time.sleep(0.5)
"""


def start(program: str, *arguments: Path) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", program, *map(str, arguments)], stdout=-1, stderr=-1, text=True)


@pytest.mark.parametrize("moment", ["while it reads", "before it has a name"])
def test_a_killed_ingest_leaves_no_table(make_table, write, tmp_path: Path, moment: str) -> None:
    program = PROGRAM.replace("AT_ROW_4", "die()" if moment == "while it reads" else "Path.rename = die")
    path, tables = write(SMALL), tmp_path / "cache" / "tables"
    with start(program, path, tmp_path / "cache") as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, errors
    left = [folder.name for folder in tables.iterdir()]
    assert len(left) == 1
    table = make_table(path)
    assert rows(table).tolist() == [[1, 10], [2, 20], [3, 30], [4, 40], [5, 50]]
    assert sorted(folder.name for folder in tables.iterdir()) == sorted([*left, table.folder.name])


def test_one_of_two_processes_creates_the_table(make_table, write, tmp_path: Path) -> None:
    path, program = write(SMALL), PROGRAM.replace("AT_ROW_4", NOTE)
    processes = [start(program, path, tmp_path / "cache") for _ in range(2)]
    found = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], found
    table = make_table(path)
    assert [text for text, _ in found] == [f"{table}\n"] * 2
    assert rows(table).tolist() == [[1, 10], [2, 20], [3, 30], [4, 40], [5, 50]]
    assert list((tmp_path / "cache" / "tables").iterdir()) == [table.folder]
    assert len([path for path in (tmp_path / "cache").iterdir() if path.is_file()]) == 1


@pytest.mark.parametrize(("data", "steps"), [({"path": "file.csv"}, 1), ({"rows": 300}, 2)])
def test_one_of_several_threads_creates_the_table(
    write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: dict, steps: int
) -> None:
    monkeypatch.chdir(tmp_path)
    write("sqft_living,price\n" + "1,2\n3,4\n" * 150)
    source = DataConfig(["sqft_living"], "price", holdout=0.0, **data)
    said: list[IngestProgress] = []
    with ThreadPoolExecutor(4) as pool:
        tables = list(pool.map(lambda _: open_table(source, tmp_path / "cache", said.append), range(4)))
    assert len(said) == steps
    assert len({table.folder for table in tables}) == 1
    frame = pd.read_csv(tables[0].address)[["sqft_living", "price"]].to_numpy(np.float32)
    np.testing.assert_array_equal(rows(tables[0]), frame)
