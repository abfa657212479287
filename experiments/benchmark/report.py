"""Reports the results as Markdown tables, a figure, and runs in MLflow."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from experiments.benchmark.goals import Goal
from experiments.benchmark.process import PEERS
from experiments.benchmark.timing import Row, ratio, three_digits


def ratio_table(rows: Sequence[Row]) -> list[list[str]]:
    """Return each peer's time divided by the harness's, excluding start-up and compilation."""
    names = [name for name in PEERS if any(name in row.peers for row in rows)]
    lines = [["case", *(PEERS[name].label for name in names)]]
    for row in rows:
        timings = [row.peers.get(name) for name in names]
        ratios = [(ratio(timing, row.harness), timing and timing.measured_rows) for timing in timings]
        cells = ("-" if found is None else three_digits(found) + ("*" if scaled else "") for found, scaled in ratios)
        lines.append([row.case.name, *cells])
    return lines


def time_table(rows: Sequence[Row]) -> list[list[str]]:
    """Return the times of the harness and all peers, and the number of rows on which they were measured."""
    times = ("wall s", "start-up s", "compile s", "the rest s", "configuration-rows/s", "peak MB", "timed on")
    lines = [["case", "peer", *times]]
    for row in rows:
        for timing in (row.harness, *row.peers.values()):
            spans = map(str, (timing.wall, timing.startup, timing.compile, timing.work))
            timed = f"{timing.measured_rows:,} rows, scaled" if timing.measured_rows else "all"
            figures = [f"{timing.rate(row.case.task):,.0f}", f"{timing.peak_mb:,.0f}", timed]
            lines.append([row.case.name, PEERS[timing.name].label, *spans, *figures])
    return lines


def markdown(cells: list[list[str]]) -> str:
    """Return a table in Markdown; its first line is the header."""
    lines = [cells[0], ["---", *["---:"] * (len(cells[0]) - 1)], *cells[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines).replace("*", "\\*")


def draw(rows: Sequence[Row]) -> Figure:
    """Draw configuration-rows per second for one run and the sweep; open circles are scaled from the first rows."""
    shown = [row for row in rows if row.case.key in ("first", "sweep")]
    figure = Figure(figsize=(6.6 * max(len(shown), 1), 4.6), dpi=150, layout="constrained")
    for number, row in enumerate(shown):
        axis = figure.add_subplot(1, len(shown), number + 1)
        timings = sorted([row.harness, *row.peers.values()], key=lambda timing: timing.rate(row.case.task))
        for height, timing in enumerate(timings):
            rate, ours = timing.rate(row.case.task), timing.name == "harness"
            color, fill = "#D55E00" if ours else "#0072B2", "none" if timing.measured_rows else "full"
            axis.plot(rate, height, marker="D" if ours else "o", markersize=8, color=color, fillstyle=fill)
            text = f"{three_digits(rate / 1e6)} M/s"
            axis.annotate(text, (rate, height), (8, -3), textcoords="offset points", fontsize=8)
        axis.set_yticks(range(len(timings)), [PEERS[timing.name].label for timing in timings], fontsize=8)
        axis.set_xscale("log")
        axis.margins(x=0.25)
        axis.set_xlabel("configuration-rows per second (open circles: scaled)", fontsize=9)
        axis.set_title(row.case.name.replace(", chunk", "\nchunk").replace(", CSV", "\nCSV"), fontsize=9)
        axis.grid(color="#DDDDDD")
    return figure


def record(
    tags: Mapping[str, str], params: Mapping[str, str], rows: Sequence[Row], goals: Sequence[Goal], page: Path
) -> None:
    """Record a summary run with the page and its figure, and a run for each peer in each case."""
    from harness.tracking.tracker import Tracker
    from harness.tracking.uri import tracking_uri

    with Tracker(tracking_uri(), "benchmark") as tracker:
        sweep = tracker.start_run(tags["command"], dict(params), {"kind": "sweep", **tags})
        for case, timing in [(row, timing) for row in rows for timing in (row.harness, *row.peers.values())]:
            task = case.case.task
            settings = {"peer": timing.name, "case": case.case.key, "rows": task.rows, "runs": task.configurations}
            settings["timed_on_rows"] = timing.measured_rows or task.rows
            name = f"{PEERS[timing.name].label}: {case.case.name}"
            run = tracker.start_run(name, settings, {"kind": "run", "sweep": sweep, **tags})
            spans = {name: getattr(timing, name) for name in ("wall", "startup", "compile", "work")}
            metrics = {f"time/{name}_s": span.mid for name, span in spans.items()} | {"memory/peak_mb": timing.peak_mb}
            tracker.log(run, metrics | {"times_the_harness": ratio(timing, case.harness) or 0.0})
            tracker.end_run(run, "FINISHED")
        tracker.log(sweep, {metric_name(goal): goal.measured for goal in goals if goal.measured is not None})
        for file in filter(Path.exists, (page, page.with_suffix(".png"))):
            tracker.log_artifact(sweep, file)
        tracker.end_run(sweep, "FINISHED")


def metric_name(goal: Goal) -> str:
    """Return a name that MLflow accepts."""
    return f"goal/{re.sub(r'[^A-Za-z0-9_.:-]+', ' ', goal.what).strip()}"
