"""The prior of a search: finished runs of its experiment that differ from its trials only in the searched keys.

They are stored in the search's record, so that a later call for the same search arrives at the same trials.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from mlflow.entities import Run as Record
from pydantic import TypeAdapter, ValidationError

from harness.config.metrics import final_values
from harness.config.naming import PRECISION
from harness.sweep.plan import Run
from harness.sweep.run_fields import run_params
from harness.sweep.search.search import Known
from harness.sweep.search.space import Axis, Choices
from harness.tracking.frames import datasets

FILE = "prior.json"

_KNOWN: TypeAdapter[Known] = TypeAdapter(Known)
_IGNORED = ("tracking.", "runtime.", "objective.metric", "seed", "data.path", "search.")


def known_runs(records: Iterable[Record], trial: Run, axes: Sequence[Axis]) -> Known:
    """Return the finished runs that could be trials; seeds do not matter.

    Args:
        records: Runs of the experiment.
        trial: Any trial.
        axes: The space, without constants.
    """
    searched = {axis.key.lstrip("+") for axis in axes}
    wanted = _others(run_params(trial.config), searched)
    found: Known = []
    for record in records:
        params = record.data.params
        is_alike = record.info.status == "FINISHED" and _others(params, searched) == wanted
        if not is_alike or all(data["digest"] != trial.table.digest for data in datasets([record])):
            continue
        cost = trial.cost_of(final_values(record.data.metrics))
        if math.isfinite(cost) and all(_holds(axis, params.get(axis.key.lstrip("+"))) for axis in axes):
            found.append(({axis.key: params[axis.key.lstrip("+")] for axis in axes}, cost))
    return found


def to_json(known: Known) -> str:
    """Return known runs as JSON."""
    return _KNOWN.dump_json(known).decode()


def from_json(text: str | None) -> Known | None:
    """Return the known runs written by `to_json`; None if there are none, or if they cannot be read."""
    try:
        return None if text is None else _KNOWN.validate_json(text)
    except ValidationError:
        return None


def _others(params: Mapping[str, object], searched: set[str]) -> dict[str, str]:
    keys = (key for key in params if key == PRECISION or not key.startswith(_IGNORED))
    return {key: str(params[key]) for key in keys if key not in searched}


def _holds(axis: Axis, value: str | None) -> bool:
    """Return True if a recorded value belongs to an axis."""
    if value is None or isinstance(axis, Choices):
        return isinstance(axis, Choices) and value in axis.values
    try:
        number = float(value)
    except ValueError:
        return False
    return axis.low <= number <= axis.high and not (axis.is_whole and number % 1)
