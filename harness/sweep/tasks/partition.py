"""Divides the lanes of a sweep into tasks, in whole tiles, since a tile costs the same however full it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import TypeAdapter

from harness.runtime.state_files import StateError, moved_aside, read_json, write_json
from harness.sweep.plan import Run
from harness.sweep.scan_loop import PreparedScan

ROWS_OF_AN_UPDATE = 200
"""The fixed cost of an update, in rows; it only affects how evenly tasks are loaded."""

_FILE, _KIND, _SIGNATURES = "partition.json", "partition 1", TypeAdapter(list[list[str]])


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


def write_partition(folder: Path, tasks: Sequence[Sequence[Run]]) -> None:
    """Write the runs of each task to the folder of a batch."""
    write_json(folder / _FILE, _KIND, [[run.signature for run in runs] for runs in tasks])


def read_partition(folder: Path, runs: Sequence[Run], say: Callable[[str], None]) -> list[list[Run]]:
    """Return the `runs` by task, as assigned by an earlier driver of a batch; empty if there was none."""
    by_signature = {run.signature: run for run in runs}
    try:
        found = read_json(folder / _FILE, _KIND, _SIGNATURES)
    except FileNotFoundError:
        return []
    except StateError as error:
        say(f"resume: {error} {moved_aside(folder / _FILE)}")
        return []
    return [[by_signature[signature] for signature in task if signature in by_signature] for task in found]


def _cost(tile: Sequence[Run]) -> float:
    """Return the cost, in rows, of training a tile until its last run ends."""
    return max(run.config.epochs * run.table.train_rows + run.updates * ROWS_OF_AN_UPDATE for run in tile)
