"""`search.json` of a search's summary run: its space, budget, trials in order, and confirmed runs."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from mlflow.entities import Run as Record

from harness.config.metrics import sign
from harness.formatting import count
from harness.sweep.plan import Run
from harness.sweep.search import prior
from harness.sweep.search.search import Search
from harness.sweep.search.study_log import FILE as STUDY
from harness.sweep.search.study_log import study_log
from harness.tracking.reader import RunReader
from harness.tracking.run_tags import EFFORT, SPENT, TRIAL_SEED
from harness.tracking.tracker import Tracker

FILE = "search.json"


def log_search(tracker: Tracker, sweep_id: str, search: Search, batches: Sequence[Sequence[Run]]) -> None:
    """Log the proposals of a search, given the runs of each batch in order, trials first."""
    size, positions = len(search.groups[0]), {position for group in search.groups for position in group}
    proposed = [run for batch in batches for run in batch]
    others = [run for position, run in enumerate(proposed) if position not in positions]
    groups = [list(dict.fromkeys(proposed[position] for position in group)) for group in search.groups]
    record = search.facts | {
        "metric": proposed[0].metric,
        "trials": [
            {**choice, "runs": [_result(run) for run in group]}
            for choice, group in zip(search.choices, groups, strict=True)
        ],
        "confirmed": [_result(run) for run in dict.fromkeys(others)],
    }
    tracker.log_text(sweep_id, json.dumps(record, indent=1), FILE)
    _log_study(tracker, sweep_id, search, proposed)
    steps = [f"{lanes}x{epoch}" for lanes, epoch in search.lanes_by_rung(search.generation if search.budget else size)]
    params = {"search": search.facts["search"], "search.space": str(search.space), "search.seed": search.settings.seed}
    params |= {"search.trials_each": size, "search.lane_epochs": search.lane_epochs, "search.rungs": " ".join(steps)}
    tracker.log_params(sweep_id, params)
    seed = {} if search.trial_seed is None else {TRIAL_SEED: str(search.trial_seed)}
    tracker.tag(sweep_id, {EFFORT: search.effort, **seed})


def _log_study(tracker: Tracker, sweep_id: str, search: Search, proposed: Sequence[Run]) -> None:
    """Log the search for Optuna's dashboard; failures only print a message, since nothing else depends on it."""
    try:
        study = study_log(search, sweep_id, proposed)
    except Exception as error:
        tracker.say(f"search: {STUDY} is missing ({type(error).__name__}: {error}).")
        return
    if study:
        tracker.log_text(sweep_id, study, STUDY)


def recall(
    search: Search, sweep_id: str, record: Record | None, trial: Run, tracker: Tracker, reader: RunReader
) -> str:
    """Let a search continue from the record of an earlier call, and record its decisions from now on.

    Args:
        search: The search.
        sweep_id: The id of its summary run.
        record: The summary run, if an earlier call started it.
        trial: One of its trials.
        tracker: Writes the records.
        reader: Reads the store.

    Returns:
        A sentence about the runs from which it learns, or an empty string.
    """
    if search.budget:
        search.budget.repeat(record.data.tags.get(SPENT, "") if record else "")
        search.budget.record = lambda text: tracker.tag(sweep_id, {SPENT: text})
    if not search.settings.prior:
        return ""
    known = prior.from_json(reader.artifact(sweep_id, prior.FILE)) if record else None
    if known is None:
        runs = reader.runs_of(tracker.experiment_id)
        known = prior.known_runs(runs, trial, search.space.searched(()))
        tracker.log_text(sweep_id, prior.to_json(known), prior.FILE)
    search.known = known
    return f"search: from the second generation on, it also learns from {count(len(known), 'run')} of the experiment"


def _result(run: Run) -> dict[str, object]:
    found: dict[str, object] = {"run_id": run.run_id, "name": run.name, "status": run.status.lower()}
    if run.pruned_at:
        found["pruned_at"] = run.pruned_at
    value: dict[str, object] = (
        {"value": sign(run.metric) * run.cost} if math.isfinite(run.cost) else {"reason": run.reason}
    )
    return found | value
