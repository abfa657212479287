"""If sweeps are killed, run out of disk space or are started twice, nothing is lost, duplicated or changed."""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from tests.warm import Warm

pytestmark = pytest.mark.slow

KILLS = 50
WORDS = [
    "train",
    "-m",
    "data.rows=300000",
    "chunksize=full,1000,100",
    "learning_rate=0.003,0.01,0.03,0.1",
    "epochs=5,20",
]
UNTIMED = [*WORDS, "runtime.time_alone=false"]
RUNS = 24
TIMES = ("time/", "rows_per_second", "system/", "memory/peak", "memory/scan")


@pytest.fixture(scope="module")
def undisturbed(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """The folder of an undisturbed sweep, and the seconds it took."""
    folder = tmp_path_factory.mktemp("undisturbed")
    start = time.monotonic()
    assert warm.run(folder, *WORDS) == 0
    return folder, time.monotonic() - start


def rows(folder: Path, query: str) -> list[tuple]:
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        return database.execute(query).fetchall()


def numbers(folder: Path, condition: str = "") -> dict[tuple, float]:
    """Return all metrics except times, by run name, key and step, after checking that there are no duplicates.

    `condition` in SQL, on `tags.run_uuid`, selects the runs.
    """
    found = rows(
        folder,
        "SELECT tags.value, metrics.key, step, metrics.value FROM metrics JOIN tags ON tags.run_uuid = metrics.run_uuid"
        f" WHERE tags.key = 'mlflow.runName' {condition}",
    )
    twice = [place for place, count in Counter(row[:3] for row in found).items() if count > 1]
    assert not twice
    return {row[:3]: row[3] for row in found if not row[1].startswith(TIMES)}


def check(folder: Path, expected: Path, caches: Sequence[str] = ("houses", "locks", "tables")) -> None:
    """Check that each run exists once, as if nothing had happened."""
    assert rows(folder, "SELECT status, count(*) FROM runs GROUP BY status") == [("FINISHED", RUNS + 1)]
    assert rows(folder, "SELECT count(DISTINCT value) FROM tags WHERE key = 'signature'") == [(RUNS + 1,)]
    assert rows(folder, "SELECT count(*) FROM tags WHERE key = 'kind' AND value = 'sweep'") == [(1,)]
    assert numbers(folder) == numbers(expected)
    assert rows(folder, "SELECT count(*) FROM logged_models") == [(1,)]
    assert list((folder / "mlartifacts").rglob("report.html"))
    # A process that is killed between two calls may leave the lock of an outbox, an empty file.
    left = {path.name for path in (folder / ".harness").iterdir()}
    left -= set() if [*folder.glob(".harness/outbox/*[!k]")] else {"outbox"}
    assert sorted(left) == list(caches)


@pytest.mark.timeout(1800)
def test_kills_at_random_moments(warm: Warm, undisturbed: tuple[Path, float], tmp_path: Path) -> None:
    expected, whole = undisturbed
    draw = random.Random(0)
    kills, sweeps = 0, 0
    while kills < KILLS:
        folder = tmp_path / str(sweeps)
        status = -9
        while status != 0 and kills < KILLS:
            is_new, start = not folder.exists(), time.monotonic()
            status = warm.run(folder, *WORDS, seconds=draw.uniform(0.02, 1.1) * whole)
            assert status in (0, -9), (folder / "log").read_text()[-3000:]
            if is_new and status == 0:  # The undisturbed sweep took longer, since it was the first.
                whole = min(whole, time.monotonic() - start)
            kills += status != 0
        assert status == 0 or warm.run(folder, *WORDS) == 0, (folder / "log").read_text()[-3000:]
        check(folder, expected)
        sweeps += 1
    assert sweeps >= 2


class Disk:
    """A separate file system, if this user may mount one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "disk"
        self.folder.mkdir()
        if shutil.which("mount") is None or self._mount("-t", "tmpfs", "-o", "size=1g", "tmpfs", str(self.folder)):
            pytest.skip("no file system can be mounted here")

    def set(self, *options: str) -> None:
        assert self._mount("-o", f"remount,{','.join(options)}", str(self.folder)) == 0

    @property
    def used(self) -> int:
        return shutil.disk_usage(self.folder).used

    def close(self) -> None:
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True)

    @staticmethod
    def _mount(*words: str) -> int:
        return subprocess.run(["mount", *words], stderr=subprocess.DEVNULL, check=False).returncode


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with closing(Disk(tmp_path)) as made:
        yield made


@pytest.fixture(scope="module")
def houses(undisturbed: tuple[Path, float]) -> list[str]:
    """The arguments for the same data in a file on another disk."""
    (path,) = (undisturbed[0] / ".harness" / "houses").glob("*.csv")
    return ["data=csv", f"data.path={path}", "data.features=[sqft_living]", "data.target=price"]


def fails_in_a_line(warm: Warm, disk: Disk, log: Path, words: list[str]) -> None:
    before = len(log.read_text()) if log.exists() else 0
    status = warm.run(disk.folder, *words, log=log)
    said = log.read_text()[before:]
    assert "Traceback" not in said
    if status == 0:  # There was space for everything except the report.
        assert "report: could not be created" in said
        return
    assert status in (1, 2), said
    last = said.splitlines()[-1]
    assert last.startswith("harness: ")
    assert len(last) < 600


def test_a_full_disk(
    warm: Warm,
    undisturbed: tuple[Path, float],
    houses: list[str],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    words, log = [*UNTIMED, *houses], tmp_path / "log"
    words.remove("data.rows=300000")
    with closing(Disk(tmp_path)) as disk:
        assert warm.run(disk.folder, *words, log=log) == 0
        needed = disk.used
    for share in (0.02, 0.1, 0.2, 0.35, 0.5, 0.7, 0.85, 0.95):
        folder = tmp_path_factory.mktemp("full")
        with closing(Disk(folder)) as disk:
            disk.set(f"size={int(share * needed) // 4096 * 4096}")
            fails_in_a_line(warm, disk, log, words)
            disk.set("size=1g")
            assert warm.run(disk.folder, *words, log=log) == 0
            check(disk.folder, undisturbed[0], caches=["locks", "tables"])


def test_a_read_only_folder(
    warm: Warm, undisturbed: tuple[Path, float], houses: list[str], disk: Disk, tmp_path: Path
) -> None:
    words, log = [*UNTIMED, *houses], tmp_path / "log"
    words.remove("data.rows=300000")
    for share in (0.0, 0.3, 0.5, 0.7, 0.9):
        if share:
            disk.set("rw")
            warm.run(disk.folder, *words, seconds=share * undisturbed[1], log=log)
        disk.set("ro")
        fails_in_a_line(warm, disk, log, words)
    disk.set("rw")
    assert warm.run(disk.folder, *words, log=log) == 0
    check(disk.folder, undisturbed[0], caches=["locks", "tables"])


def test_the_same_sweep_twice_at_once(warm: Warm, undisturbed: tuple[Path, float], tmp_path: Path) -> None:
    """One trains; the other waits and ends with the same runs."""
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda words: warm.run(tmp_path, *words), (UNTIMED, UNTIMED)))
    assert found == [0, 0], (tmp_path / "log").read_text()
    check(tmp_path, undisturbed[0])


def test_two_overlapping_sweeps_at_once(warm: Warm, undisturbed: tuple[Path, float], tmp_path: Path) -> None:
    with ThreadPoolExecutor() as pool:
        more = [word.replace("chunksize=full,1000", "chunksize=full,500") for word in UNTIMED]
        found = list(pool.map(lambda words: warm.run(tmp_path, *words), (UNTIMED, more)))
    assert found == [0, 0], (tmp_path / "log").read_text()
    assert rows(tmp_path, "SELECT status, count(*) FROM runs GROUP BY status") == [("FINISHED", RUNS + 8 + 2)]
    assert numbers(undisturbed[0]).items() <= numbers(tmp_path).items()
    shared = rows(tmp_path, "SELECT count(*) FROM tags WHERE key = 'sweep' AND value LIKE '%,%'")
    assert shared == [(16,)]
    assert "database is locked" not in (tmp_path / "log").read_text()
