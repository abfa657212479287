"""On a full disk, a command ends with one sentence and leaves nothing running; with space, it succeeds."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from harness.cli.disk_errors import explain
from tests.warm import Warm

CSV = "a,y\n" + "".join(f"{row},{row * 3}\n" for row in range(30_000))
FILE = ["data=csv", "data.path=big.csv", "data.features=[a]", "data.target=y", "epochs=1"]
WIDE = ["model=mlp", "model.units=[300,300]"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Mount a disk of this size in KiB, or skip the test where that is not allowed."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(size: int) -> Path:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(folder)], capture_output=True
        )
        if done.returncode:
            pytest.skip("cannot mount a disk here")
        return folder

    yield mount
    if folder.is_mount():
        subprocess.run(["umount", str(folder)], check=True)


def harness(folder: Path, *words: str, **environment: str) -> tuple[int, str]:
    """Run a command; return its exit code and the last line of its messages."""
    code = "from harness.cli.main import main; main()"
    command = [sys.executable, "-c", code, *words]
    done = subprocess.run(command, cwd=folder, env=os.environ | environment, capture_output=True, text=True)
    return done.returncode, (done.stderr.splitlines() or [""])[-1]


def states(folder: Path) -> list[str]:
    if not (folder / "mlflow.db").exists():
        return []
    with closing(sqlite3.connect(folder / "mlflow.db")) as store:
        return sorted(state for (state,) in store.execute("SELECT status FROM runs"))


@pytest.fixture
def train(tmp_path: Path, warm: Warm) -> Callable[..., tuple[int, str]]:
    """Train; return the exit code and the last line of the messages."""

    def run(*words: str) -> tuple[int, str]:
        errors = tmp_path / "errors"
        errors.write_text("")
        code = warm.run(tmp_path, "train", *words, errors=str(errors))
        return code, (errors.read_text().splitlines() or [""])[-1]

    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "words", "code", "sentence", "left"),
    [
        (100, FILE, 2, "harness: runtime.cache: cannot write to {disk} (No space left on device). Free space ", []),
        (100, [*FILE, "data.order=shuffled"], 2, "harness: runtime.cache: cannot write to {disk} (No space ", []),
        (100, ["epochs=1"], 2, "harness: runtime.cache: cannot write to {disk} (", []),
        (400, [*FILE, *WIDE], 1, "harness: the disk is full. Free space", ["FAILED"]),
    ],
    ids=["ingest", "shuffle", "generated data", "checkpoint"],
)
def test_a_full_cache(
    tmp_path: Path,
    small_disk: Callable[[int], Path],
    train: Callable[..., tuple[int, str]],
    size: int,
    words: list[str],
    code: int,
    sentence: str,
    left: list,
) -> None:
    (tmp_path / "big.csv").write_text(CSV)
    cache = small_disk(size) / "cache"
    found, said = train(*words, f"runtime.cache={cache}")
    assert (found, states(tmp_path)) == (code, left)
    assert said.startswith(sentence.format(disk=cache))
    assert not [*(cache / "tables").glob(".*")]
    assert train(*words) == (0, "")
    assert states(tmp_path) == [*left, "FINISHED"]


@pytest.mark.slow
def test_a_full_folder_for_temporary_files(tmp_path: Path, small_disk: Callable[[int], Path]) -> None:
    disk = small_disk(8)
    code, said = harness(tmp_path, "train", "-m", "data.rows=2000", "epochs=1", "chunksize=100,full", TMPDIR=str(disk))
    assert code == 0 or "the next `harness train` with the same store" in said
    assert harness(tmp_path, "train", "-m", "data.rows=2000", "epochs=1", "chunksize=100,full")[0] == 0
    assert states(tmp_path) == ["FINISHED"] * 3
    assert not [path for path in disk.iterdir() if path.is_dir()]
    for command in (["compare"], ["sweeps"], ["report", "--output", "report"]):
        code, said = harness(tmp_path, *command, TMPDIR=str(disk))
        assert code == 0 or said.startswith("harness: the disk is full")
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as store:
        query = "SELECT run_uuid FROM runs JOIN tags USING (run_uuid) WHERE tags.key = 'kind' AND tags.value = 'run'"
        run_ids = [run_id for (run_id,) in store.execute(query)]
    data = next((tmp_path / ".harness" / "houses").glob("*.csv"))
    found = [
        harness(tmp_path, "predict", run_id, str(data), "--output", "out.csv", TMPDIR=str(disk)) for run_id in run_ids
    ]
    assert all(code and said.startswith("harness: ") for code, said in found)
    assert not (tmp_path / "out.csv").exists()
    assert harness(tmp_path, "train", "-m", "data.rows=2000", "epochs=1", "chunksize=100,full") == (0, "")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(28, "No space left on device", "/a"), "the disk is full: /a. Free space"),
        (OSError(28, "No space left on device"), "the disk is full. Free space"),
        (OSError(27, "File too large", "/a", None, "/b"), "the disk is full: /b. Free space"),
        (shutil.Error([("/a", "/b", "[Errno 28] No space left on device: '/b'")]), "the disk is full. Free space"),
        (RuntimeError("(sqlite3.OperationalError) database or disk is full"), "the disk is full. Free space"),
        (OSError(2, "No such file", "/a"), ""),
        (ValueError("no"), ""),
    ],
)
def test_errors_of_a_full_disk_are_recognized(error: Exception, sentence: str) -> None:
    assert explain(error).startswith(sentence) == bool(explain(error) or not sentence)
    outer = RuntimeError("outer")
    outer.__cause__ = error
    assert explain(outer) == explain(error)
    assert bool(explain(error)) == bool(sentence)
