"""How fast is the harness, against what else one could take, and against the limits of the machine?

    make bench                 2 and 20 million rows
    BENCH=full make bench      200 million rows too, 100 epochs: 26 GB in the folder for temporary files, and hours
    BENCH=tiny make bench      shows that it works; its figures mean nothing

Each peer works in a process of its own, on the same file, columns, scaled values, chunk sizes and, where it has one,
optimizer; its result is checked before its time counts. Those that would take hours are timed on the first rows and
scaled, which is marked. Times are medians of repeated measurements, with their range, and ratios are of one call. All
rows are trained on, none held out. Start-up is imports and MLflow's first contact; the rest has everything else in it:
composing, reading, training and the records.

Results are runs in the MLflow experiment `throughput`, a table, and a dated file and figure in experiments/throughput.
"""

from __future__ import annotations

import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from rich.console import Console

from experiments.peers import written
from experiments.peers.cases import SIZES, Sizes
from experiments.peers.goals import goals
from experiments.peers.process import ENVIRONMENT, PEERS
from experiments.peers.rounds import Rounds, Row
from experiments.peers.standing import Goal, Standing, ratio
from harness.errors import ConfigError, require
from harness.tracking.uri import tracking_uri

RESULTS = Path(__file__).with_suffix("")
EXPERIMENT = "throughput"
NOTES = """\
Times are seconds, medians with their range. Start-up is imports and MLflow's first contact; the rest has composing,
reading, training and the records in it. Rates have everything in them. Ratios leave start-up and compilation out.
When a clock starts the file is in the system's cache, if half of the memory has room for it.
Linear models of the harness step by the chunks' Gram matrices (runtime.gram), its peers take the rows.
Peers train on values scaled by constants that they are given; the harness takes them from the data. Runs that differ
in epochs only are one lane in JAX as in the harness. scikit-learn and Vowpal Wabbit have no Adam and update each row
by rules of their own; they were checked by the loss that they came to, the others by their weights, of long runs and
of many rates those of a part."""


def main(size: str = "", results: Path = RESULTS) -> int:
    """Measure, and tell of it everywhere; return the exit code, which is 1 if a case failed."""
    require(size in SIZES, f"BENCH expected nothing or one of {', '.join(filter(None, SIZES))}", size)
    sizes = SIZES[size]
    started = time.strftime("%Y-%m-%d")
    with tempfile.TemporaryDirectory() as folder:
        rounds = Rounds(sizes, Path(folder), Path(tempfile.gettempdir()), lambda line: print(line, file=sys.stderr))
        rows = rounds.all()
    parts, figures = measure_parts(sizes)
    reached = goals(rows, figures)
    processor = processor_name()
    machine = f"{processor}, {os.cpu_count()} cores, {rounds.device}"
    remarks = rounds.remarks + device_remarks(rows, rounds.device)
    tables = {
        "The harness": written.measured(rows),
        "Times as long as the harness (* timed on a part and scaled)": written.against_peers(rows),
        "The harness, in multiples of the least time that a limit leaves": written.against_limits(rows),
        "Goals": written.wanted(reached),
    }
    console = Console(width=max(150, Console().width))
    console.print(f"{machine}, {started}", NOTES, *remarks, parts, sep="\n", markup=False, highlight=False)
    for title, cells in tables.items():
        written.show(title, cells, console)
    tables["All, as measured"] = written.peers(rows)
    text = "\n\n".join(
        [
            f"# {machine}, {started}",
            f"`{command(size)}`, {versions()}.",
            NOTES,
            *([f"- {line}" for line in remarks]),
            *(f"## {title}\n\n{written.markdown(cells)}" for title, cells in tables.items()),
            f"## Single parts\n\n```\n{parts.rstrip()}\n```",
        ]
    )
    name = f"{re.sub('[^a-z0-9]+', '-', machine.lower()).strip('-')}_{time.strftime('%Y%m')}"
    results.mkdir(exist_ok=True)
    path = results / f"{name}{f'_{size}' if size else ''}.md"
    path.write_text(f"{text}\n\n![Configuration-rows a second]({path.stem}.png)\n")
    written.figure(rows).savefig(path.with_suffix(".png"))
    record(size, rows, reached, [path, path.with_suffix(".png")], machine)
    console.print(f"written: {path}", markup=False, highlight=False)
    return int(any(line.startswith("failed: ") for line in remarks))


def measure_parts(sizes: Sizes) -> tuple[str, dict[str, float]]:
    """Measure single parts of the harness; return the table and the figures that goals ask for."""
    if not sizes.gigabytes:
        return "", {}
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "figures.json"
        words = [sys.executable, "-m", "experiments.parts", str(result), *map(str, sizes.gigabytes)]
        done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT | os.environ)
        return done.stdout, json.loads(result.read_text())


def device_remarks(rows: Sequence[Row], device: str) -> list[str]:
    """Say what `device=auto` is worth, as measured here, or that it was not."""
    if not device.startswith("GPU"):
        return ["No GPU: nothing here was measured on one."]
    found = {row.case.key: row.ours.work.mid for row in rows}
    lines = []
    for model in ("linear", "network"):
        times = {kind: found[f"{model} {kind}"] for kind in ("cpu", "gpu", "auto")}
        best = min(("cpu", "gpu"), key=lambda kind: times[kind])
        took = ", ".join(f"{kind} {seconds:.3g} s" for kind, seconds in times.items())
        lines.append(
            f"device=auto on {device}, {model}: {took}; auto takes {times['auto'] / times[best]:.2f} of the best."
        )
    return lines


def record(size: str, rows: Sequence[Row], reached: Sequence[Goal], files: Sequence[Path], machine: str) -> None:
    """Record a summary run, and a run for everyone in every row."""
    os.environ.update(ENVIRONMENT)
    from harness.tracking.tracker import Tracker

    with Tracker(tracking_uri(), EXPERIMENT) as tracker:
        tags = {"kind": "sweep", "command": command(size), "device": machine}
        sweep = tracker.start_run(command(size), {"size": size or "default", **dict(sorted(packages().items()))}, tags)
        for row in rows:
            for standing in (row.ours, *row.peers.values()):
                run = tracker.start_run(
                    f"{PEERS[standing.name].label}: {row.case.name}",
                    parameters(row, standing),
                    {"kind": "run", "sweep": sweep, "device": machine},
                )
                tracker.log(run, metrics(row, standing))
                tracker.end_run(run, "FINISHED")
        measured = {goal.what.replace(",", "").replace("/", " "): goal.measured for goal in reached}
        tracker.log(sweep, {f"goal/{what}": value for what, value in measured.items() if value is not None})
        for file in files:
            tracker.log_artifact(sweep, file)
        tracker.end_run(sweep, "FINISHED")


def parameters(row: Row, standing: Standing) -> dict[str, object]:
    """Return what a run of the table was."""
    task = row.case.task
    return {
        "peer": standing.name,
        "rows": task.rows,
        "features": len(task.features),
        "units": list(task.units),
        "chunksize": ",".join(map(str, task.chunks)),
        "learning_rate": ",".join(f"{rate:g}" for rate in task.rates),
        "epochs": ",".join(map(str, task.stops)),
        "configurations": task.configurations,
        "table": "not there" if row.case.fresh else "there",
        "timed_on_rows": standing.measured_rows or task.rows,
    }


def metrics(row: Row, standing: Standing) -> dict[str, float]:
    """Return what a run of the table came to."""
    spans = {"wall": standing.wall, "startup": standing.startup, "compile": standing.compile, "work": standing.work}
    found = {f"time/{name}_s": span.mid for name, span in spans.items()}
    found |= {"time/work_low_s": standing.work.low, "time/work_high_s": standing.work.high}
    found |= {"memory/peak_mb": standing.peak_mb, "configuration_rows_per_second": standing.rate(row.case.task)}
    found["rows_per_second"] = row.case.task.passes * row.case.task.rows / standing.wall.mid
    found["times_the_harness"] = ratio(standing, row.ours) or 0.0
    return found | {f"limit/{name}": standing.work.mid / least for name, least in row.least.items()}


def command(size: str) -> str:
    """Return what repeats it."""
    return f"BENCH={size} make bench" if size else "make bench"


def packages() -> dict[str, str]:
    """Return the versions of who takes part."""
    found = {"python": platform.python_version()}
    for name in ("tensorflow", "keras", "pandas", "numpy", "polars", "jax", "scikit-learn", "vowpalwabbit"):
        try:
            found[name] = version(name)
        except ModuleNotFoundError:
            found[name] = "not installed"
    return found


def versions() -> str:
    """Return them as a person reads them."""
    return ", ".join(f"{name} {number}" for name, number in packages().items())


def processor_name() -> str:
    """Return what the machine calls its processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # So that the peer that is at work ends, too.
    try:
        sys.exit(main(os.environ.get("BENCH", "")))
    except ConfigError as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(2)
