"""The only module that reads from MLflow: it returns runs and curves as DataFrames."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.entities import Run

from harness.config.metrics import BY_UPDATE, epoch_metrics
from harness.data import class_tables, mistakes, sample
from harness.errors import require
from harness.tracking._compat_history import histories
from harness.tracking.foreign import fault
from harness.tracking.frames import EPOCH_AXES, Sweep, curves_of, datasets, frame_of
from harness.tracking.run_search import RunSearch

MOST_BYTES = 16 << 20
"""Maximum size of artifacts to read for a report."""


class RunReader(RunSearch):
    """Reads the runs of a tracking store."""

    def load(self, ids: Sequence[str] = (), metrics: Sequence[str] = (), *, with_sample: bool = False) -> Sweep:
        """Return runs with their curves.

        Args:
            ids: Ids of runs or sweeps; a sweep is replaced by its runs. An empty list means the newest sweep.
            metrics: The metrics whose curves to return, by default all losses and scores; metrics that no run has are
                left out.
            with_sample: Whether to also read the sample of the data, which is an artifact.

        Raises:
            ConfigError: A run does not exist, there is no sweep, or the harness recorded none of the runs.
        """
        found, sweeps = self.named(ids)
        faults = [fault(run) for run in found]
        left_out = tuple(filter(None, faults))
        runs = [run for run, wrong in zip(found, faults, strict=True) if not wrong]
        require(bool(runs) or not left_out, " ".join(left_out[:1]))
        frame = frame_of(runs, sweeps)
        params = tuple(dict.fromkeys(key for run in runs for key in run.data.params))
        chosen = metrics or epoch_metrics(frame)
        wanted = [key for metric in chosen for key in (metric, f"{BY_UPDATE}{metric}") if key in frame]
        curves = curves_of(self.histories(list(frame["run_id"]), [*EPOCH_AXES, *wanted]))
        if len(sweeps) != 1:
            return Sweep(frame, params, curves, data=datasets(runs), left_out=left_out)
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
            **(self._extras(summary.info.run_id) if with_sample else {}),
            artifact=self.artifact,
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

    def artifact(self, run_id: str, name: str) -> str | None:
        """Return the text of a run's artifact; None if it does not exist or cannot be read."""
        try:
            with tempfile.TemporaryDirectory() as folder:
                return Path(self.client.download_artifacts(run_id, name, folder)).read_text(encoding="utf-8")
        except Exception:
            return None

    def _extras(self, sweep_id: str) -> dict[str, Any]:
        """Return optional parts of a sweep from its artifacts; the rest is useful even without them."""
        readers: dict[str, tuple[str, Callable[[str], Any]]] = {
            "sample": (sample.FILE, pd.read_csv),
            "classes": (
                class_tables.COUNTS_FILE,
                lambda path: pd.read_csv(path, dtype={"class": str}, keep_default_na=False),
            ),
            "mistakes": (mistakes.FILE, lambda path: mistakes.read_mistakes(Path(path).read_text(encoding="utf-8"))),
        }
        found = {}
        with contextlib.suppress(Exception), tempfile.TemporaryDirectory() as folder:
            there = {file.path: file.file_size or 0 for file in self.client.list_artifacts(sweep_id)}
            for name, (file, read) in readers.items():
                if 0 < there.get(file, 0) <= MOST_BYTES:
                    with contextlib.suppress(Exception):
                        found[name] = read(self.client.download_artifacts(sweep_id, file, folder))
        return found
