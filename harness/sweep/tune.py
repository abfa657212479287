"""`harness tune`: measures which tiles train a sweep fastest, and keeps the result for `plan` and `train`."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from rich.table import Table
from rich.text import Text

from harness.config import Config
from harness.data.blocks import Blocks
from harness.errors import ConfigError, require
from harness.escaping import visible
from harness.formatting import count
from harness.sweep.display import Display
from harness.sweep.executor import Executor, choose_executor
from harness.sweep.measured_tiles import MeasuredTiles
from harness.sweep.plan import Group, arrange, prepare
from harness.sweep.preview import cohort_name, short_duration
from harness.sweep.run_locks import only_one_on
from harness.training.cohort import Cohort
from harness.training.tile_length import candidates
from harness.training.tile_trial import TRYING_SECONDS, Comparison, TileTrial, Unmeasurable, compare

CLEARLY = 1.1
"""A tile replaces the default one if updates take at least this many times as long in the default one."""

BLOCK_SECONDS, GROWTH = 0.25, 8
"""Blocks are shortened if a call would take longer than this in tiles of up to `GROWTH` times the default length."""

LEARNING_RATE, EPOCHS = 1e-6, 1_000_000_000
"""The small learning rate keeps lanes from diverging, and so from leaving the scan."""


class _Found(NamedTuple):
    """The measurements of a cohort.

    Attributes:
        name: The cohort's name.
        lanes: Number of its lanes.
        default: The default tile.
        result: Seconds per lane and update in each tile; None if they could not be measured.
    """

    name: str
    lanes: int
    default: int
    result: Comparison | None

    @property
    def fastest(self) -> int:
        """The default tile, unless another one is clearly faster."""
        if not self.result:
            return self.default
        seconds = self.result.seconds
        best = min(self.result.finalists, key=seconds.__getitem__)
        return best if seconds[self.default] >= CLEARLY * seconds[best] else self.default


def tune(configs: Sequence[Config], display: Display) -> None:
    """Measure all cohorts of a sweep, print the results, and store them; sources without a table are parsed.

    Raises:
        ConfigError: A configuration cannot be trained, or its tile is fixed.
    """
    runtime = configs[0].runtime
    tile = runtime.lane_tile
    require(tile is None, f"runtime.lane_tile={tile} leaves nothing to measure. Remove it.")
    executor = choose_executor(runtime, measured=False)
    display.say(f"device: {executor.title}")
    groups = arrange(list(dict.fromkeys(prepare(configs, display.reading, display.say))))
    display.clear()
    kept = MeasuredTiles.of(runtime, executor.description)
    kept.folder.mkdir(parents=True, exist_ok=True)
    are_kept = False
    with only_one_on([executor.device, *executor.others], display.say):
        for number, group in enumerate(groups, 1):
            data = group.lanes[0][0].table
            display.say("", f"scan {number}: {data.name}, {count(data.train_rows, 'training row')}")
            task = executor.prepare(group.plan)
            found = []
            for cohort in task.cohorts:
                trials = _Trials(group, cohort, executor, task.workers)
                with display.console.status(Text(f"measuring {trials.name} ...")):
                    result = trials.compared()
                found.append(new := _Found(trials.name, len(cohort.lanes), cohort.options.default, result))
                if result and new.fastest != new.default:
                    kept.keep(cohort.options.kind, new.fastest, result.seconds)
                    are_kept = True
                else:
                    kept.forget(cohort.options.kind)  # An earlier result.
            display.console.print(_table(found))
    uses = f"The faster tiles are kept in {kept.folder}; `harness plan` and `harness train` use them."
    display.say("", uses if are_kept else "No tile was clearly faster than the default one, so none is kept.")


class _Trials:
    """The trials of a cohort.

    Only as many tiles are trained as are updated in parallel; in the scan, the others would wait their turn. If the
    cohort shares its scan, there are never fewer than that, because other cohorts use the cores that it leaves idle.
    """

    def __init__(self, group: Group, cohort: Cohort, executor: Executor, workers: int) -> None:
        self._plan, self._cohort, self._executor = group.plan, cohort, executor
        self._workers = workers
        run = group.lanes[cohort.lanes[0]][0]
        self.name, self._chunk = visible(cohort_name(run)), run.chunk
        self._block_rows = Blocks(run.table, "train", run.scaler).block_rows
        self._lanes = [
            replace(group.plan.lanes[lane], learning_rate=LEARNING_RATE, stops=[EPOCHS], restore=None, patience=None)
            for lane in cohort.lanes
        ]

    def compared(self) -> Comparison | None:
        """Return the seconds per lane and update by tile; None if they cannot be measured."""
        options = self._cohort.options
        try:
            probe = self._trial(options.default, 1)
            probe.lap()
            probe.lap()
            probe.close()
            lengths = candidates(len(self._lanes), options.longest)
            growth = min(max(lengths[-1] / options.default, 1), GROWTH)
            rows = min(max(int(BLOCK_SECONDS / growth * probe.factor / probe.fastest), 1), self._block_rows)
            return compare(lambda tile: self._trial(tile, rows), options.default, lengths)
        except Unmeasurable:
            return None

    def _trial(self, tile: int, block_rows: int) -> TileTrial:
        tiles, shares_scan = -(-len(self._lanes) // tile), self._cohort.options.shares_scan
        parallel = self._workers if shares_scan else min(tiles, self._workers)
        rounds = tiles / parallel if shares_scan else -(-tiles // parallel)
        runtime = self._plan.runtime
        plan = replace(
            self._plan,
            lanes=[*itertools.islice(itertools.cycle(self._lanes), tile * parallel)],
            runtime=replace(runtime, lane_tile=tile, block_rows=runtime.block_rows or block_rows),
            curve_points=1,
            early=False,
            bracket=None,
        )
        try:
            scan = self._executor.prepare(plan)
        except ConfigError as error:
            raise Unmeasurable from error
        if scan.reduction:
            raise Unmeasurable
        return TileTrial(scan, rounds / len(self._lanes) * self._chunk)


def _table(found: Sequence[_Found]) -> Table:
    table = Table("  cohort", box=None, padding=(0, 2, 0, 0))
    for column in ("lanes", "lanes/tile", "lane-update"):
        table.add_column(column, justify="right")
    table.add_column("")
    for each in found:
        first = [Text(f"  {each.name}"), str(each.lanes)]
        if not each.result:
            table.add_row(*first, str(each.default), "", "default, could not be measured")
            continue
        for tile, seconds in each.result.seconds.items():
            marks = {
                "default": tile == each.default,
                "chosen": tile == each.fastest,
                "dropped": tile not in each.result.finalists,
            }
            notes = ", ".join(mark for mark, is_true in marks.items() if is_true)
            table.add_row(*first, str(tile), short_duration(seconds), notes)
            first = ["", ""]
        if each.result.is_cut:
            table.add_row(f"  others not tried after {TRYING_SECONDS} s")
    return table
