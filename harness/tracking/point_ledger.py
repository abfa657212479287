"""Tracks which points of a run's metrics are recorded, so that a resume neither loses nor duplicates any."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

Counts = Mapping[str, tuple[int, int]]
"""The number of points of each metric, and their highest step."""

Steps = Mapping[str, Collection[int]]
"""The steps at which the store has a point, by metric."""


class PointLedger:
    """The points recorded for each run, and those that the store already had when the run was resumed.

    MLflow can only add points, and retraining gives the same values, so points that the store has are left out.
    """

    def __init__(self) -> None:
        self._counts: dict[str, dict[str, tuple[int, int]]] = defaultdict(dict)
        self._stored: dict[str, dict[str, set[int]]] = {}

    def add(self, run_id: str, key: str, points: Iterable[tuple[int, float]]) -> list[tuple[int, float]]:
        """Count points, and return those that the store does not have yet."""
        points = list(points)
        if points:
            count, last = self._counts[run_id].get(key, (0, points[0][0]))
            self._counts[run_id][key] = count + len(points), max(last, *(step for step, _ in points))
        stored = self._stored.get(run_id, {}).get(key)
        return [point for point in points if point[0] not in stored] if stored else points

    def counts(self, run_ids: Iterable[str]) -> dict[str, Counts]:
        """Return the counts of some runs, for `restore`."""
        return {run_id: dict(self._counts[run_id]) for run_id in run_ids if run_id in self._counts}

    def restore(self, run_ids: Iterable[str], counts: Mapping[str, Counts]) -> None:
        """Return to earlier `counts` of some runs; runs without counts had no points."""
        for run_id in run_ids:
            self._counts[run_id] = dict(counts.get(run_id, {}))

    def set_stored(self, run_id: str, steps: Steps) -> None:
        """Set which points of a resumed run the store has."""
        self._stored[run_id] = {key: set(some) for key, some in steps.items()}

    def is_stored(self, run_id: str, key: str) -> bool:
        """Return True if a resumed run had points of a metric in the store."""
        return bool(self._stored.get(run_id, {}).get(key))


def is_complete(counts: Counts, steps: Steps) -> bool:
    """Return True if the store has all points that were counted; it may also have later ones."""
    return all(sum(step <= last for step in steps.get(key, ())) >= count for key, (count, last) in counts.items())
