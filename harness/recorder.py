"""What a scan's events are in MLflow: the names and meanings of params, metrics, tags and artifacts."""

from __future__ import annotations

import json
import math
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np
from omegaconf import OmegaConf

from harness.config import LogModel
from harness.export import raw_model
from harness.models import kernel_and_bias
from harness.plan import Run
from harness.signature import sweep_signature
from harness.tile import Diverged, EpochEnd, Stopped, thinned
from harness.tracking import Tracker
from harness.trainer import Clocks
from harness.views import colours


class Recorder:
    """Records the runs of a sweep as their scans go on."""

    def __init__(self, tracker: Tracker, runs: Sequence[Run], command: str, folder: Path | None, device: str) -> None:
        """Start all runs, and before them a summary run if the sweep has a `folder`."""
        self._tracker, self._runs = tracker, runs
        self._started = time.monotonic()
        self._best: tuple[Run, keras.Model, list[np.ndarray]] | None = None
        self._merits: dict[Run, float] = {}
        # Losses of one kind, in one space, can be compared; others have only the target's own units in common.
        spaces = {(run.config.loss, run.scaler.log_target, run.scaler.mean[-1], run.scaler.std[-1]) for run in runs}
        self._unlike = len(spaces) > 1
        self._note = folder / "summary.json" if folder else None
        self._known: dict[str, Any] = {}
        if self._note and self._note.exists():
            self._known = json.loads(self._note.read_text())
        self._best_merit = self._known.get("best", math.inf)
        self.sweep_id = self._start_summary(command) if folder else ""
        shades = colours([str(run.config.flat()["chunksize"]) for run in runs])
        for run in runs:
            tags = {
                "kind": "run",
                "sample": "full" if run.config.is_full else "batch",
                "signature": run.signature,
                "command": command,
                "device": device,
                "mlflow.runColor": shades[str(run.config.flat()["chunksize"])],
            }
            if run.table.dropped or run.table.filled:
                tags |= {"rows_dropped": str(run.table.dropped), "fields_filled": str(run.table.filled)}
            if self.sweep_id:
                tags["sweep"] = self.sweep_id
            run.run_id = tracker.start_run(run.name, _params(run.config.flat()), tags)
            tracker.log_text(run.run_id, OmegaConf.to_yaml(OmegaConf.structured(run.config)), "config.yaml")
            tracker.log_dataset(
                run.run_id,
                run.table.source.stem,
                run.table.source,
                run.table.digest,
                [column.name for column in run.table.columns],
                {"training": run.table.train_rows, "holdout": run.table.holdout_rows},
            )

    def epoch(self, runs: Sequence[Run], event: EpochEnd) -> None:
        """Record an epoch of a lane for each of its runs that is still under way."""
        for run in runs:
            if run.status or run.config.epochs < event.epoch:
                continue
            held_out = run.table.holdout_rows > 0
            run.objective = event.metrics.get("val/loss", math.inf) if held_out else event.loss
            self._merits[run] = event.metrics.get("val/rmse", math.inf) if self._unlike else run.objective
            metrics = {
                "train/loss": event.loss,
                **event.metrics,
                "updates": event.updates,
                "rows": event.epoch * run.table.train_rows,
                "time/train_s": event.train_seconds,
            }
            self._tracker.log(run.run_id, metrics, event.epoch)
            updates, losses = event.curve
            keep = thinned(updates, run.updates)
            self._tracker.log_curve(run.run_id, "train/chunk_loss", updates[keep], losses[keep])

    def stopped(self, runs: Sequence[Run], event: Stopped, train_seconds: float, shared_by: int) -> None:
        """Record the end of those of a lane's runs whose last epoch this is."""
        for run in runs:
            if run.status or run.config.epochs != event.epoch:
                continue
            metrics = {
                "rows_per_second": event.epoch * run.table.train_rows / max(train_seconds, 1e-9),
                "memory/update_mb": run.chunk * len(run.table.columns) * 4 / 1e6,
                "time/shared_by": shared_by,
                **_coefficients(run, event.model),
            }
            self._tracker.log(run.run_id, metrics, event.epoch)
            keep = run.config.tracking.log_model
            if keep is LogModel.all:
                self._log_model(run, event.model)
            elif keep is LogModel.best and self._merits[run] < self._best_merit:
                self._best_merit = self._merits[run]
                self._best = run, event.model, event.model.get_weights()
            self._end(run, "FINISHED")

    def diverged(self, runs: Sequence[Run], event: Diverged) -> None:
        """Record that a lane's loss left the finite numbers, which is a result."""
        for run in runs:
            if not run.status:
                self._tracker.tag(run.run_id, {"diverged_at": str(event.update)})
                self.failed(run, f"diverged at update {event.update}")

    def failed(self, run: Run, reason: str) -> None:
        """Record that a run came to nothing."""
        if not run.status:
            run.reason, run.objective = reason, math.inf
            self._tracker.tag(run.run_id, {"failure": reason})
            self._end(run, "FAILED")

    def finish(self, clocks: Sequence[Clocks]) -> None:
        """Keep the best run's model, and end the summary run."""
        if self._best:
            run, model, weights = self._best
            model.set_weights(weights)
            self._log_model(run, model)
        if self.sweep_id:
            spent = self._known["seconds"]
            for name, seconds in [pair for clock in clocks for pair in asdict(clock).items()]:
                spent[name] = spent.get(name, 0.0) + seconds
            spent["wall"] = spent.get("wall", 0.0) + time.monotonic() - self._started
            metrics = {f"time/{name}_s": seconds for name, seconds in spent.items()}
            metrics["memory/peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            self._tracker.log(self.sweep_id, metrics)
            self._known["best"] = min(self._best_merit, sys.float_info.max)
            self._known["failed"] |= any(run.status != "FINISHED" for run in self._runs)
            self._write_note()
            self._tracker.end_run(self.sweep_id, "FAILED" if self._known["failed"] else "FINISHED")

    def abort(self, status: str) -> None:
        """End all that is still under way, because the program ends."""
        for run in self._runs:
            if not run.status:
                self._end(run, status)
        if self.sweep_id:
            self._tracker.end_run(self.sweep_id, status)

    def _start_summary(self, command: str) -> str:
        """Start the sweep's summary run, or go on with the one that an earlier call for this folder started."""
        if self._known:
            self._tracker.resume_run(self._known["run_id"])
        else:
            tags = {"kind": "sweep", "command": command, "mlflow.note.content": f"`{command}`"}
            name = command.removeprefix("harness train ").removeprefix("-m ")[:200]
            run_id = self._tracker.start_run(name, {}, tags)
            self._known = {"run_id": run_id, "signatures": [], "seconds": {}, "failed": False}
        self._known["signatures"] += [run.signature for run in self._runs]
        self._write_note()
        self._tracker.tag(self._known["run_id"], {"signature": sweep_signature(self._known["signatures"])})
        return self._known["run_id"]

    def _write_note(self) -> None:
        """Leave in the sweep's folder what a later call for it needs to know."""
        if self._note:
            self._note.parent.mkdir(parents=True, exist_ok=True)
            self._note.write_text(json.dumps(self._known))

    def _log_model(self, run: Run, model: keras.Model) -> None:
        columns = [column.name for column in run.table.columns]
        try:
            self._tracker.log_model(run.run_id, raw_model(model, run.table, run.scaler, run.config.loss), columns)
        except Exception as error:
            # A model that trains but cannot be saved is still a result.
            self._tracker.tag(run.run_id, {"model_not_logged": f"{type(error).__name__}: {error}"})

    def _end(self, run: Run, status: str) -> None:
        run.status = status
        self._tracker.end_run(run.run_id, status)


def _params(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return a flat configuration as MLflow shows it: without what is not set, lists as Hydra writes them."""
    return {
        key: f"[{','.join(map(str, value))}]" if isinstance(value, list) else value
        for key, value in flat.items()
        if value is not None
    }


def _coefficients(run: Run, model: keras.Model) -> dict[str, float]:
    """Return intercept and slopes for unscaled columns, if the model is linear."""
    found = kernel_and_bias(model)
    if found is None:
        return {}
    intercept, slopes = run.scaler.coefficients(*found)
    names = ["slope"] if len(slopes) == 1 else [f"weight/{name}" for name in run.config.data.features]
    return {"intercept": intercept, **dict(zip(names, map(float, slopes), strict=True))}
