"""The only reader of MLflow: runs as DataFrames."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import pandas as pd
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from harness.config import ConfigError, masked, require
from harness.store import reason

PAGE = 1000


class Records:
    """The runs of a tracking store."""

    def __init__(self, uri: str) -> None:
        """Reach the store.

        Raises:
            ConfigError: There is none at `uri`, or it does not answer.
        """
        if uri.startswith("sqlite:///"):
            path = uri.removeprefix("sqlite:///")
            require(Path(path).is_file(), "--uri expected a store", f"{path}, which is not there", "Train first.")
        try:
            self._client = MlflowClient(uri)
            self._client.search_experiments(max_results=1)
        except Exception as error:
            received = f"{masked(uri)} ({reason(error)})"
            raise ConfigError(f"--uri expected a store that answers. Received: {received}.") from error

    def runs(self, ids: Sequence[str] = ()) -> pd.DataFrame:
        """Return the runs that `ids` name: a sweep's summary run means the sweep's runs, none the newest sweep.

        Returns:
            A row a run: `run_id`, `name`, `status`, `sample`, `diverged_at`, and all params and metrics by their own
            names, params as text.

        Raises:
            ConfigError: There is no such run, or no sweep.
        """
        found: dict[str, Run] = {}
        for run_id in ids or [self.newest_sweep()]:
            try:
                run = self._client.get_run(run_id)
            except MlflowException:
                raise ConfigError(f"IDS expected the ids of runs or of a sweep. Received: {run_id}.") from None
            kind = run.data.tags.get("kind")
            require(kind in ("run", "sweep"), "IDS expected runs of the harness", f"{run_id}, which is another's")
            members = self._members(run) if kind == "sweep" else [run]
            found |= {member.info.run_id: member for member in members}
        return pd.DataFrame([_row(run) for run in found.values()])

    def newest_sweep(self) -> str:
        """Return the id of the summary run that was started last.

        Raises:
            ConfigError: There is none.
        """
        experiments = [experiment.experiment_id for experiment in self._client.search_experiments()]
        newest = self._client.search_runs(
            experiments, "tags.kind = 'sweep'", order_by=["attributes.start_time DESC"], max_results=1
        )
        remedy = "Train one with `harness train -m ...`, or name runs by their ids."
        require(bool(newest), "the store expected a sweep", "none", remedy)
        return newest[0].info.run_id

    def _members(self, sweep: Run) -> list[Run]:
        condition = f"tags.sweep LIKE '%{sweep.info.run_id}%'"
        runs, token = [], None
        while True:
            page = self._client.search_runs(
                [sweep.info.experiment_id],
                condition,
                order_by=["attributes.start_time ASC"],
                max_results=PAGE,
                page_token=token,
            )
            runs += page
            token = page.token
            if not token:
                return runs


def _row(run: Run) -> dict[str, object]:
    tags = run.data.tags
    return {
        "run_id": run.info.run_id,
        "name": run.info.run_name,
        "status": run.info.status,
        "sample": tags.get("sample"),
        "diverged_at": tags.get("diverged_at"),
        **run.data.params,
        **run.data.metrics,
    }
