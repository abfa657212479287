"""A sweep's summary run: its clocks, how busy the machine was, and a note that says what came of it."""

from __future__ import annotations

import resource
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from mlflow.entities import Run as Record

from harness.config.naming import sweep_name
from harness.runtime.secrets import masked
from harness.sweep.identity import sweep_signature
from harness.sweep.plan import Run
from harness.sweep.run_state import HOST
from harness.sweep.summary_note import Ended, Note
from harness.tracking.system_metrics import SystemMonitor
from harness.tracking.tracker import Tracker
from harness.training.trainer import Clocks

FAILURES = 20
"""Failed runs that the note names."""


class Summary:
    """The summary run of the sweep that a folder belongs to; later calls for the folder go on with it."""

    def __init__(
        self, tracker: Tracker, command: str, folder: Path, signatures: Sequence[str] = (), known: Record | None = None
    ) -> None:
        """Start it, or go on with the one that an earlier call started.

        Args:
            tracker: Of the sweep's experiment.
            command: What repeats the sweep.
            folder: The sweep's.
            signatures: Of the runs that are known from the start.
            known: What the store has of an equal sweep.
        """
        self._tracker, self._command, self._folder = tracker, command, folder
        self._began = time.monotonic()
        self._monitor: SystemMonitor | None = None
        self._sampled = -1
        self.note = Note.read(folder)
        if not self.note.run_id and known:
            seconds = {
                key.removeprefix("time/").removesuffix("_s"): value
                for key, value in known.data.metrics.items()
                if key.startswith("time/")
            }
            calls = int(known.data.tags.get("calls", 1))
            self.note = Note(known.info.run_id, seconds=seconds, calls=calls, started=known.info.start_time / 1000)
        self.goes_on = bool(self.note.run_id)
        if self.goes_on:
            tracker.resume_run(self.note.run_id)
        else:
            tags = {"kind": "sweep", "command": command, "host": HOST, "signature": sweep_signature(signatures)}
            self.note.started = time.time()
            self.note.run_id = tracker.start_run(sweep_name(command), {}, tags)
        self.note.signatures = list(dict.fromkeys([*self.note.signatures, *signatures]))
        # Metrics of the summary have the number of the call as their step, so that none is ever there twice.
        self.note.calls += 1
        tracker.tag(self.note.run_id, {"calls": str(self.note.calls), "host": HOST})
        self.note.write(folder)

    @property
    def run_id(self) -> str:
        """MLflow's."""
        return self.note.run_id

    @property
    def seconds(self) -> dict[str, float]:
        """What has been spent so far, by what it went to."""
        wall = self.note.seconds.get("wall", 0.0) + time.monotonic() - self._began
        return self.note.seconds | {"wall": wall}

    def add(self, runs: Sequence[Run]) -> None:
        """Take runs in."""
        new = {run.signature for run in runs} - set(self.note.signatures)
        self.note.signatures += sorted(new)
        self.note.data = list(dict.fromkeys([*self.note.data, *map(_data, runs)]))
        self.note.write(self._folder)
        if new:
            self._tracker.tag(self.run_id, {"signature": sweep_signature(self.note.signatures)})

    def watch(self) -> None:
        """Record how busy the machine is from now on."""

        def log(metrics: Mapping[str, float]) -> None:
            """By the seconds since the sweep began, so that what another call recorded is not there twice."""
            self._sampled = max(self._sampled + 1, int(time.time() - self.note.started))
            self._tracker.log(self.run_id, metrics, self._sampled)

        self._monitor = self._monitor or SystemMonitor(log)

    def resume(self, seconds: Mapping[str, float], best: float | None) -> None:
        """Take over what an earlier process, that is gone, had spent, and the merit of the best model that is kept."""
        self.note.seconds, self.note.best = dict(seconds), best

    def spent(self, clocks: Sequence[Clocks]) -> None:
        """Add up what scans have taken."""
        for name, seconds in [pair for clock in clocks for pair in asdict(clock).items()]:
            self.note.seconds[name] = self.note.seconds.get(name, 0.0) + seconds

    def end(self, ended: Sequence[Ended], status: str = "") -> None:
        """Tell what became of the runs and end; the status is that of all of the sweep's, unless one is given."""
        if self._monitor:
            self._monitor.stop()
        note = self.note
        note.runs = [*{run.run_id: run for run in [*note.runs, *ended]}.values()]
        if self._monitor:
            note.seconds = self.seconds
        note.write(self._folder)
        metrics = {f"time/{name}_s": seconds for name, seconds in note.seconds.items()}
        metrics["memory/peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        if self._monitor:
            self._tracker.log(self.run_id, metrics, note.calls - 1)
        self._tracker.tag(self.run_id, {"mlflow.note.content": self._told()})
        failed = any(run.reason for run in note.runs)
        self._tracker.end_run(self.run_id, status or ("FAILED" if failed else "FINISHED"))

    def _told(self) -> str:
        """Return the summary in Markdown; MLflow's page shows its first lines only, until it is asked for more."""
        parts = []
        finished = sorted((run for run in self.note.runs if run.merit is not None), key=lambda run: run.merit or 0.0)
        best = [next((run for run in finished if run.sample == sample), None) for sample in ("batch", "full")]
        rows = [self._row(run) for run in best if run]
        if rows:
            head = "| best of | run | loss | rmse | updates |\n| --- | --- | ---: | ---: | ---: |"
            parts.append("\n".join([head, *rows]))
        parts += self.note.data
        failed = [f"- {self._link(run)}: {run.reason.splitlines()[0]}" for run in self.note.runs if run.reason]
        if failed:
            more = [f"- and {len(failed) - FAILURES} more"] if len(failed) > FAILURES else []
            parts.append(
                "\n".join([f"{len(failed)} of {len(self.note.runs)} runs failed:\n", *failed[:FAILURES], *more])
            )
        return "\n\n".join([*parts, f"```\n{masked(self._command)}\n```"])

    def _row(self, run: Ended) -> str:
        what = "chunks" if run.sample == "batch" else "the full sample"
        rmse = "" if run.rmse is None else f"{run.rmse:,.6g}"
        return f"| {what} | {self._link(run)} | {run.loss:.4g} | {rmse} | {run.updates:,} |"

    def _link(self, run: Ended) -> str:
        return f"[{run.name}](#/experiments/{self._tracker.experiment_id}/runs/{run.run_id})"


def _data(run: Run) -> str:
    """Say what a run was trained on."""
    *features, target = (column.name for column in run.table.columns)
    some = ", ".join(features[:5]) + (f" and {len(features) - 5} more" if len(features) > 5 else "")
    rows = f"{run.table.train_rows:,} rows to train on, {run.table.holdout_rows:,} held out"
    return f"`{run.table.source.name}`: {target} from {some}; {rows}."
