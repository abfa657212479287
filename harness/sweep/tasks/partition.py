"""Divides the lanes of a sweep into tasks, in whole tiles, since a tile costs the same however full it is."""

from __future__ import annotations

from collections.abc import Sequence

from harness.sweep.plan import Run
from harness.sweep.scan_loop import PreparedScan

ROWS_OF_AN_UPDATE = 200
"""The fixed cost of an update, in rows; it only affects how evenly tasks are loaded."""


def tiles_of(scans: Sequence[PreparedScan]) -> list[list[Run]]:
    """Return the runs of each tile of prepared scans; a lane whose model could not be built is a tile of its own."""
    tiles: list[list[Run]] = []
    for scan in scans:
        placed: set[int] = set()
        for cohort in scan.task.cohorts:
            placed.update(cohort.lanes)
            for start in range(0, len(cohort.lanes), cohort.tile):
                lanes = cohort.lanes[start : start + cohort.tile]
                tiles.append([run for lane in lanes for run in scan.lanes[lane]])
        tiles += [runs for lane, runs in enumerate(scan.lanes) if lane not in placed]
    return tiles


def partition(tiles: Sequence[Sequence[Run]], tasks: int) -> list[list[Run]]:
    """Return the runs of at most `tasks` tasks: tiles go to the least loaded task, most expensive tiles first.

    The result depends only on the runs and their order.
    """
    found: list[list[Run]] = [[] for _ in range(min(tasks, len(tiles)))]
    loads = [0.0] * len(found)
    for tile in sorted(tiles, key=_cost, reverse=True):
        lightest = loads.index(min(loads))
        found[lightest] += tile
        loads[lightest] += _cost(tile)
    order = {run: number for number, run in enumerate(run for tile in tiles for run in tile)}
    return [sorted(runs, key=order.__getitem__) for runs in found]


def _cost(tile: Sequence[Run]) -> float:
    """Return the cost, in rows, of training a tile until its last run ends."""
    return max(run.config.epochs * run.table.train_rows + run.updates * ROWS_OF_AN_UPDATE for run in tile)
