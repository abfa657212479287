"""Sweeps that are killed, starved of space and started twice: nothing is lost, doubled or changed."""

from __future__ import annotations

import json
import random
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
KILLS = 50
WORDS = [
    "train",
    "-m",
    "data.rows=300000",
    "chunksize=full,1000,100",
    "learning_rate=0.003,0.01,0.03,0.1",
    "epochs=5,20",
]
RUNS = 24
TIMES = ("time/", "rows_per_second", "system/", "memory/peak")


class Warm:
    """A process that runs commands in children of its own; see `tests.warm`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.warm"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert self._process.stdin
        assert self._process.stdout
        self._in, self._out = self._process.stdin, self._process.stdout
        assert self._out.readline() == "ready\n"

    def run(self, folder: Path, *words: str, seconds: float = 600) -> int:
        """Run a command for at most so many seconds, and return its exit status."""
        print(json.dumps([seconds, str(folder), words]), file=self._in, flush=True)
        return int(self._out.readline())

    def close(self) -> None:
        self._in.close()
        self._process.wait(timeout=60)


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    with closing(Warm()) as process:
        yield process


@pytest.fixture(scope="module")
def undisturbed(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """The folder of a sweep that nothing happened to, and the seconds that it took."""
    folder = tmp_path_factory.mktemp("undisturbed")
    start = time.monotonic()
    assert warm.run(folder, *WORDS) == 0
    return folder, time.monotonic() - start


def rows(folder: Path, query: str) -> list[tuple]:
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        return database.execute(query).fetchall()


def numbers(folder: Path) -> dict[tuple, float]:
    """All metrics of all runs but times, by the run's name, key and step; each is there once."""
    found = rows(
        folder,
        "SELECT tags.value, metrics.key, step, metrics.value FROM metrics JOIN tags ON tags.run_uuid = metrics.run_uuid"
        " WHERE tags.key = 'mlflow.runName'",
    )
    twice = [place for place, count in Counter(row[:3] for row in found).items() if count > 1]
    assert not twice
    return {row[:3]: row[3] for row in found if not row[1].startswith(TIMES)}


def check(folder: Path, expected: Path) -> None:
    """All runs are there once, as if nothing had happened."""
    assert rows(folder, "SELECT status, count(*) FROM runs GROUP BY status") == [("FINISHED", RUNS + 1)]
    assert rows(folder, "SELECT count(DISTINCT value) FROM tags WHERE key = 'signature'") == [(RUNS + 1,)]
    assert rows(folder, "SELECT count(*) FROM tags WHERE key = 'kind' AND value = 'sweep'") == [(1,)]
    assert numbers(folder) == numbers(expected)
    assert rows(folder, "SELECT count(*) FROM logged_models") == [(1,)]
    assert list((folder / "mlartifacts").rglob("report.html"))
    assert sorted(path.name for path in (folder / ".harness").iterdir()) == ["houses", "tables"]


def test_kills_at_random_moments(warm: Warm, undisturbed: tuple[Path, float], tmp_path: Path) -> None:
    expected, whole = undisturbed
    draw = random.Random(0)
    kills, sweeps = 0, 0
    while kills < KILLS:
        folder = tmp_path / str(sweeps)
        status = -9
        while status != 0 and kills < KILLS:
            status = warm.run(folder, *WORDS, seconds=draw.uniform(0.02, 1.1) * whole)
            assert status in (0, -9), (folder / "log").read_text()[-3000:]
            kills += status != 0
        assert status == 0 or warm.run(folder, *WORDS) == 0, (folder / "log").read_text()[-3000:]
        check(folder, expected)
        sweeps += 1
    assert sweeps >= 2
