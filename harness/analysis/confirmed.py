"""Separates the trials that a search has chosen from the runs that confirm them.

The trial of the best setting was chosen for its result, which is partly luck. Runs of the same setting with other seeds
were not, so the mean is taken over these runs only.
"""

# pandas declares wider types than these calls return.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportReturnType=false
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from harness.tracking.frames import Sweep
from harness.tracking.ranking import Objective, Run, group_numbers, has, objective
from harness.tracking.run_tags import TRIAL_SEED

TRIAL = "trial"
"""Column of confirmed runs: the deciding metric of the trial that was chosen."""


def is_trial(sweep: Sweep, seed: object) -> bool:
    """Return True if runs with this seed are trials of a search that retrains its best trials with other seeds."""
    return str(seed) == sweep.tags.get(TRIAL_SEED)


def without_confirmed_trials(sweep: Sweep) -> Sweep:
    """Return a sweep without those trials that were trained again, and with the column `TRIAL` if there are any."""
    runs, metric = sweep.runs, objective(sweep.runs).metric
    if TRIAL_SEED not in sweep.tags or "seed" not in runs or metric not in runs:
        return sweep
    groups = group_numbers(runs, sweep.params)
    trials = runs["seed"].map(lambda seed: is_trial(sweep, seed)).astype(bool)
    confirmed = groups.isin(groups[~trials & (runs["status"] == "FINISHED")])
    if not confirmed.any():
        return sweep
    values = runs[metric].where(trials).groupby(groups).transform("first").where(confirmed)
    return replace(sweep, runs=runs.assign(**{TRIAL: values})[~(trials & confirmed)])


def confirmed_if_any(runs: pd.DataFrame, kinds: pd.Series) -> pd.DataFrame:
    """Return the confirmed runs of each kind, or all runs of a kind without confirmed ones."""
    if TRIAL not in runs:
        return runs
    is_confirmed = runs[TRIAL].notna()
    return runs[is_confirmed | ~is_confirmed.groupby(kinds).transform("any")]


def best_of_samples(runs: Sequence[Run], found: Objective) -> list[Run]:
    """Return the best batch run and the best full-sample run, if there are any; confirmed ones come first.

    `runs` are sorted, best first.
    """
    bests = []
    for sample in ("batch", "full"):
        finished = [run for run in runs if found.decides(run) and run["sample"] == sample]
        bests += ([run for run in finished if has(run, TRIAL)] or finished)[:1]
    return bests
