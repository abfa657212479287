"""What a scan's events are in MLflow: the names and meanings of params, metrics, tags and artifacts."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Any

import keras
import numpy as np
from mlflow.entities import Run as Record

from harness.config import LogModel
from harness.models import kernel_and_bias
from harness.sweep.code_version import commits, packages, patches
from harness.sweep.leaderboard import Leaderboard
from harness.sweep.plan import Run, model_builder
from harness.sweep.run_state import HOST
from harness.sweep.summary import Summary
from harness.sweep.yaml_parts import Written, in_yaml
from harness.tracking.saved_views import colour
from harness.tracking.tracker import Tracker
from harness.training.events import Diverged, EpochEnd, Stopped
from harness.training.export import raw_example, raw_model
from harness.training.tile import thinned
from harness.training.trainer import Clocks

MOST_WEIGHTS = 200
"""Inputs of a linear model whose weights are recorded."""


class Recorder:
    """Records the runs of a sweep as their scans go on."""

    def __init__(
        self,
        tracker: Tracker,
        command: str,
        folder: Path | None,
        device: str,
        signatures: Sequence[str] = (),
        known: Record | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Start a summary run if the sweep has a `folder`; see `Summary` for `signatures` and `known`.

        Runs have `tags` besides their own.
        """
        self._tracker, self._command, self._device, self.tags = tracker, command, device, tags or {}
        self._standings = Leaderboard()
        self._summary = Summary(tracker, command, folder, signatures, known) if folder else None
        self._has_code = False
        self._models: dict[str, keras.Model] = {}

    @property
    def sweep_id(self) -> str:
        """The summary run's id; empty without one."""
        return self._summary.run_id if self._summary else ""

    def start(self, runs: Sequence[Run]) -> None:
        """Start runs, or go on with those that have an id."""
        self._take_in(runs)
        if self._summary:
            self._summary.watch()
        under_way = [run for run in runs if not run.status]
        tags = {run: self._tags(run) for run in under_way}
        new = [run for run in under_way if not run.run_id]
        ids = self._tracker.start_runs([(run.name, _params(run.config.flat()), tags[run]) for run in new])
        for run in under_way:
            if run.run_id:
                self._tracker.resume_run(run.run_id)
                self._tracker.log_params(run.run_id, _params(run.config.flat()))
                self._tracker.tag(run.run_id, tags[run])
        for run, run_id in zip(new, ids, strict=True):
            run.run_id = run_id
        written: Written = {}
        for run in under_way:
            config = asdict(run.config, dict_factory=_plain)
            self._tracker.log_text(run.run_id, in_yaml(config, written), "config.yaml")
            self._tracker.log_dataset(
                run.run_id,
                run.table.source.stem,
                run.table.source,
                run.table.digest,
                run.table.columns,
                {"training": run.table.train_rows, "holdout": run.table.holdout_rows},
            )
        if not self._has_code and not (self._summary and self._summary.goes_on):
            self._has_code = True
            self._record_code(self._summary.run_id if self._summary else runs[0].run_id)
        if any(run.config.tracking.log_model is not LogModel.none for run in under_way):
            self._tracker.expect_models()

    def adopt(self, run: Run, record: Record) -> None:
        """Take a run's result from what the store has of it, and let it belong to this sweep too."""
        metrics, tags = record.data.metrics, record.data.tags
        run.run_id, run.status = record.info.run_id, record.info.status
        run.sweeps = [sweep for sweep in tags.get("sweep", "").split(",") if sweep]
        run.reason = f"diverged at update {tags['diverged_at']}" if "diverged_at" in tags else ""
        measure = "val/loss" if run.table.holdout_rows else "train/loss"
        run.objective = math.inf if run.reason else metrics.get(measure, math.inf)
        self._standings.know(run, metrics)
        self._let_belong(run)
        if self._summary and record.outputs and record.outputs.model_outputs:
            note = self._summary.note
            note.best = min(self._standings.merit(run), math.inf if note.best is None else note.best)

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return what another process needs to go on recording: facts for JSON, and arrays."""
        facts, arrays = self._standings.state()
        facts |= {
            "seconds": self._summary.seconds if self._summary else {},
            "best": self._summary.note.best if self._summary else None,
        }
        return facts, arrays

    def restore(self, runs: Sequence[Run], facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Go on from the state of a recorder of an earlier process, as far as it is of `runs`."""
        self._standings.restore(runs, facts, arrays)
        for run in runs:
            if run.status:
                self._let_belong(run)
            elif run.run_id:
                self._take_in([run])
        if self._summary:
            self._summary.resume(facts["seconds"], facts["best"])

    def _let_belong(self, run: Run) -> None:
        """Take in a run that has ended, and tag it with this sweep if it was not one of it."""
        before = list(run.sweeps)
        self._take_in([run])
        if run.sweeps != before:
            self._tracker.tag(run.run_id, {"sweep": ",".join(run.sweeps)})

    def _take_in(self, runs: Sequence[Run]) -> None:
        for run in runs:
            if self.sweep_id and self.sweep_id not in run.sweeps:
                run.sweeps.append(self.sweep_id)
        self._standings.add(runs)
        if self._summary:
            self._summary.add(runs)

    def epoch(self, runs: Sequence[Run], event: EpochEnd) -> None:
        """Record an epoch of a lane for each of its runs that is still under way."""
        for run in runs:
            if run.status:
                continue
            metrics = {
                **self._standings.measure(run, event),
                "updates": event.updates,
                "rows": event.epoch * run.table.train_rows,
                "time/train_s": event.train_seconds,
            }
            self._tracker.log(run.run_id, metrics, event.epoch)
            updates, losses = event.curve
            keep = thinned(updates, run.updates, run.config.tracking.curve_points)
            self._tracker.log_curve(run.run_id, "train/chunk_loss", updates[keep], losses[keep])

    def stopped(self, runs: Sequence[Run], event: Stopped, train_seconds: float, shared_by: int) -> None:
        """Record the end of those of a lane's runs whose last epoch this is."""
        for run in runs:
            if run.status or run.config.epochs not in event.stops:
                continue
            model = self._model(run, event.weights)
            metrics = {
                "rows_per_second": event.epoch * run.table.train_rows / max(train_seconds, 1e-9),
                "memory/update_mb": run.chunk * len(run.table.columns) * 4 / 1e6,
                "time/shared_by": shared_by,
                **_coefficients(run, model),
            }
            self._tracker.log(run.run_id, metrics, event.epoch)
            for key, (value, epoch) in self._standings.take_best(run).items():
                self._tracker.log(run.run_id, {f"best/{key}": value}, epoch)
            keep = run.config.tracking.log_model
            if keep is LogModel.all:
                self._log_model(run, model)
            elif keep is LogModel.best:
                self._standings.offer(run, event.weights)
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

    def scanned(self, clocks: Sequence[Clocks]) -> None:
        """Record what scans have taken."""
        if self._summary:
            self._summary.spent(clocks)

    def finish(self) -> None:
        """Keep the best run's model, and end the summary run."""
        note = self._summary.note if self._summary else None
        if self._standings.kept:
            run, weights = self._standings.kept
            merit = self._standings.merit(run)
            if note is None or note.best is None or merit < note.best:
                self._log_model(run, self._model(run, weights))
                if note:
                    note.best = merit
        if self._summary:
            self._summary.end(self._standings.ended())

    def abort(self, status: str) -> None:
        """End all that is still under way, because the program ends."""
        for run in self._standings.runs:
            if not run.status or run.run_id in self._tracker.held.unended:
                self._end(run, status)
        if self._summary:
            self._summary.end(self._standings.ended(), status)

    def _tags(self, run: Run) -> dict[str, str]:
        tags = {
            "kind": "run",
            "sample": "full" if run.config.is_full else "batch",
            "signature": run.signature,
            "command": run.command or self._command,
            "device": self._device,
            "host": HOST,
            "mlflow.runColor": colour(str(run.config.flat()["chunksize"])),
            **self.tags,
        }
        if run.table.dropped or run.table.filled:
            tags |= {"rows_dropped": str(run.table.dropped), "fields_filled": str(run.table.filled)}
        if run.sweeps:
            tags["sweep"] = ",".join(run.sweeps)
        return tags

    def _record_code(self, run_id: str) -> None:
        """Keep what tells the code that the numbers come from."""
        targets = sorted({run.config.model["_target_"] for run in self._standings.runs})
        texts = {"packages.txt": packages(), "commits.txt": commits(targets), **patches(targets)}
        for file, text in texts.items():
            self._tracker.log_text(run_id, text, file)

    def _model(self, run: Run, weights: list[np.ndarray]) -> keras.Model:
        """Return a run's model with these weights; runs with equal models are given the same object."""
        key = json.dumps([run.config.model, run.table.inputs])
        if key not in self._models:
            self._models[key] = model_builder(run.config)(len(run.table.inputs))
        self._models[key].set_weights(weights)
        return self._models[key]

    def _log_model(self, run: Run, model: keras.Model) -> None:
        try:
            exported = raw_model(model, run.table, run.scaler, run.config.loss)
            self._tracker.log_model(run.run_id, exported, raw_example(run.table), run.config.data.target)
        except Exception as error:
            # A model that trains but cannot be saved is still a result.
            self._tracker.tag(run.run_id, {"model_not_logged": f"{type(error).__name__}: {error}"})

    def _end(self, run: Run, status: str) -> None:
        run.status = status
        self._tracker.end_run(run.run_id, status)


def _plain(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {key: value.name if isinstance(value, Enum) else value for key, value in pairs}


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
    inputs = run.table.inputs
    if len(inputs) > MOST_WEIGHTS:
        return {}
    intercept, slopes = run.scaler.coefficients(*found, [column.inputs for column in run.table.columns[:-1]])
    names = ["slope"] if len(slopes) == 1 else [f"weight/{name}" for name in inputs]
    return {"intercept": intercept, **dict(zip(names, map(float, slopes), strict=True))}
