"""A project's folder that is renamed between two commands: everything continues in the new location."""

from __future__ import annotations

import re
import shutil
import signal
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.tracking.reader import RunReader
from harness.tracking.uri import file_path
from tests.servers import running_ui
from tests.warm import Warm

ROWS = "area,rooms,price\n" + "".join(
    f"{40 + i * 7 % 160},{1 + i % 6},{(40 + i * 7 % 160) * 1100 + i * 37 % 999}\n" for i in range(400)
)
WORDS = ["train", "-m", "data.path=homes.csv", "data.features=[area,rooms]", "data.target=price"]
GRID = ["chunksize=full,50", "learning_rate=0.1,0.01", "epochs=3"]
LONGER = ["chunksize=full,50", "learning_rate=0.1,0.01", "epochs=6", "hydra.sweep.dir=kept"]


@pytest.fixture(scope="module")
def moved(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """The new and the old path of a folder with a sweep, a killed sweep, and predictions of the best run."""
    above = tmp_path_factory.mktemp("moved")
    old, new = above / "old", above / "ne w"
    old.mkdir()
    (old / "homes.csv").write_text(ROWS)
    assert warm.run(old, *WORDS, *GRID) == 0
    assert warm.run(old, "predict", "best", "homes.csv", "--output", "before.csv") == 0
    assert warm.run(old, *WORDS, *LONGER, checkpoints=2) == -signal.SIGKILL
    old.rename(new)
    old.write_text("canary")
    yield new, old
    assert old.read_text() == "canary"
    assert sorted(path.name for path in above.iterdir()) == ["ne w", "old"]


def run(warm: Warm, folder: Path, *words: str) -> str:
    """Run a command that must succeed, and return what it prints."""
    log = folder / "log"
    log.unlink(missing_ok=True)
    assert warm.run(folder, *words) == 0, log.read_text()
    return log.read_text()


def curves(folder: Path) -> dict[str, object]:
    reader = RunReader(f"sqlite:///{folder}/mlflow.db")
    times = "time/", "rows_per_second", "memory/"
    return {
        f"{run.info.run_name} {key}": points
        for run in reader.newest_runs(4)
        for key, points in reader.curves(run).items()
        if not key.startswith(times)
    }


@pytest.mark.slow
def test_a_killed_sweep_is_resumed_and_a_finished_one_is_known(
    warm: Warm, moved: tuple[Path, Path], tmp_path: Path
) -> None:
    new, _ = moved
    assert "4 of 4 runs are already finished" in run(warm, new, *WORDS, *GRID)
    assert "resume: continuing from the checkpoint" in run(warm, new, *WORDS, *LONGER)
    shutil.copyfile(new / "homes.csv", tmp_path / "homes.csv")
    run(warm, tmp_path, *WORDS, *LONGER)
    assert curves(new) == curves(tmp_path)
    assert not list((new / ".harness" / "outbox").glob("*"))


@pytest.mark.slow
def test_all_commands_find_what_was_recorded_before(warm: Warm, moved: tuple[Path, Path]) -> None:
    new, _ = moved
    sweeps = run(warm, new, "sweeps", "--csv").splitlines()
    first = next(re.findall("[0-9a-f]{32}", line)[0] for line in sweeps if "epochs=3" in line)
    best = re.findall("^[0-9a-f]{8}", run(warm, new, "compare", first), re.MULTILINE)[0]
    run(warm, new, "predict", best, "homes.csv", "--output", "after.csv")
    assert (new / "after.csv").read_text() == (new / "before.csv").read_text()
    run(warm, new, "reproduce", best)
    run(warm, new, "report", first)
    run(warm, new, "register", best, "homes")
    client = RunReader(f"sqlite:///{new}/mlflow.db").client
    place = file_path(client.get_model_version_download_uri("homes", "1"))
    assert place
    assert (place / "MLmodel").is_file()
    assert place.is_relative_to(new)


@pytest.mark.slow
def test_the_ui_shows_artifacts(moved: tuple[Path, Path]) -> None:
    new, _ = moved
    reader = RunReader(f"sqlite:///{new}/mlflow.db")
    run_id = reader.newest_runs(9)[-1].info.run_id
    with running_ui(new) as address:
        query = urllib.parse.urlencode({"path": "config.yaml", "run_uuid": run_id})
        with urllib.request.urlopen(f"{address}/get-artifact?{query}", timeout=60) as answer:
            assert b"chunksize" in answer.read()
