"""The only module that reads from MLflow: it returns runs and curves as DataFrames."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence

import pandas as pd
from mlflow.entities import Run

from harness.config.metrics import epoch_metrics
from harness.data import sample
from harness.errors import require
from harness.tracking._compat_history import histories
from harness.tracking.foreign import fault
from harness.tracking.frames import EPOCH_AXES, NOTHING, Sweep, curves_of, datasets, row, typed
from harness.tracking.run_search import RunSearch

METRIC = "objective.metric"
"""The tag of a summary run that holds the metric that decides."""


class RunReader(RunSearch):
    """Reads the runs of a tracking store."""

    def load(self, ids: Sequence[str] = (), metrics: Sequence[str] = (), *, with_sample: bool = False) -> Sweep:
        """Return runs with their curves.

        Args:
            ids: Ids of runs or sweeps; a sweep is replaced by its runs. An empty list means the newest sweep.
            metrics: The metrics to return curves of, by default all losses and scores; those that no run has are left
                out.
            with_sample: Whether to read the sample of the data too, which is an artifact.

        Raises:
            ConfigError: A run does not exist, there is no sweep, or the harness recorded none of the runs.
        """
        found, sweeps = self.named(ids)
        faults = [fault(run) for run in found]
        left_out = tuple(filter(None, faults))
        runs = [run for run, wrong in zip(found, faults, strict=True) if not wrong]
        require(bool(runs) or not left_out, " ".join(left_out[:1]))
        frame = typed(pd.DataFrame([row(run) for run in runs], columns=None if runs else NOTHING))
        params = tuple(dict.fromkeys(key for run in runs for key in run.data.params))
        wanted = [key for key in metrics or epoch_metrics(frame) if key in frame]
        curves = curves_of(self.histories(list(frame["run_id"]), [*EPOCH_AXES, *wanted]))
        if len(sweeps) != 1:
            return Sweep(frame, params, curves, data=datasets(runs), left_out=left_out)
        (summary,) = sweeps
        if (metric := summary.data.tags.get(METRIC)) and len(frame):
            frame["objective.metric"] = metric  # Of this sweep; runs may be reused from one with another.
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
            left_out=left_out,
        )

    def histories(self, run_ids: Sequence[str], metrics: Sequence[str]) -> pd.DataFrame:
        """Return all points of `metrics`, one per row: `run_id`, `metric`, `step`, `value`."""
        points = histories(self.client, self.uri, sorted(run_ids), metrics)
        return pd.DataFrame(points, columns=["run_id", "metric", "step", "value"])

    def curves(self, run: Run) -> dict[str, dict[int, float]]:
        """Return all points of a run's metrics by step."""
        curves: dict[str, dict[int, float]] = {metric: {} for metric in run.data.metrics}
        for _, metric, step, value in histories(self.client, self.uri, [run.info.run_id], list(curves)):
            curves[metric][step] = value
        return curves

    def steps(self, runs: Sequence[Run]) -> list[dict[str, set[int]]]:
        """Return, for each run, the steps of all points by metric."""
        found: dict[str, dict[str, set[int]]] = {run.info.run_id: {} for run in runs}
        metrics = sorted({metric for run in runs for metric in run.data.metrics})
        for run_id, metric, step, _ in histories(self.client, self.uri, list(found), metrics):
            found[run_id].setdefault(metric, set()).add(step)
        return [found[run.info.run_id] for run in runs]

    def _sample(self, sweep_id: str) -> pd.DataFrame | None:
        try:
            with tempfile.TemporaryDirectory() as folder:
                return pd.read_csv(self.client.download_artifacts(sweep_id, sample.FILE, folder))
        except Exception:
            # Only sweeps with one feature have a sample, and artifacts may be unreachable; the rest is still useful.
            return None
