"""Estimates how long a sweep takes with several workers, and how many workers are worthwhile."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.formatting import count, duration
from harness.runtime.cores import cores
from harness.sweep.plan import Run
from harness.sweep.scan_loop import PreparedScan
from harness.sweep.tasks.cluster import Cluster
from harness.sweep.tasks.local_table import Passes, measured_passes
from harness.sweep.tasks.partition import partition, tiles_of

START_SECONDS = 6.0
"""Seconds that a worker takes to start: imports, and opening the store."""

COMPILE_SECONDS = 4.0
"""Rough number of seconds that a worker takes to compile; used only where this has not been measured."""

# A tile's seconds per row, and the seconds that each of its lanes adds per byte of UpdateMemory; rough, for one core.
ROW_SECONDS, LANE_BYTE_SECONDS, ROW_BYTE_SECONDS, UPDATE_SECONDS = 3e-8, 1e-11, 5e-10, 6e-6


def rough_seconds(tile: Sequence[Run]) -> float:
    """Return roughly how many seconds a core takes to train a tile whose scan has been prepared."""
    cohort = tile[0].cohort
    if not cohort:
        return 0.0
    memory = cohort.memory
    row = ROW_SECONDS + cohort.tile * (LANE_BYTE_SECONDS * memory.lane_bytes + ROW_BYTE_SECONDS * memory.row_bytes)
    return max(run.config.epochs * run.table.train_rows * row + run.updates * UPDATE_SECONDS for run in tile)


def passes_of(scans: Sequence[PreparedScan], scratch: str, tasks: int = 1) -> Passes:
    """Return the passes that one of several tasks makes over the table that these scans share.

    Raises:
        OSError: The folder `scratch` is missing, or its disk is full.
    """
    tiles = tiles_of(scans)
    number = sum(scan.task.epochs for scan in scans)
    training = sum(map(rough_seconds, tiles)) / max(1, min(len(cores()), len(tiles))) / tasks
    return measured_passes(scans[0].lanes[0][0].table, scratch, number, training / number)


def default_tasks(tiles: Sequence[Sequence[Run]], cluster: Cluster) -> int:
    """Return the default number of tasks: as many as the cluster has room for, but no more than are worthwhile."""
    training = sum(map(rough_seconds, tiles)) / cluster.cores(len(tiles))
    return max(1, min(cluster.size(), len(tiles), int(training / (START_SECONDS + COMPILE_SECONDS))))


@dataclass(frozen=True)
class ScanSeconds:
    """How long one process, with all cores, takes for a scan, in seconds."""

    compile: float
    read: float
    train: float


class Scaling:
    """The time of a sweep as a function of the number of tasks.

    It assumes that each worker starts, compiles all loops and reads the whole table at this machine's speed, that
    `rough_seconds` gives the relative costs of tiles, and that workers do not slow each other down.
    """

    def __init__(self, scans: Sequence[PreparedScan], seconds: Sequence[ScanSeconds], cluster: Cluster) -> None:
        """Store prepared scans, and their measured times."""
        self._cluster, self._loads = cluster, list[float]()
        self.tiles: list[list[Run]] = []
        self.overhead = START_SECONDS + sum(each.compile + each.read for each in seconds)
        for scan, each in zip(scans, seconds, strict=True):
            tiles = tiles_of([scan])
            parts = [rough_seconds(tile) for tile in tiles]
            core_seconds = each.train * min(len(cores()), len(tiles))
            self._loads += [core_seconds * part / (sum(parts) or 1) for part in parts]
            self.tiles += tiles

    def seconds(self, tasks: int) -> float:
        """Return the time until the last of this many tasks has ended."""
        heap = [(0.0, 0)] * tasks
        for load in sorted(self._loads, reverse=True):
            busy, tiles = heap[0]
            heapq.heapreplace(heap, (busy + load, tiles + 1))
        own = self._cluster.cores(tasks)
        return self.overhead + max(busy / max(min(own, tiles), 1) for busy, tiles in heap)

    def efficiency(self, tasks: int) -> float:
        """Return the time with one task divided by the time of all workers together."""
        return self.seconds(1) / (tasks * self.seconds(tasks))

    @property
    def most(self) -> int:
        """Number of tasks above which workers would take longer to start, compile and read than to train."""
        training = sum(self._loads) / self._cluster.cores(len(self.tiles))
        return max(1, min(len(self.tiles), math.floor(training / self.overhead)))


def describe_tasks(scans: Sequence[PreparedScan], seconds: Sequence[ScanSeconds], cluster: Cluster) -> list[str]:
    """Return sentences about the tasks that a sweep would be divided into."""
    scaling = Scaling(scans, seconds, cluster)
    number = min(cluster.tasks or default_tasks(scaling.tiles, cluster), len(scaling.tiles))
    lane_of = {
        run: (number, lane)
        for number, scan in enumerate(scans)
        for lane in range(len(scan.lanes))
        for run in scan.lanes[lane]
    }
    sizes = sorted(len({lane_of[run] for run in runs}) for runs in partition(scaling.tiles, number))
    lanes = f"{sizes[0]} to {sizes[-1]} lanes" if sizes[0] < sizes[-1] else count(sizes[0], "lane")
    numbers = sorted(
        {n for n in (1, number // 2, number, 2 * number, 4 * number, scaling.most) if 0 < n <= len(scaling.tiles)}
    )
    by_number = ", ".join(f"{n}: {scaling.efficiency(n):.2f}" for n in numbers)
    start = f"{START_SECONDS:.0f} s to start, {sum(each.compile for each in seconds):.1f} s to compile"
    each = " each" if number > 1 else ""
    copies = [_describe_copy(scan, number, cluster.scratch) for scan in scans] if cluster.scratch else []
    return [
        f"tasks:  {number} on {cluster.name}, {lanes}{each}, about {duration(scaling.seconds(number))}",
        f"        efficiency by number of tasks: {by_number}",
        f"        a worker takes {start}, {sum(each.read for each in seconds):.1f} s to read",
        f"        at most {count(scaling.most, 'task')} {'is' if scaling.most == 1 else 'are'} worthwhile",
        *(f"        {sentence}" for sentence in dict.fromkeys(copies)),
    ]


def _describe_copy(scan: PreparedScan, tasks: int, scratch: str) -> str:
    """Return how long a worker takes with and without a copy of its table, at this machine's rates."""
    try:
        return passes_of([scan], scratch, tasks).describe()
    except OSError as error:
        return f"{scratch}: {error.strerror}, so copying the table is not compared with reading it"
