"""A sweep's summary run: timings, system metrics, and a note on the results."""

from __future__ import annotations

import resource
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlflow.entities import Run as Record

from harness.analysis.report import PAGE
from harness.config import TrackingConfig
from harness.config.naming import sweep_name
from harness.escaping import markdown, markdown_code, visible
from harness.formatting import count
from harness.runtime.secrets import masked
from harness.sweep.identity import sweep_signature
from harness.sweep.plan import Run
from harness.sweep.publish import FOLDER
from harness.sweep.summary_state import MEAN, RunResult, SummaryState
from harness.tracking.pages import run_page
from harness.tracking.run_tags import SEARCH
from harness.tracking.system_metrics import SystemMonitor
from harness.tracking.tracker import Tracker

MAX_FAILURES = 20  # Maximum number of failed runs to list by name.


class Summary:
    """The summary run of the sweep in a folder; later calls with the same folder continue it."""

    def __init__(
        self,
        tracker: Tracker,
        command: str,
        folder: Path,
        signatures: Sequence[str],
        record: Record | None,
        owner: Mapping[str, str],
        labels: TrackingConfig | None,
        search: str,
    ) -> None:
        """Start the summary run, or continue that of an earlier call: the one in the folder, or else `record`.

        `labels` contains the sweep's name, note and tags. The sweep's signature is that of its `search`, if there is
        one, or else is computed from the signatures of its runs.
        """
        self._search = search
        labels = labels or TrackingConfig()
        self._note = labels.note or ""
        self._tracker, self._command, self._folder = tracker, command, folder
        self._start = time.monotonic()
        self._monitor: SystemMonitor | None = None
        self.state = SummaryState.read(folder, tracker.say)
        if not self.state.run_id and record:
            self.state = _state_of(record)
        self.is_continued = bool(self.state.run_id)
        if self.is_continued:
            tracker.resume_run(self.state.run_id, owner)
            tracker.tag(self.state.run_id, labels.tags | ({"mlflow.runName": labels.name} if labels.name else {}))
        else:
            own = {"kind": "sweep", "command": command, "signature": search or sweep_signature(signatures), **owner}
            own |= {SEARCH: search} if search else {}
            self.state.started = time.time()
            self.state.run_id = tracker.start_run(labels.name or sweep_name(command), {}, labels.tags | own)
        self.state.signatures = list(dict.fromkeys([*self.state.signatures, *signatures]))
        # The step of the summary's metrics is the number of the call, so no step is recorded twice.
        self.state.calls += 1
        tracker.tag(self.state.run_id, {"calls": str(self.state.calls)})
        self.state.write(folder)

    @property
    def run_id(self) -> str:
        """The summary run's id in MLflow."""
        return self.state.run_id

    @property
    def seconds(self) -> dict[str, float]:
        """Time spent so far, by activity."""
        wall = self.state.seconds.get("wall", 0.0) + time.monotonic() - self._start
        return self.state.seconds | {"wall": wall}

    def restore(self, seconds: Mapping[str, float], best: float | None) -> None:
        """Return to an earlier state: the time spent and the score of the best run logged by then."""
        if best != self.state.best:
            self.state.best_run = ""
        self.state.seconds, self.state.best = dict(seconds), best
        self._start = time.monotonic()

    def add(self, runs: Sequence[Run]) -> None:
        """Add runs to the sweep."""
        new = {run.signature for run in runs} - set(self.state.signatures)
        data = list(dict.fromkeys([*self.state.data, *map(_describe_data, runs)]))
        if not new and data == self.state.data:  # Tasks add their runs again, one task after another.
            return
        self.state.signatures += sorted(new)
        self.state.data = data
        self.state.write(self._folder)
        if new and not self._search:
            self._tracker.tag(self.run_id, {"signature": sweep_signature(self.state.signatures)})

    def monitor(self) -> None:
        """Record system metrics until the end."""

        def log(metrics: Mapping[str, float]) -> None:
            # The step is the time since the sweep started, so that no step is recorded twice.
            self.state.sampled = max(self.state.sampled + 1, int(time.time() - self.state.started))
            self._tracker.log(self.run_id, metrics, self.state.sampled)

        if not self._monitor:
            self._monitor = SystemMonitor(log)
            self._tracker.stop_first(self._monitor.stop)

    def add_seconds(self, seconds: Mapping[str, float]) -> None:
        """Add the time that a scan took, by activity."""
        add_up(self.state.seconds, seconds)

    def end(self, results: Sequence[RunResult], status: str = "") -> None:
        """Record the times and the note, and end the run; without a `status`, it fails if any run has failed."""
        state = self.state
        state.runs = [*{run.run_id: run for run in [*state.runs, *results]}.values()]
        if self._monitor:
            self._monitor.stop()
            state.seconds = self.seconds
        state.write(self._folder)
        if self._monitor:
            metrics = {f"time/{name}_s": seconds for name, seconds in state.seconds.items()}
            metrics["memory/peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            self._tracker.log(self.run_id, metrics, state.calls - 1)
        note = "\n\n".join(filter(None, (self._note, _note(state, self._command, self._tracker.experiment_id))))
        self._tracker.tag(self.run_id, {"mlflow.note.content": note})
        failed = any(run.reason for run in state.runs)
        self._tracker.end_run(self.run_id, status or ("FAILED" if failed else "FINISHED"))


def add_up(total: dict[str, float], seconds: Mapping[str, float]) -> None:
    """Add times by activity to those in `total`."""
    for name, value in seconds.items():
        total[name] = total.get(name, 0.0) + value


def _state_of(record: Record) -> SummaryState:
    seconds = {
        key.removeprefix("time/").removesuffix("_s"): value
        for key, value in record.data.metrics.items()
        if key.startswith("time/")
    }
    calls = int(record.data.tags.get("calls", 1))
    started = record.info.start_time / 1000
    sampled = int(time.time() - started) + calls  # Calls shorter than a second have one sample each.
    return SummaryState(record.info.run_id, seconds=seconds, calls=calls, started=started, sampled=sampled)


def _describe_data(run: Run) -> str:
    features = [markdown(column.name) for column in run.table.features]
    target = " and ".join(markdown(column.name) for column in run.table.targets)
    some = ", ".join(features[:5]) + (f" and {len(features) - 5} more" if len(features) > 5 else "")
    test = f", {run.table.test_rows:,} test rows" if run.table.test_rows else ""
    name = visible(run.table.name).replace("`", "'")
    return (
        f"`{name}`: {target} from {some}; "
        f"{run.table.train_rows:,} training rows, {run.table.holdout_rows:,} holdout rows{test}."
    )


def _note(state: SummaryState, command: str, experiment_id: str) -> str:
    """Return the best runs, the data, the failures and the command as Markdown; MLflow shows only the start at first.

    There are no tables, because MLflow renders them without space between columns.
    """

    def link(run: RunResult) -> str:
        return f"[{markdown(run.name)}]({run_page(experiment_id, run.run_id)})"

    parts: list[str] = []
    best: list[str] = []
    finished = [run for run in state.runs if run.score is not None]
    finished.sort(key=lambda run: (run.lost > 0, run.score))
    for sample, title in (("batch", "batch run"), ("full", "full-sample run")):
        if run := next((run for run in finished if run.sample == sample), None):
            values = [f"{key} {value:,.6g}" for key, value in run.metrics.items()]
            first = " (the link is to the first of them, whose model is logged)" if MEAN in run.name else ""
            facts = [*values, count(run.updates, "update")]
            facts += [f"{count(run.lost, 'other run')} of this setting did not finish"] if run.lost else []
            best.append(f"- Best {title}: {link(run)}{first}, {', '.join(facts)}")
    if best:
        report = run_page(experiment_id, state.run_id, f"artifacts/{FOLDER}/{PAGE}")
        parts.append("\n".join([*best, f"- [Report]({report})"]))
    parts += state.data
    failed = [f"- {link(run)}: {markdown(run.reason.partition(chr(10))[0])}" for run in state.runs if run.reason]
    if failed:
        more = [f"- and {len(failed) - MAX_FAILURES} more"] if len(failed) > MAX_FAILURES else []
        title = f"{len(failed)} of {len(state.runs)} runs failed:\n"
        parts.append("\n".join([title, *failed[:MAX_FAILURES], *more]))
    return "\n\n".join([*parts, markdown_code(masked(command))])
