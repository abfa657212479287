"""Commands whose standard output or standard error is closed, full or a pipe without a reader."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.cli.test_main import COMMAND, CSV, DATA, environment, stored

FULL = "harness: cannot write to standard output: No space left on device\n"
TRAIN = ["train", *DATA, "epochs=1", "runtime.workers=1", "tracking.log_model=none"]


def run(folder: Path, words: list[str], ending: str) -> tuple[int, str]:
    """Run a command in a shell with redirections; return its exit code, and what reaches standard error."""
    script = f'"$@" {ending}; echo "${{PIPESTATUS[0]}}" >&9'
    read, write = os.pipe()
    with os.fdopen(read) as codes:
        shell = ["bash", "-c", script, "bash", str(COMMAND), *words]
        with subprocess.Popen(
            ["bash", "-c", f'exec 9>&{write}; exec "$@"', "bash", *shell],
            cwd=folder,
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=[write],
        ) as process:
            os.close(write)
            _, err = process.communicate(timeout=300)
        return int(codes.read()), err


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sweep."""
    folder = tmp_path_factory.mktemp("streams")
    (folder / "small.csv").write_text(CSV)
    subprocess.run([COMMAND, *TRAIN, "-m", "seed=0,1"], cwd=folder, env=environment(), check=True, capture_output=True)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ending", "code", "said"),
    [
        (">/dev/full", 1, FULL),
        (">&-", 0, ""),
        ("2>&-", 0, ""),
        ("<&- >&- 2>&-", 0, ""),
        ("| head -1", 0, ""),
    ],
)
def test_training_is_recorded_without_its_output(tmp_path: Path, ending: str, code: int, said: str) -> None:
    (tmp_path / "small.csv").write_text(CSV)
    assert run(tmp_path, [*TRAIN, "-m", "seed=0,1"], ending) == (code, said)
    summary, *runs = stored(tmp_path)
    assert {run.info.status for run in (summary, *runs)} == {"FINISHED"}
    assert len(runs) == 2
    assert run(tmp_path, ["compare"], "") == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        *(["compare"], ["sweeps"], ["--help"], ["data", "list"]),
        *(["plan", *TRAIN[1:], "seed=5"], ["data", "describe", "small.csv"], ["ui"]),
    ],
    ids=" ".join,
)
def test_commands_that_print_end_with_their_output(folder: Path, words: list[str]) -> None:
    assert run(folder, words, ">/dev/full") == (1, FULL)
    assert run(folder, words, "| true") == (141, "")
    if words != ["ui"]:
        assert run(folder, words, ">&-") == (0, "")
        assert run(folder, words, "2>/dev/full") == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize("words", [["report"], ["train", "--help"], ["clean"], ["data", "verify"]], ids=" ".join)
def test_commands_that_do_work_finish_without_output(folder: Path, words: list[str]) -> None:
    assert run(folder, words, ">/dev/full") == (1, FULL)
    assert run(folder, words, "| true") == (0, "")
    assert run(folder, words, ">&-") == (0, "")


@pytest.mark.slow
def test_an_error_that_cannot_be_shown_keeps_its_exit_code(folder: Path) -> None:
    for ending in ("2>&-", "2>/dev/full", ">&- 2>&-"):
        assert run(folder, ["compare", "nothing"], ending) == (2, "")


def test_a_name_that_the_encoding_lacks_is_escaped(tmp_path: Path) -> None:
    words = ["data", "describe", "größe\udcff.csv"]
    (tmp_path / words[-1]).write_text(CSV)
    for encoding in ("ascii", "utf-8"):
        given = environment() | {"PYTHONIOENCODING": encoding}
        done = subprocess.run([COMMAND, *words], cwd=tmp_path, env=given, capture_output=True)
        assert (done.returncode, done.stderr) == (0, b"")
        assert rb"e\udcff.csv: 13 rows" in done.stdout


@pytest.mark.slow
def test_a_closed_terminal_stops_a_sweep_at_the_next_block(tmp_path: Path) -> None:
    (tmp_path / "small.csv").write_text(CSV)
    near, far = pty.openpty()
    words = [COMMAND, *TRAIN, "-m", "seed=0,1", "epochs=2000000"]
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # The tests themselves may run under `nohup`.
    process = subprocess.Popen(words, cwd=tmp_path, env=environment(), stdin=far, stdout=far, stderr=far)
    signal.signal(signal.SIGHUP, before)
    os.close(far)
    deadline = time.monotonic() + 120
    while len(stored(tmp_path)) < 3 and time.monotonic() < deadline:
        time.sleep(1)
    os.close(near)
    process.send_signal(signal.SIGHUP)
    try:
        assert process.wait(120) == 128 + signal.SIGHUP
    finally:
        process.kill()
    assert {run.info.status for run in stored(tmp_path)} == {"KILLED"}
