"""Damages every file that a sweep leaves behind in ten ways, one at a time, and runs the same command again.

The store then has the numbers of an undisturbed sweep, each once, or the command reports the reason in one sentence.
`HARNESS_DAMAGE=all` tries all files in all ways; otherwise a fixed sample of them.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.sweep.test_kills import numbers as numbers_of
from tests.sweep.test_kills import rows
from tests.warm import Warm

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

RUNS = 4
SECONDS = 60
WAYS = ("flip", "zero", "empty", "half", "byte", "append", "replace", "remove", "folder", "user")
STATE = re.compile(r"checkpoints/\w+/state|/locks/|/outbox/|/tables/|summary\.json$")
"""Each kind of these files is damaged in all ways, which are distributed over its files."""

ID = re.compile(r"[0-9a-f]{8,}|\d+|train|holdout")
"""The parts in which the names of files of one kind differ."""

SAMPLE = 12
"""Of the other combinations of file and way, one in this many is tried."""

PARTS = 2
"""Number of sweeps that are damaged at the same time."""


class Sweep:
    """A sweep in a folder that can be restored."""

    def __init__(self, path: Path, warm: Warm) -> None:
        self.folder, self.log, self._copy, self._warm = path / "work", path / "log", path / "copy", warm
        lines = "".join(f"{i % 97},{3 * (i % 97) + i % 7}\n" for i in range(4000))
        (path / "some.csv").write_text(f"x,y\n{lines}")
        self._words = ["train", "-m", "hydra.sweep.dir=multirun/s", "chunksize=full,500", "epochs=3,6"]
        self._words += ["data=csv", f"data.path={path / 'some.csv'}", "data.features=[x]", "data.target=y"]
        self._words += ["runtime.block_rows=1024", "runtime.workers=1", "runtime.time_alone=false"]

    def run(self, checkpoints: int = 0) -> tuple[int, str]:
        """Run the command; return its exit status and what it printed."""
        before = self.log.stat().st_size if self.log.exists() else 0
        status = self._warm.run(self.folder, *self._words, seconds=SECONDS, log=self.log, checkpoints=checkpoints)
        with self.log.open("rb") as file:
            file.seek(before)
            return status, file.read().decode()

    def keep(self) -> None:
        """Make a copy, to which `restore` returns."""
        shutil.rmtree(self._copy, ignore_errors=True)
        shutil.copytree(self.folder, self._copy, symlinks=True)

    def restore(self) -> None:
        shutil.rmtree(self.folder)
        shutil.copytree(self._copy, self.folder, symlinks=True)

    def files(self) -> list[Path]:
        found = (path.relative_to(self._copy) for path in self._copy.rglob("*") if path.is_file())
        return sorted(path for path in found if not path.name.endswith(".lock"))

    def damage(self, name: Path, way: str) -> None:
        path = self.folder / name
        content = bytearray(path.read_bytes())
        middle = len(content) // 2
        match way:
            case "flip" if content:
                content[middle] ^= 16
                path.write_bytes(content)
            case "zero":
                page = slice(middle // 4096 * 4096, middle // 4096 * 4096 + 4096)
                content[page] = bytes(len(content[page]))
                path.write_bytes(content)
            case "empty":
                path.write_bytes(b"")
            case "half":
                path.write_bytes(content[:middle])
            case "byte":
                path.write_bytes(content[:1])
            case "append":
                path.write_bytes(content + b"garbage\n" * 20)
            case "replace":
                files = self.files()
                path.write_bytes((self._copy / files[files.index(name) - 1]).read_bytes())
            case "remove":
                path.unlink()
            case "folder":
                path.unlink()
                path.mkdir()
            case "user":
                path.chmod(0)
                if os.geteuid() == 0:
                    os.chown(path, 12345, 12345)

    def check(self, numbers: dict[tuple, float]) -> None:
        """Check that each run exists once, with these numbers."""
        assert rows(self.folder, "SELECT status, count(*) FROM runs GROUP BY status") == [("FINISHED", RUNS + 1)]
        assert rows(self.folder, "SELECT count(DISTINCT value) FROM tags WHERE key = 'signature'") == [(RUNS + 1,)]
        assert numbers_of(self.folder) == numbers


def outcome(sweep: Sweep, numbers: dict[tuple, float], name: Path) -> str:
    """Run the command on damaged files, and again if it ends with a message; return what happened."""
    said = []
    for _ in range(2):
        status, text = sweep.run()
        assert status in (0, 1, 2), f"exit status {status}"
        assert "Traceback" not in text
        said.append(text.splitlines()[-1])
        raw = re.search(r"harness: \w*(Error|Exception)\b.*", text)
        assert not raw, raw and raw[0]
        if status == 0:
            sweep.check(numbers)
            return "repaired" if len(said) == 2 or "resume: " in text or "damaged" in text else "not noticed"
        assert said[-1].startswith("harness: "), said[-1]
        # A command with invalid input does not open the store, so runs that were killed still appear to be running.
        assert status == 2 or "RUNNING" not in statuses(sweep), "a run is left running"
        if name.parts[0].startswith("mlflow.db"):
            break
    return "refused"


def statuses(sweep: Sweep) -> set[str]:
    try:
        return {status for (status,) in rows(sweep.folder, "SELECT status FROM runs")}
    except sqlite3.Error:
        return set()


def is_turn(kinds: dict[str, list[Path]], name: Path, number: int) -> bool:
    """Return True if, of the files of its kind, this is the one to damage in way `number`."""
    files = kinds[ID.sub("", name.name)]
    return files[number % len(files)] == name


def damage_one_by_one(warm: Warm, path: Path, state: str, part: int) -> tuple[Counter[str], list[str]]:
    """Damage every second file and way, starting with number `part`; return the outcomes, and what went wrong."""
    path.mkdir()
    sweep = Sweep(path, warm)
    status, text = sweep.run()
    assert status == 0, text
    numbers = numbers_of(sweep.folder)
    if state == "interrupted":
        shutil.rmtree(sweep.folder)
        assert sweep.run(checkpoints=6)[0] == -9
        assert list(sweep.folder.glob(".harness/outbox/*.jsonl"))
        assert list(sweep.folder.glob(".harness/checkpoints/*/state.before"))
    sweep.keep()
    is_all = os.environ.get("HARNESS_DAMAGE") == "all"
    kinds: dict[str, list[Path]] = {}
    for name in sweep.files():
        kinds.setdefault(ID.sub("", name.name), []).append(name)
    cases = [
        (name, way)
        for index, name in enumerate(sweep.files())
        for number, way in enumerate(WAYS)
        if is_all
        or (state == "interrupted" and STATE.search(str(name)) and is_turn(kinds, name, number))
        or not (index + number) % SAMPLE
    ]
    found, wrong = Counter(), []
    for name, way in cases[part::PARTS]:
        sweep.restore()
        sweep.damage(name, way)
        try:
            found[outcome(sweep, numbers, name)] += 1
        except (AssertionError, sqlite3.Error) as error:
            wrong.append(f"{name} {way}: {str(error).splitlines()[0][:300]}")
    found["files"] = len(sweep.files()) if part == 0 else 0
    return found, wrong


@pytest.mark.parametrize("state", ["interrupted", "finished"])
def test_no_damaged_file_changes_a_number(
    warm: Warm, tmp_path: Path, state: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with ThreadPoolExecutor(PARTS) as pool:
        parts = [pool.submit(damage_one_by_one, warm, tmp_path / str(part), state, part) for part in range(PARTS)]
        found, faults = zip(*(part.result() for part in parts), strict=True)
    wrong = [fault for some in faults for fault in some]
    with capsys.disabled():
        print(f"\n{state}: {dict(sum(found, Counter()))}, {len(wrong)} wrong")
    assert not wrong, "\n".join(wrong)
