"""Compares the harness with its peers: `make bench`, or `make bench BENCH='--rows 200000'` for a short trial.

docs/benchmark.md explains what is measured and how to read it. Results go to the terminal, to the MLflow experiment
`benchmark`, and to a dated page with a figure in experiments/benchmark/results/.
"""

import argparse
import os
import platform
import re
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import distributions
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown

from experiments.benchmark import report
from experiments.benchmark.goals import goals
from experiments.benchmark.images import image_goals, image_parts
from experiments.benchmark.kills import kill_parts
from experiments.benchmark.measure import Benchmark
from experiments.benchmark.search import search_goals, search_parts, search_task
from experiments.benchmark.servers import lacks_postgres
from experiments.benchmark.team import team_goals, team_parts
from experiments.benchmark.workers import worker_goals, worker_parts
from harness.runtime.cores import processor

ROWS = 20_000_000
RESULTS = Path(__file__).parent / "results"
SECTIONS = ("rows", "images", "searches", "team", "workers", "kills")
NOTES = "Times are seconds, medians with their range. docs/benchmark.md explains what is measured and how to read it."
PACKAGES = ("tensorflow", "keras", "pandas", "numpy", "polars", "jax", "scikit-learn", "vowpalwabbit")


def main(words: Sequence[str] | None = None) -> int:
    """Measure everything and report the results; return 1 if the harness failed in a case."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmark", description="Compare the training times of the harness and its peers."
    )
    parser.add_argument(
        "--rows", type=int, default=ROWS, help="number of rows in the large file (default: %(default)s)"
    )
    parser.add_argument("--repeats", type=int, default=3, help="number of repetitions (default: %(default)s)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the page and the figure")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS, help="what to measure (default: all)")
    parser.add_argument("--images", type=int, default=2000, help="images to decode (default: %(default)s)")
    parser.add_argument(
        "--most-images", type=int, default=100_000, help="images whose peak memory is measured (default: %(default)s)"
    )
    parser.add_argument("--trials", type=int, default=64, help="trials of a search (default: %(default)s)")
    words = sys.argv[1:] if words is None else words
    options = parser.parse_args(words)
    if options.rows < 20_000:
        parser.error("--rows: at least 20000 rows are needed")
    with tempfile.TemporaryDirectory() as folder:
        files = Path(tempfile.gettempdir())
        benchmark = Benchmark(options.rows, options.repeats, Path(folder), files, lambda line: print(line, flush=True))
        rows, parts = (benchmark.rows(), benchmark.parts()) if "rows" in options.only else ([], {})
        if "images" in options.only:
            with benchmark.noting_failure("images"):
                parts |= image_parts(options.images, options.most_images, options.repeats, files, benchmark.say)
        if "searches" in options.only:
            with benchmark.noting_failure("searches"):
                parts |= search_parts(benchmark.with_file(search_task(options.rows, options.trials)), benchmark.say)
        if "team" in options.only:
            if lacking := lacks_postgres():
                benchmark.remarks.append(f"a team's server: skipped, {lacking}")
            else:
                with benchmark.noting_failure("a team's server"):
                    parts |= team_parts(options.repeats, benchmark.say)
        if "workers" in options.only:
            with benchmark.noting_failure("workers"):
                parts |= worker_parts(benchmark.say)
        if "kills" in options.only:
            with benchmark.noting_failure("kills"):
                parts |= kill_parts(options.repeats, benchmark.say)
    reached = goals(rows, parts) if "rows" in options.only else []
    for section, goals_of in (
        ("images", image_goals),
        ("team", team_goals),
        ("searches", search_goals),
        ("workers", worker_goals),
    ):
        reached += goals_of(parts) if section in options.only else []
    machine, date = f"{processor()}, {os.cpu_count()} cores", time.strftime("%Y-%m-%d")
    name = " ".join([machine, date, *([] if options.only is SECTIONS else options.only)])
    page = options.results / f"{re.sub('[^a-z0-9]+', '-', name.lower())}.md"
    command = f"make bench BENCH='{shlex.join(words)}'" if words else "make bench"
    installed = {package.name: package.version for package in distributions()}
    versions = {"python": platform.python_version()}
    versions |= {name: installed.get(name, "not installed") for name in PACKAGES}
    tables = {
        "Times as long as the harness (\\* timed on the first rows and scaled)": report.ratio_table(rows),
        "Goals": [["goal", "wanted", "measured", "verdict"], *(goal.cells for goal in reached)],
        "Parts": [["part", "median (range)", "unit"], *([part[0], str(part[1]), part[2]] for part in parts.values())],
        "Times": report.time_table(rows),
    }
    paragraphs = [
        f"# {machine}, {date}",
        f"`{command}`, {', '.join(f'{name} {number}' for name, number in versions.items())}.",
        NOTES,
        *(f"- {remark}" for remark in benchmark.remarks),
        *(f"## {title}\n\n{report.markdown(cells)}" for title, cells in tables.items() if len(cells) > 1),
    ]
    shown = "\n\n".join(paragraphs)
    options.results.mkdir(parents=True, exist_ok=True)
    if rows:
        report.draw(rows).savefig(page.with_suffix(".png"))
        paragraphs.append(f"![Configuration-rows per second]({page.stem}.png)")
    page.write_text("\n\n".join(paragraphs) + "\n")
    report.record({"command": command, "device": machine}, versions, rows, reached, page)
    Console(width=max(150, Console().width)).print(Markdown(shown))
    print(f"written: {page}")
    return int(benchmark.failed)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # Also ends the peer that is running.
    sys.exit(main())
