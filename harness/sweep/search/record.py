"""`search.json` of a search's summary run: its space, its budget, its trials in order, and what was confirmed."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from harness.config.metrics import sign
from harness.sweep.plan import Run
from harness.sweep.search.search import Search
from harness.tracking.run_tags import EFFORT, TRIAL_SEED
from harness.tracking.tracker import Tracker

FILE = "search.json"


def log_search(tracker: Tracker, sweep_id: str, search: Search, batches: Sequence[Sequence[Run]]) -> None:
    """Log what a search has proposed, given the runs of each batch in order, the trials first."""
    size = search.trials_each
    proposed = [run for batch in batches for run in batch]
    trials, others = proposed[: size * len(search.choices)], proposed[size * len(search.choices) :]
    groups = [list(dict.fromkeys(trials[position] for position in group)) for group in search.groups]
    record = search.facts | {
        "metric": trials[0].metric,
        "trials": [
            {**choice, "runs": [_result(run) for run in group]}
            for choice, group in zip(search.choices, groups, strict=True)
        ],
        "confirmed": [_result(run) for run in dict.fromkeys(others)],
    }
    tracker.log_text(sweep_id, json.dumps(record, indent=1), FILE)
    steps = [f"{lanes}x{epoch}" for lanes, epoch in search.lanes_by_rung(size)]
    params = {"search": search.facts["search"], "search.space": str(search.space), "search.seed": search.settings.seed}
    params |= {"search.trials_each": size, "search.lane_epochs": search.lane_epochs, "search.rungs": " ".join(steps)}
    tracker.log_params(sweep_id, params)
    seed = {} if search.trial_seed is None else {TRIAL_SEED: str(search.trial_seed)}
    tracker.tag(sweep_id, {EFFORT: search.effort, **seed})


def _result(run: Run) -> dict[str, object]:
    found: dict[str, object] = {"run_id": run.run_id, "name": run.name, "status": run.status.lower()}
    if run.pruned_at:
        found["pruned_at"] = run.pruned_at
    value: dict[str, object] = (
        {"value": sign(run.metric) * run.cost} if math.isfinite(run.cost) else {"reason": run.reason}
    )
    return found | value
