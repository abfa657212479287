"""The only reader of MLflow: runs and curves as DataFrames."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import pandas as pd
from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from harness.config.metrics import EPOCH_METRICS
from harness.data import sample
from harness.errors import ConfigError, require
from harness.runtime.secrets import masked
from harness.tracking.frames import EPOCH_AXES, NOTHING, Sweep, curves_of, datasets, row, typed
from harness.tracking.store import reason

PAGE = 1000
FEW = 100
"""Signatures that are asked for one by one, where there are many runs."""

BULK_POINTS, BULK_RUNS = 25_000, 25
"""Points that one request for histories returns at most, and runs that one asks for: a curve has up to 1,000 points."""

REPRODUCES = "reproduces"
"""Tag of a run that only shows whether another can be had again."""


class RunReader:
    """The runs of a tracking store.

    Attributes:
        uri: Of the store.
        client: MLflow's.
    """

    def __init__(self, uri: str) -> None:
        """Reach the store.

        Raises:
            ConfigError: There is none at `uri`, or it does not answer.
        """
        if uri.startswith("sqlite:///"):
            path = uri.removeprefix("sqlite:///")
            require(Path(path).is_file(), "--uri expected a store", f"{path}, which is not there", "Train first.")
        self.uri = uri
        try:
            self.client = MlflowClient(uri)
            self.client.search_experiments(max_results=1)
        except Exception as error:
            received = f"{masked(uri)} ({reason(error)})"
            raise ConfigError(f"--uri expected a store that answers. Received: {received}.") from error

    def load(
        self, ids: Sequence[str] = (), metrics: Sequence[str] = EPOCH_METRICS, *, with_sample: bool = False
    ) -> Sweep:
        """Return the runs that `ids` name, with the curves of `metrics`.

        Args:
            ids: Of runs, or of sweeps, whose summary run stands for their runs; none means the newest sweep.
            metrics: Those that no run has are left out.
            with_sample: Whether to fetch the sample of the data too, which is a file.

        Raises:
            ConfigError: There is no such run, or no sweep.
        """
        runs, sweeps = self._find(ids)
        frame = typed(pd.DataFrame([row(run) for run in runs], columns=None if runs else NOTHING))
        params = tuple(dict.fromkeys(key for run in runs for key in run.data.params))
        wanted = [key for key in metrics if key in frame]
        curves = curves_of(self.histories(list(frame["run_id"]), [*EPOCH_AXES, *wanted]))
        if len(sweeps) != 1:
            return Sweep(frame, params, curves, data=datasets(runs))
        (summary,) = sweeps
        return Sweep(
            frame,
            params,
            curves,
            sweep_id=summary.info.run_id,
            experiment_id=summary.info.experiment_id,
            name=summary.info.run_name or "",
            tags=summary.data.tags,
            data=datasets(runs),
            sample=self._sample(summary.info.run_id) if with_sample else None,
        )

    def histories(self, run_ids: Sequence[str], metrics: Sequence[str]) -> pd.DataFrame:
        """Return all points of `metrics`, a row each: `run_id`, `metric`, `step`, `value`."""
        run_ids = sorted(run_ids)
        points = [
            (run_id, metric, step, value)
            for metric in metrics
            for start in range(0, len(run_ids), BULK_RUNS)
            for run_id, step, value in self._bulk(run_ids[start : start + BULK_RUNS], metric)
        ]
        return pd.DataFrame(points, columns=["run_id", "metric", "step", "value"])

    def sweeps(self, limit: int) -> Iterator[tuple[Run, list[Run]]]:
        """Yield the summary run of each of the newest sweeps, and the sweep's runs."""
        for summary in self.newest_sweeps(limit):
            yield summary, self._members(summary)

    def newest_sweeps(self, limit: int) -> list[Run]:
        """Return the summary runs that were started last, at most `limit` of them, the newest first."""
        experiments = [experiment.experiment_id for experiment in self.client.search_experiments()]
        order = ["attributes.start_time DESC"]
        return list(self.client.search_runs(experiments, "tags.kind = 'sweep'", order_by=order, max_results=limit))

    def run(self, run_id: str) -> Run:
        """Return a run.

        Raises:
            ConfigError: There is no such run, or it is a sweep.
        """
        runs, sweeps = self._find([run_id])
        require(not sweeps, "RUN_ID expected a run", f"{run_id}, a sweep", "`harness compare --csv` lists its runs.")
        return runs[0]

    def experiment(self, run: Run) -> str:
        """Return the name of a run's experiment."""
        return self.client.get_experiment(run.info.experiment_id).name

    @property
    def artifacts(self) -> Path | None:
        """The folder beside a store in a file in which the artifacts lie; None for any other store."""
        path = self.uri.removeprefix("sqlite:///")
        return None if path == self.uri else (Path(path).absolute().parent / "mlartifacts").resolve()

    def discarded(self) -> Iterator[tuple[Run, list[str]]]:
        """Yield runs that failed or were deleted, with the addresses of their artifacts and models.

        One that diverged has not failed: that is its result.
        """
        experiments = [each.experiment_id for each in self.client.search_experiments(ViewType.ALL)]
        failed = "tags.kind = 'run' AND attributes.status = 'FAILED'"
        found = [run for run in self._all(experiments, failed) if "diverged_at" not in run.data.tags]
        for run in [*found, *self._all(experiments, "", which=ViewType.DELETED_ONLY)]:
            models = run.outputs.model_outputs if run.outputs else []
            places = [self.client.get_logged_model(model.model_id).artifact_location for model in models]
            yield run, [run.info.artifact_uri or "", *places]

    def curves(self, run: Run) -> dict[str, dict[int, float]]:
        """Return all points of a run's metrics by their step."""
        points = self.histories([run.info.run_id], list(run.data.metrics))
        curves: dict[str, dict[int, float]] = {metric: {} for metric in run.data.metrics}
        for point in points.itertuples():
            curves[point.metric][int(point.step)] = float(point.value)  # type: ignore[arg-type, index]
        return curves

    def experiment_id(self, name: str) -> str:
        """Return the id of an experiment, empty if there is none of that name."""
        found = self.client.get_experiment_by_name(name)
        return found.experiment_id if found else ""

    def of_signatures(self, experiment_id: str, signatures: Sequence[str]) -> dict[str, list[Run]]:
        """Return an experiment's runs by signature, the newest first, without those that only reproduce another."""
        found: dict[str, list[Run]] = {}
        wanted, condition = set(signatures), "tags.kind = 'run'"
        page = self.client.search_runs([experiment_id], condition, max_results=PAGE)
        if page.token and len(wanted) <= FEW:
            runs = [
                run
                for signature in wanted
                for run in self._all([experiment_id], f"{condition} AND tags.signature = '{signature}'")
            ]
        else:
            runs = self._all([experiment_id], condition) if page.token else page
        for run in sorted(runs, key=lambda run: -run.info.start_time):
            if (signature := run.data.tags.get("signature", "")) in wanted and REPRODUCES not in run.data.tags:
                found.setdefault(signature, []).append(run)
        return found

    def sweep_of_signature(self, experiment_id: str, signature: str) -> Run | None:
        """Return the newest summary run of a sweep with this signature."""
        condition = f"tags.kind = 'sweep' AND tags.signature = '{signature}'"
        return next(iter(self.client.search_runs([experiment_id], condition, max_results=1)), None)

    def running(self, experiment_id: str) -> list[Run]:
        """Return an experiment's runs and summary runs that have not ended."""
        runs = self._all([experiment_id], "attributes.status = 'RUNNING'")
        return [run for run in runs if run.data.tags.get("kind") in ("run", "sweep")]

    def newest_sweep(self) -> str:
        """Return the id of the summary run that was started last.

        Raises:
            ConfigError: There is none.
        """
        newest = self.newest_sweeps(1)
        remedy = "Train one with `harness train -m ...`, or name runs by their ids."
        require(bool(newest), "the store expected a sweep", "none", remedy)
        return newest[0].info.run_id

    def _find(self, ids: Sequence[str]) -> tuple[list[Run], list[Run]]:
        """Return the runs that `ids` name, each once, and the summary runs among the named."""
        found: dict[str, Run] = {}
        sweeps = []
        for run_id in ids or [self.newest_sweep()]:
            try:
                run = self.client.get_run(run_id)
            except MlflowException:
                raise ConfigError(f"IDS expected the ids of runs or of a sweep. Received: {run_id}.") from None
            kind = run.data.tags.get("kind")
            require(kind in ("run", "sweep"), "IDS expected runs of the harness", f"{run_id}, which is another's")
            sweeps += [run] if kind == "sweep" else []
            members = self._members(run) if kind == "sweep" else [run]
            found |= {member.info.run_id: member for member in members}
        return list(found.values()), sweeps

    def _members(self, sweep: Run) -> list[Run]:
        condition = f"tags.sweep LIKE '%{sweep.info.run_id}%'"
        return self._all([sweep.info.experiment_id], condition, "attributes.start_time ASC")

    def _all(
        self,
        experiments: Sequence[str],
        condition: str,
        order: str = "attributes.start_time DESC",
        which: int = ViewType.ACTIVE_ONLY,
    ) -> list[Run]:
        """Return all runs that a condition holds of, page by page."""
        runs, token = [], None
        while True:
            page = self.client.search_runs(
                list(experiments), condition, which, order_by=[order], max_results=PAGE, page_token=token
            )
            runs += page
            token = page.token
            if not token:
                return runs

    def _bulk(self, run_ids: Sequence[str], metric: str) -> list[tuple[str, int, float]]:
        """Return one metric's points of several runs at once, as MLflow's own pages ask for them."""
        store = self.client._tracking_client.store
        if hasattr(store, "get_metric_history_bulk"):
            found = store.get_metric_history_bulk(run_ids, metric, BULK_POINTS)
            points = [(point.run_id, point.step, point.value) for point in found]
        else:
            from mlflow.utils.rest_utils import http_request, verify_rest_response

            endpoint = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"
            query = {"run_id": list(run_ids), "metric_key": metric, "max_results": BULK_POINTS}
            answer = http_request(store.get_host_creds(), endpoint, "GET", params=query)
            found = json.loads(verify_rest_response(answer, endpoint).text)["metrics"]
            points = [(point["run_id"], int(point["step"]), float(point["value"])) for point in found]
        if len(points) < BULK_POINTS:
            return points
        # There may be more than one request returns: ask for fewer runs, down to one by MLflow's way without a limit.
        if len(run_ids) > 1:
            half = len(run_ids) // 2
            return self._bulk(run_ids[:half], metric) + self._bulk(run_ids[half:], metric)
        return [(run_ids[0], point.step, point.value) for point in self.client.get_metric_history(run_ids[0], metric)]

    def _sample(self, sweep_id: str) -> pd.DataFrame | None:
        try:
            with tempfile.TemporaryDirectory() as folder:
                return pd.read_csv(self.client.download_artifacts(sweep_id, sample.FILE, folder))
        except Exception:
            # Sweeps over several features have none; nor has one whose artifacts are out of reach, which is no reason
            # to show nothing.
            return None
