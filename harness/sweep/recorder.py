"""Records runs in MLflow: turns each event of a scan into metrics, tags or the end of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.entities import Run as Record

from harness.config import LogModel, TrackingConfig
from harness.config.metrics import RESTORED, best_key, final_values, sign
from harness.data.class_tables import CONFUSION_FILE, confusion_csv
from harness.formatting import number
from harness.runtime.secrets import masked
from harness.sweep import code_version
from harness.sweep.leaderboard import Leaderboard, kept_weights
from harness.sweep.membership import Membership
from harness.sweep.model_log import ModelLog
from harness.sweep.plan import Run
from harness.sweep.publish import publish_mistakes
from harness.sweep.run_fields import ALONE, config_yaml, final_metrics, run_params, run_tags
from harness.sweep.run_records import by_update, dataset_of, failure_tags, set_ended
from harness.sweep.summary import Summary, add_up
from harness.tracking.run_tags import PRUNED, RESTORED_EPOCH, SEARCH, STOPPED
from harness.tracking.tracker import Tracker
from harness.training.curves import thinned
from harness.training.events import Diverged, Ending, EpochEnd, Failed, Measured, Stopped
from harness.training.trainer import Clocks


class Recorder:
    """Records the runs of a sweep, and its summary run if it has one."""

    def __init__(
        self,
        tracker: Tracker,
        command: str,
        folder: Path | None,
        device: str,
        signatures: Sequence[str] = (),
        summary_record: Record | None = None,
        tags: Mapping[str, str] | None = None,
        owner: Mapping[str, str] | None = None,
        labels: TrackingConfig | None = None,
        search: str = "",
        trial_seed: int | None = None,
        membership: Membership | None = None,
    ) -> None:
        """Start or continue the summary run if there is a sweep `folder`; see `Summary` and `Leaderboard`.

        All runs get `tags` and the tags of their `owner`, which are set again when a run is continued. With a
        `membership`, the runs are part of a sweep whose summary run is kept by another process.
        """
        self._membership = membership
        self._tracker, self._command, self._device = tracker, command, device
        self.tags, self._owner = dict(tags or {}), dict(owner or {})
        self._leaderboard = Leaderboard(membership.rules if membership else None, trial_seed)
        self._models = ModelLog(tracker)
        self._summary = (
            Summary(tracker, command, folder, signatures, summary_record, self._owner, labels, search)
            if folder
            else None
        )
        self._seconds: dict[str, float] = {}  # Time spent by activity, if there is no summary run.
        self._has_code = bool(membership or (self._summary and self._summary.is_continued))
        self.has_changed = not self._has_code  # Whether the sweep has new runs or results.

    @property
    def sweep_id(self) -> str:
        """The summary run's id; empty if there is no summary run."""
        return self._summary.run_id if self._summary else self._membership.sweep_id if self._membership else ""

    def plan(self, runs: Sequence[Run]) -> None:
        """Set the order of the runs that will be added, regardless of the order in which they end."""
        self._leaderboard.plan(runs)

    def start(self, runs: Sequence[Run]) -> None:
        """Start the runs that have not ended; runs with an id are continued."""
        self._add(runs)
        if self._summary:
            self._summary.monitor()
        active = [run for run in runs if not run.status]
        self.has_changed |= bool(active)
        for run in (run for run in active if run.run_id):
            self._tracker.resume_run(run.run_id, self._owner)
            self._tracker.log_params(run.run_id, run_params(run.config))
            self._tracker.tag(run.run_id, self._tags(run))
        new = [run for run in active if not run.run_id]
        for run in [] if self.sweep_id else new:
            run.name = run.config.tracking.name or run.name
        ids = self._tracker.start_runs([(run.name, run_params(run.config), self._tags(run)) for run in new])
        for run, run_id in zip(new, ids, strict=True):
            run.run_id = run_id
        for run in active:
            self._tracker.log_text(run.run_id, config_yaml(run.config), "config.yaml")
            self._tracker.log_dataset(run.run_id, *dataset_of(run.table))
        self._log_code_once(runs)
        logged = (LogModel.all,) if self._membership else (LogModel.all, LogModel.best)
        if any(run.config.tracking.log_model in logged for run in active):
            self._tracker.prepare_models()

    def reuse(self, records: Mapping[Run, Record]) -> None:
        """Read runs' results from their records, and add the runs to this sweep."""
        for run, record in records.items():
            set_ended(run, record)
            self._leaderboard.set_metrics(run, final_values(record.data.metrics))
            run.cost = math.inf if run.reason else run.cost
            if (name := run.config.tracking.name) and not self.sweep_id:
                run.name = name
                self._tracker.tag(run.run_id, {"mlflow.runName": name, **run.config.tracking.tags})
        self._add_ended(list(records))

    def best_so_far(self) -> str:
        """Return the best of the latest values of the deciding metric, as text; empty before the first epoch ends."""
        run = min(self._leaderboard.runs, key=lambda run: run.cost)
        return f"{run.metric} {number(sign(run.metric) * run.cost)}" if math.isfinite(run.cost) else ""

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return the state for `restore`: JSON values and arrays."""
        facts, arrays = self._leaderboard.state()
        seconds, best = (self._summary.seconds, self._summary.state.best) if self._summary else (self._seconds, None)
        return facts | {"seconds": seconds, "best": best}, arrays

    def restore(self, runs: Sequence[Run], facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Restore the `runs` that are in the saved state.

        Raises:
            ValueError: The weights do not match the best run's model.
            KeyError: Something is missing.
        """
        self._models.check(kept_weights(runs, facts, arrays))
        self._leaderboard.restore(runs, facts, arrays)
        self._add_ended([run for run in runs if run.status])
        self._add([run for run in runs if run.run_id and not run.status])
        if self._summary:
            self._summary.restore(facts["seconds"], facts["best"])
        else:
            self._seconds = dict(facts["seconds"])

    def epoch(self, runs: Sequence[Run], event: EpochEnd) -> None:
        """Record an epoch for the runs of a lane that have not ended."""
        for run in runs:
            if run.status:
                continue
            measured = self._leaderboard.update(run, event)
            metrics = {
                **measured,
                "updates": event.updates,
                "rows": event.epoch * run.table.train_rows,
                "time/train_s": event.train_seconds,
            }
            self._tracker.log(run.run_id, metrics, event.epoch)
            self._tracker.log(run.run_id, by_update(measured, run.metric), event.updates)
            updates, losses = event.curve
            keep = thinned(updates, run.updates, run.config.tracking.curve_points)
            self._tracker.log_curve(run.run_id, "train/chunk_loss", updates[keep], losses[keep])

    def measured(self, runs: Sequence[Run], event: Measured) -> None:
        """Record metrics within an epoch for the runs of a lane that have not ended."""
        for run in runs:
            if not run.status and event.updates in run.early_updates:
                self._tracker.log(run.run_id, by_update(event.metrics, run.metric), event.updates)

    def stopped(self, runs: Sequence[Run], event: Stopped, train_seconds: float, shared_by: int) -> None:
        """Record the end of the `runs` of a lane that this event stops."""
        for run in runs:
            if run.status or run.config.epochs not in event.stops:
                continue
            if event.ending is Ending.pruned:
                run.pruned_at = event.epoch
                self._tracker.tag(run.run_id, {PRUNED: str(event.epoch), SEARCH: run.search})
                self._leaderboard.pop_best_values(run)
                self._end(run, "KILLED")
                continue
            if event.ending is Ending.stopped:
                run.stopped_at = event.epoch
                self._tracker.tag(run.run_id, {STOPPED: str(event.epoch)})
            model = self._models.build(run, event.weights)
            metrics = final_metrics(run, model, event.epoch, train_seconds, shared_by)
            self._tracker.log(run.run_id, metrics, event.epoch)
            self._leaderboard.set_test(run, event.test)
            if event.confusion is not None:
                self._tracker.log_text(run.run_id, confusion_csv(run.table, event.confusion), CONFUSION_FILE)
            for key, (value, epoch) in self._leaderboard.pop_best_values(run).items():
                self._tracker.log(run.run_id, {best_key(key): value}, epoch)
            if event.restored:
                self._leaderboard.set_metrics(run, event.restored.metrics)
                self._tracker.tag(run.run_id, {RESTORED_EPOCH: str(event.restored.epoch)})
                restored = {RESTORED + key: value for key, value in event.restored.metrics.items()}
                self._tracker.log(run.run_id, restored, event.restored.epoch)
            if run.config.tracking.log_model is LogModel.all:
                self._models.log(run, model)
            self._end(run, "FINISHED")
            if run.config.tracking.log_model is LogModel.best:
                self._leaderboard.keep_best(run, event.weights)

    def lacks_time_alone(self, run: Run) -> bool:
        """Return True if a run finished in this sweep, but `time/alone_s` is not yet recorded."""
        is_recorded = self._tracker.points.is_stored(run.run_id, ALONE)
        return run.status == "FINISHED" and not run.is_reused and not is_recorded

    def timed_alone(self, runs: Sequence[Run], seconds: float) -> None:
        """Record how long the finished runs of a lane would take alone, given the time of one update."""
        for run in filter(self.lacks_time_alone, runs):
            epochs = run.stopped_at or run.config.epochs
            updates = run.updates // run.config.epochs * epochs
            self._tracker.log(run.run_id, {ALONE: updates * seconds}, epochs)

    def diverged(self, runs: Sequence[Run], event: Diverged) -> None:
        """Record that the runs of a lane diverged, which counts as a result."""
        for run in runs:
            if not run.status:
                self._tracker.tag(run.run_id, {"diverged_at": str(event.update)})
                self._fail(run, f"diverged at update {event.update}")

    def failed(self, runs: Sequence[Run], event: Failed) -> None:
        """Record that the runs of a lane failed."""
        for run in runs:
            if not run.status:
                self._fail(run, event.reason)

    def scanned(self, clocks: Clocks) -> None:
        """Record the time that a scan took."""
        if self._summary:
            self._summary.add_seconds(asdict(clocks))
        else:
            add_up(self._seconds, asdict(clocks))

    def finish(self) -> None:
        """Log the chosen runs' metrics on the test set and the best setting's model, and end the summary run.

        The model is not logged if an earlier call logged a model of the same setting or a better one.
        """
        for run, metrics in self._leaderboard.tests_of_chosen().items():
            if not run.is_reused:
                self._tracker.log(run.run_id, metrics, run.config.epochs)
        logged, of_run = (self._summary.state.best, self._summary.state.best_run) if self._summary else (None, "")
        if self._leaderboard.best and self._leaderboard.improves_on(logged, of_run):
            run, weights = self._leaderboard.best
            logged_model = self._models.log(run, self._models.build(run, weights))
            if self._summary:
                state = self._summary.state
                state.best, state.best_run = self._leaderboard.rank(run).score, run.run_id
                publish_mistakes(self._tracker, self.sweep_id, run, logged_model)
        if self._summary:
            self._summary.end(self._leaderboard.results())

    def abort(self, status: str) -> None:
        """End all unfinished runs and the summary run with `status`."""
        for run in self._leaderboard.runs:
            if run.run_id and (not run.status or run.run_id in self._tracker.buffer.dropped_endings):
                self._end(run, status)
        if self._summary:
            self._summary.end(self._leaderboard.results(), status)

    def _add(self, runs: Sequence[Run]) -> None:
        for run in runs:
            if self.sweep_id and self.sweep_id not in run.sweeps:
                run.sweeps.append(self.sweep_id)
        self._leaderboard.add(runs)
        if self._summary:
            self._summary.add(runs)

    def _add_ended(self, runs: Sequence[Run]) -> None:
        """Add runs that ended earlier, and tag those that are new to this sweep."""
        before = {run: list(run.sweeps) for run in runs}
        self._add(runs)
        for run in runs:
            if run.sweeps != before[run]:
                self.has_changed = True
                self._tracker.tag(run.run_id, {"sweep": ",".join(run.sweeps)})

    def _log_code_once(self, runs: Sequence[Run]) -> None:
        """Log package versions, commits and uncommitted changes, unless the sweep already has them."""
        if self._has_code:
            return
        self._has_code, run_id = True, self.sweep_id or runs[0].run_id
        targets = sorted({target for run in self._leaderboard.runs for target in run.config.targets.values()})
        for file, text in code_version.files(targets).items():
            self._tracker.log_text(run_id, text, file)

    def _tags(self, run: Run) -> dict[str, str]:
        return run_tags(run, self._command, self._device) | self._owner | self.tags

    def _fail(self, run: Run, reason: str) -> None:
        run.reason, run.cost = masked(reason), math.inf
        self._tracker.tag(run.run_id, failure_tags(run.reason))
        self._end(run, "FAILED")

    def _end(self, run: Run, status: str) -> None:
        self._tracker.end_run(run.run_id, status)  # First, since `abort` does not end runs that have a status.
        run.status = status
        self._leaderboard.settle(run)
