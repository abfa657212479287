"""Reads the results, at a search's rungs, of runs that ended earlier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mlflow.entities import Run as Record

from harness.sweep.plan import Run
from harness.tracking.reader import RunReader
from harness.tracking.run_tags import STOPPED


def rung_values(
    records: Mapping[Run, Record], rungs: Sequence[int], reader: RunReader
) -> dict[Run, list[float | None]]:
    """Return each run's deciding metric at each rung; None from the rung where it was pruned or had diverged.

    A run that stopped early keeps its last value.
    """
    if not records:
        return {}
    metric = next(iter(records)).metric
    points = reader.histories([record.info.run_id for record in records.values()], [metric])
    curves: dict[str, dict[int, float]] = {}
    for run_id, step, value in points[["run_id", "step", "value"]].itertuples(index=False):
        curves.setdefault(run_id, {})[int(step)] = float(value)
    found = {}
    for run, record in records.items():
        curve, last = curves.get(record.info.run_id, {}), int(record.data.tags.get(STOPPED, 0))
        found[run] = [curve.get(min(rung, last) if last else rung) for rung in rungs]
    return found
