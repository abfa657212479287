"""The results as runs in MLflow: a summary run, and a run for each peer in each case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.benchmark.goals import Goal
from experiments.benchmark.process import PEERS
from experiments.benchmark.timing import Row, Timing, ratio

EXPERIMENT = "benchmark"


def record(
    command: str, versions: Mapping[str, str], machine: str, rows: Sequence[Row], goals: Sequence[Goal], page: Path
) -> None:
    """Record everything; `page` and its figure become artifacts of the summary run."""
    from harness.tracking.tracker import Tracker
    from harness.tracking.uri import tracking_uri

    with Tracker(tracking_uri(), EXPERIMENT) as tracker:
        tags = {"kind": "sweep", "command": command, "device": machine}
        sweep = tracker.start_run(command, dict(versions), tags)
        for row in rows:
            for timing in (row.harness, *row.peers.values()):
                run = tracker.start_run(
                    f"{PEERS[timing.name].label}: {row.case.name}",
                    _params(row, timing),
                    {"kind": "run", "sweep": sweep, "device": machine},
                )
                tracker.log(run, _metrics(row, timing))
                tracker.end_run(run, "FINISHED")
        names = {goal.what.replace(",", "").replace("/", " ").replace(":", ""): goal.measured for goal in goals}
        tracker.log(sweep, {f"goal/{name}": value for name, value in names.items() if value is not None})
        for file in (page, page.with_suffix(".png")):
            tracker.log_artifact(sweep, file)
        tracker.end_run(sweep, "FINISHED")


def _params(row: Row, timing: Timing) -> dict[str, object]:
    task = row.case.task
    return {
        "peer": timing.name,
        "rows": task.rows,
        "features": len(task.features),
        "units": list(task.units),
        "chunksize": ",".join(map(str, task.chunks)),
        "learning_rate": ",".join(f"{rate:g}" for rate in task.rates),
        "epochs": ",".join(map(str, task.stops)),
        "configurations": task.configurations,
        "table": "not there" if row.case.fresh else "there",
        "timed_on_rows": timing.measured_rows or task.rows,
    }


def _metrics(row: Row, timing: Timing) -> dict[str, float]:
    spans = {"wall": timing.wall, "startup": timing.startup, "compile": timing.compile, "work": timing.work}
    found = {f"time/{name}_s": span.mid for name, span in spans.items()}
    found |= {"time/work_low_s": timing.work.low, "time/work_high_s": timing.work.high}
    found |= {"memory/peak_mb": timing.peak_mb, "configuration_rows_per_second": timing.rate(row.case.task)}
    return found | {"times_the_harness": ratio(timing, row.harness) or 0.0}
