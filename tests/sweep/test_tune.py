"""`harness tune`: measured tiles are used, recorded and restored, and never change a sweep that has begun."""

# Fixtures are imported, and then named by arguments.
# ruff: noqa: F811
from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from harness.config import Config
from harness.errors import ConfigError
from harness.sweep.display import Display
from harness.sweep.executor import choose_executor
from harness.sweep.measured_tiles import MeasuredTiles
from harness.sweep.plan import arrange, prepare
from harness.sweep.tune import tune
from harness.training.clocks import Clocks
from harness.training.events import Event, OutOfMemory, Progress
from harness.training.tile_trial import Comparison, TileTrial, Unmeasurable, compare
from tests.sweep.folders import Folder
from tests.sweep.test_preview import said_of
from tests.sweep.test_resume import cpu, folder, interrupt  # noqa: F401 (fixtures)

KIND = '{"lanes": 2}'


def tuned(folder: Folder, configs: Sequence[Config]) -> list[str]:
    """Tune on a narrow terminal, and return what was printed."""
    console = Console(file=StringIO(), width=80)
    tune(configs, Display(console))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def tiles(configs: Sequence[Config]) -> list[int]:
    """Return the tiles of the cohorts in which a sweep would be trained."""
    display = Display(Console(file=StringIO()))
    executor = choose_executor(configs[0].runtime, measured=True)
    groups = arrange(prepare(configs, display.reading, display.say))
    return [cohort.tile for group in groups for cohort in executor.prepare(group.plan).cohorts]


@pytest.fixture
def two_is_fastest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not measure anything, but say that 2 lanes per call are fastest, and that 1 was faster for a moment."""
    found = Comparison({1: 0.5e-6, 2: 1e-6, 4: 1.8e-6, 8: 2e-6}, [2, 4, 8], is_cut=True)
    monkeypatch.setattr("harness.sweep.tune._Trials.compared", lambda self: found)


def test_measurements_that_cannot_be_used_are_ignored(tmp_path: Path) -> None:
    tiles = MeasuredTiles(tmp_path / "tiles", "a device")
    assert tiles.tile(KIND) is None
    tiles.keep(KIND, 16, {8: 2.0, 16: 1.0})
    tiles.keep(KIND, 4, {4: 1.0, 8: 2.0})
    assert tiles.tile(KIND) == 4
    assert tiles.tile('{"lanes": 3}') is None
    assert replace(tiles, device="another device").tile(KIND) is None
    (path,) = tiles.folder.iterdir()
    content = path.read_bytes()
    # Under the name of another measurement.
    tiles.keep(other := '{"lanes": 3}', 2, {2: 1.0})
    (elsewhere,) = {*tiles.folder.iterdir()} - {path}
    elsewhere.write_bytes(content)
    assert tiles.tile(other) is None
    for damaged in (b"", content[:-5], content.replace(b'"tile": 4', b'"tile": 9'), b"\xff"):
        path.write_bytes(damaged)
        assert tiles.tile(KIND) is None
    tiles.keep(KIND, 20_000, {})
    assert tiles.tile(KIND) is None
    path.unlink()
    path.mkdir()
    assert tiles.tile(KIND) is None


class Simulated:
    """A scan that takes a number of seconds per row, and runs out of memory in a block, or at once without a number."""

    def __init__(self, seconds: float | None, fails_in: int = 1000) -> None:
        self.clocks, self._seconds, self._fails_in = Clocks(), seconds, fails_in

    def run(self) -> Iterator[Event]:
        for block in range(1, 1000):
            if self._seconds is None or block == self._fails_in:
                yield OutOfMemory((), "no memory")
            else:
                self.clocks.train += 100 * self._seconds
                yield Progress(100 * block, 1)


@pytest.mark.parametrize(
    ("seconds", "measured"),
    [
        ({1: 5.0, 2: 4.0, 4: 3.0, 8: 2.0, 16: 3.0, 32: 1.0}, [4, 8, 16]),  # Beyond 16 and 4, there is little hope.
        ({1: 1.0, 2: 1.2, 4: 1.4, 8: 1.5, 16: 1.6, 32: None}, [1, 2, 4, 8, 16]),
        ({1: 9.0, 2: 9.0, 4: None, 8: 2.0, 16: None, 32: 1.0}, [8]),
    ],
)
def test_only_promising_tiles_are_measured(seconds: dict[int, float | None], measured: list[int]) -> None:
    found = compare(lambda tile: TileTrial(Simulated(seconds[tile]), factor=3), 8, [*seconds])  # type: ignore[arg-type]
    assert found.seconds == pytest.approx({tile: 3 * (seconds[tile] or 0) for tile in measured})
    assert 8 in found.finalists
    assert not found.is_cut


@pytest.mark.parametrize("block", [4, 8])
def test_a_finalist_that_runs_out_of_memory_is_left_out(block: int) -> None:
    def trial_of(tile: int) -> TileTrial:
        return TileTrial(Simulated(1 / tile, block if tile == 4 else 1000))  # type: ignore[arg-type]

    found = compare(trial_of, 1, [1, 2, 4, 8])
    assert 4 not in found.finalists
    assert {1, 8} <= {*found.finalists}


def test_no_further_tile_is_tried_once_the_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.training.tile_trial.TRYING_SECONDS", -1)
    found = compare(lambda tile: TileTrial(Simulated(1.0)), 8, [4, 8, 16])  # type: ignore[arg-type]
    assert ([*found.seconds], found.finalists, found.is_cut) == ([8], [8], True)


def test_without_memory_for_the_default_tile_nothing_is_measured() -> None:
    with pytest.raises(Unmeasurable):
        compare(lambda tile: TileTrial(Simulated(None)), 8, [4, 8])  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.usefixtures("two_is_fastest")
def test_the_fastest_tile_is_used_and_recorded(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    configs = [folder.config(500, epochs=1), folder.config(500, epochs=1, rate=0.02)]
    said = tuned(folder, configs)
    assert [" ".join(line.split()) for line in said[4:9]] == [
        "chunk=500 linear adam mse 2 1 0.5 µs dropped",
        "2 1 µs chosen",
        "4 1.8 µs",
        "8 2 µs default",
        "others not tried after 20 s",
    ]
    assert "chunk=500 linear adam mse 2 2 1 2 measured" in re.sub(" +", " ", "\n".join(said_of(folder, *configs)))
    folder.train(configs)
    assert "tiles:  2 lanes per call instead of 8, as measured by `harness tune`" in folder.said
    assert [record.data.tags["tile"] for record in folder.records()] == ["2", "2"]
    fixed = replace(configs[0].runtime, lane_tile=4, rerun=True)
    folder.train([replace(config, runtime=fixed) for config in configs])
    assert "tiles:" not in folder.said
    assert sorted(record.data.tags["tile"] for record in folder.records()) == ["2", "2", "4", "4"]
    with pytest.raises(ConfigError, match=r"runtime.lane_tile=4 leaves nothing to measure. Remove it."):
        tuned(folder, [replace(config, runtime=fixed) for config in configs])
    # It is used for this model and this optimizer only, and is never longer than memory allows.
    assert tiles(configs) == [2]
    for other in ({"optimizer": {"name": "adam", "beta_1": 0.8}}, {"model": configs[0].model | {"init": 0.2}}):
        assert tiles([replace(config, **other) for config in configs]) == [8]
    monkeypatch.setattr("harness.training.arrangement.longest_tile", lambda *_: 1)
    assert tiles(configs) == [1]
    # Once the default is the fastest, it is used again.
    monkeypatch.setattr("harness.sweep.tune._Trials.compared", lambda self: Comparison({8: 1e-6}, [8]))
    assert tuned(folder, configs)[-1] == "No tile was clearly faster than the default one, so none is kept."
    assert [*(folder.path / "cache" / "tiles").iterdir()] == []


@pytest.mark.slow
@pytest.mark.usefixtures("two_is_fastest")
def test_a_sweep_that_resumes_keeps_its_tiles(folder: Folder, interrupt: Callable[..., None]) -> None:
    configs = [folder.config(100), folder.config(100, rate=0.02)]
    interrupt(configs, 4)
    tuned(folder, configs)
    folder.train(configs)
    assert "resume: continuing from the checkpoint" in folder.said
    assert "tiles:" not in folder.said
    assert [record.data.tags["tile"] for record in folder.records()] == ["8", "8"]
    (later,) = folder.train([folder.config(100, rate=0.03)], alone=True)
    assert folder.records()[0].info.run_id == later.run_id
    assert folder.records()[0].data.tags["tile"] == "8"  # One lane was not measured.


@pytest.mark.slow
def test_all_tiles_are_really_measured(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.training.tile_trial.HOPELESS", 1e9)
    said = tuned(folder, [folder.config(rate=1e30 / lane) for lane in (1, 2)])
    measured = [line.split() for line in said if re.search(r"\d [mµ]?s\b", line)]
    assert measured[0].pop(0) == "chunk=100"
    measured[0] = measured[0][4:]  # After the cohort's name and the number of lanes.
    assert [words[0] for words in measured] == ["1", "2", "8"]
    assert [number for number, words in enumerate(measured) if "default" in " ".join(words)] == [2]
    (chosen,) = (words for words in measured if "chosen" in words)
    assert len([*(folder.path / "cache" / "tiles").iterdir()]) == ("default," not in chosen)
