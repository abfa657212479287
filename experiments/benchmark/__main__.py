"""Measure the harness beside its peers.

    make bench                               20 million rows, about a quarter of an hour
    make bench BENCH='--rows 200000'         a short trial; its figures mean nothing

docs/benchmark.md says what is measured and how to read it. Results go to the terminal, to the MLflow experiment
`benchmark`, and to a dated page with a figure in experiments/benchmark/results/.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich.console import Console

from experiments.benchmark import tables
from experiments.benchmark.figure import draw
from experiments.benchmark.goals import goals
from experiments.benchmark.measure import Benchmark
from experiments.benchmark.record import record

ROWS = 20_000_000
RESULTS = Path(__file__).parent / "results"
NOTES = """\
Times are seconds, medians with their range. Start-up is imports and the creation of an MLflow store; the rest includes
composing, reading, training and records. Rates include everything; ratios leave start-up and compilation out. Linear
models of the harness train from the chunks' Gram matrices (runtime.gram), its peers from the rows. Peers get the
scaling constants, the harness computes them. docs/benchmark.md has the details."""
PACKAGES = ("tensorflow", "keras", "pandas", "numpy", "polars", "jax", "scikit-learn", "vowpalwabbit")


def main(words: Sequence[str] | None = None) -> int:
    """Measure and report; return 1 if the harness failed in a case."""
    parser = argparse.ArgumentParser(prog="python -m experiments.benchmark", description="Time the harness and peers.")
    parser.add_argument("--rows", type=int, default=ROWS, help="rows of the large file (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="repetitions (default: %(default)s)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the page and the figure")
    options = parser.parse_args(words)
    if options.rows < 20_000:
        parser.error("--rows: at least 20000 rows are needed")
    started = time.strftime("%Y-%m-%d")
    command = "make bench" if options.rows == ROWS else f"make bench BENCH='--rows {options.rows}'"
    with tempfile.TemporaryDirectory() as folder:
        files = Path(tempfile.gettempdir())
        benchmark = Benchmark(options.rows, options.repeats, Path(folder), files, lambda line: print(line, flush=True))
        rows, parts = benchmark.rows(), benchmark.parts()
    reached, versions = goals(rows, parts), package_versions()
    machine = f"{processor_name()}, {os.cpu_count()} cores"
    found = {
        "Times as long as the harness (* timed on the first rows and scaled)": tables.ratio_table(rows),
        "Goals": [["goal", "wanted", "measured", ""], *(goal.cells for goal in reached)],
        "Parts": [["part", "median (range)", "unit"], *([part[0], str(part[1]), part[2]] for part in parts.values())],
        "Times": tables.time_table(rows),
    }
    console = Console(width=max(150, Console().width))
    console.print(f"{machine}, {started}", NOTES, *benchmark.remarks, sep="\n", markup=False, highlight=False)
    for title, cells in found.items():
        tables.show(title, cells, console)
    page = options.results / f"{re.sub('[^a-z0-9]+', '-', machine.lower())}_{started.replace('-', '')}.md"
    text = [
        f"# {machine}, {started}",
        f"`{command}`, {', '.join(f'{name} {number}' for name, number in versions.items())}.",
        NOTES,
        *(f"- {remark}" for remark in benchmark.remarks),
        *(f"## {title}\n\n{tables.markdown(cells)}" for title, cells in found.items()),
        f"![Configuration-rows per second]({page.stem}.png)\n",
    ]
    options.results.mkdir(parents=True, exist_ok=True)
    page.write_text("\n\n".join(text))
    draw(rows).savefig(page.with_suffix(".png"))
    record(command, versions, machine, rows, reached, page)
    console.print(f"written: {page}", markup=False, highlight=False)
    return int(benchmark.failed)


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that take part."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def processor_name() -> str:
    """Return the processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # Ends the peer that is running, too.
    sys.exit(main())
