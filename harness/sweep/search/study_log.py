"""Writes a search as an Optuna study, for Optuna's dashboard and figures: `optuna-dashboard study.log`."""

from __future__ import annotations

import importlib.util
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.config.metrics import sign
from harness.sweep.plan import Run
from harness.sweep.search import tpe
from harness.sweep.search.search import Search

FILE = "study.log"


def study_log(search: Search, name: str, proposed: Sequence[Run]) -> str | None:
    """Return the trials of a search as a file for Optuna's `JournalStorage`; None if Optuna is not installed.

    Args:
        search: The search.
        name: The study's name.
        proposed: All proposed runs in order, including the trials.
    """
    if importlib.util.find_spec("optuna") is None:
        return None
    optuna = tpe.quiet_optuna()
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    axes = search.space.searched(())
    kinds = {axis.key: tpe.distribution(optuna, axis) for axis in axes}
    direction = "minimize" if sign(proposed[0].metric) > 0 else "maximize"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / FILE
        storage = JournalStorage(JournalFileBackend(str(path)))
        study = optuna.create_study(study_name=name, storage=storage, direction=direction)
        for position in (position for group in search.groups for position in group):
            run, values = proposed[position], search.values_of(position)
            params = {axis.key: tpe.number(axis, values[axis.key]) for axis in axes}
            attributes = {"run_id": run.run_id, "run": run.name}
            trial = {"params": params, "distributions": kinds, "user_attrs": attributes}
            study.add_trial(optuna.create_trial(**trial, **_ending(optuna, run)))
        return path.read_text(encoding="utf-8")


def _ending(optuna: Any, run: Run) -> dict[str, Any]:
    states = optuna.trial.TrialState
    if not math.isfinite(run.cost):
        return {"state": states.FAIL}
    value = sign(run.metric) * run.cost
    if run.pruned_at:
        return {"state": states.PRUNED, "value": value, "intermediate_values": {run.pruned_at: value}}
    return {"state": states.COMPLETE, "value": value}
