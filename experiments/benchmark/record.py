"""The results as runs in MLflow: a summary run, and a run for each peer in each case."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.benchmark.goals import Goal
from experiments.benchmark.process import PEERS
from experiments.benchmark.timing import Row, ratio

EXPERIMENT = "benchmark"


def record(
    command: str, versions: Mapping[str, str], machine: str, rows: Sequence[Row], goals: Sequence[Goal], page: Path
) -> None:
    """Record everything; the page and its figure become artifacts of the summary run."""
    from harness.tracking.tracker import Tracker
    from harness.tracking.uri import tracking_uri

    with Tracker(tracking_uri(), EXPERIMENT) as tracker:
        sweep = tracker.start_run(command, dict(versions), {"kind": "sweep", "command": command, "device": machine})
        for row, timing in [(case, timing) for case in rows for timing in (case.harness, *case.peers.values())]:
            task = row.case.task
            params = {"peer": timing.name, "case": row.case.key, "rows": task.rows, "runs": task.configurations}
            params["timed_on_rows"] = timing.measured_rows or task.rows
            name = f"{PEERS[timing.name].label}: {row.case.name}"
            run = tracker.start_run(name, params, {"kind": "run", "sweep": sweep, "device": machine})
            spans = {"wall": timing.wall, "startup": timing.startup, "compile": timing.compile, "work": timing.work}
            metrics = {f"time/{span}_s": value.mid for span, value in spans.items()}
            metrics |= {"memory/peak_mb": timing.peak_mb, "configuration_rows_per_second": timing.rate(task)}
            tracker.log(run, metrics | {"times_the_harness": ratio(timing, row.harness) or 0.0})
            tracker.end_run(run, "FINISHED")
        measured = {re.sub(r"[,/()]", " ", goal.what): goal.measured for goal in goals if goal.measured is not None}
        tracker.log(sweep, {f"goal/{' '.join(what.split())}": value for what, value in measured.items()})
        for file in (page, page.with_suffix(".png")):
            tracker.log_artifact(sweep, file)
        tracker.end_run(sweep, "FINISHED")
