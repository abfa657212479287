"""Queries that return all runs of a store, however many there are; both the write side and the read side use them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from harness.tracking.store_errors import is_unreachable

PAGE = 1000
"""Number of runs to read at once."""

_IDS_PER_REQUEST = 200


def experiment_ids(client: MlflowClient, which: int = ViewType.ACTIVE_ONLY) -> list[str]:
    """Return the ids of the experiments of a store."""
    return [experiment.experiment_id for experiment in client.search_experiments(which)]


def all_runs(
    client: MlflowClient,
    experiments: Sequence[str],
    condition: str,
    order: str = "attributes.start_time DESC",
    which: int = ViewType.ACTIVE_ONLY,
) -> list[Run]:
    """Return all runs that satisfy a condition, read page by page."""
    runs, token = list[Run](), None
    while True:
        page = client.search_runs(
            list(experiments), condition, which, order_by=[order], max_results=PAGE, page_token=token
        )
        runs += page
        if not (token := page.token):
            return runs


def runs_by_id(
    client: MlflowClient, ids: Iterable[str], condition: str = "", which: int = ViewType.ACTIVE_ONLY
) -> dict[str, Run]:
    """Return the runs with these ids that exist and satisfy a condition, if there is one."""
    # Ids are hexadecimal; a quote in a mistyped id would break the condition.
    valid = [run_id for run_id in ids if run_id.isalnum()]
    experiments = experiment_ids(client, which) if valid else []
    found: dict[str, Run] = {}
    for start in range(0, len(valid), _IDS_PER_REQUEST):
        named = ", ".join(f"'{run_id}'" for run_id in valid[start : start + _IDS_PER_REQUEST])
        conditions = [f"attributes.run_id IN ({named})", *([condition] if condition else [])]
        runs = all_runs(client, experiments, " AND ".join(conditions), which=which)
        found |= {run.info.run_id: run for run in runs}
    return found


def find_run(client: MlflowClient, run_id: str) -> Run | None:
    """Return a run, which may have been deleted, or None if it does not exist; raises an error only in an outage."""
    try:
        return client.get_run(run_id)
    except MlflowException as error:
        if is_unreachable(error):
            raise
        return None
