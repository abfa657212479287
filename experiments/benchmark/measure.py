"""Runs all cases with the harness and its peers in one call, and checks the results."""

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.benchmark.cases import RATES, Case, cases
from experiments.benchmark.peers.reference import fault
from experiments.benchmark.process import PEERS, missing, run_peer
from experiments.benchmark.task import FULL, Outcome, Task
from experiments.benchmark.timing import Part, Row, Timing, span, timing
from harness.data import synthetic_houses

TIMED_EPOCHS = 4  # For scaled peers: the first may include compilation, the others are repeated measurements.
TIMED_ROWS = 1_000_000  # Maximum number of rows on which scaled peers are timed.
REFERENCE_UPDATES = 600_000  # The reference takes 20 microseconds per update; longer tasks are not compared with it.
UPDATES = ((1, 100), (1, 1000), (64, 100), (64, 1000), (1024, 100))  # Lanes and chunk size.
ONE_THREAD_FROM_ROWS = ("runtime.gram=false", "runtime.workers=1", "tracking.log_model=none")


class Benchmark:
    """The measurements of one call. Outcomes are kept because several cases use them.

    `remarks` lists skipped peers, wrong results and failed cases; `failed` means that the harness failed.
    """

    def __init__(self, rows: int, repeats: int, folder: Path, files: Path, say: Callable[[str], None]) -> None:
        """Prepare. The harness works in `folder`; the CSVs stay in `files`; progress lines are passed to `say`."""
        self._rows, self._repeats, self._folder, self._files, self.say = rows, repeats, folder, files, say
        self._kept: dict[tuple, list[Outcome]] = {}
        self._known: dict[tuple, dict[str, Any]] = {}
        self._tables: dict[tuple, Path] = {}
        self.remarks: list[str] = []
        self.failed = False
        self._out = {name for name in PEERS if missing(name)}
        for name in sorted(self._out):
            self._remark(missing(name))

    def rows(self) -> list[Row]:
        """Measure all cases."""
        found = []
        for case in cases(self._rows):
            self.say(case.name)
            with self.noting_failure(case.name):
                found.append(self._row(case))
        return found

    def parts(self) -> dict[str, Part]:
        """Measure the components."""
        found: dict[str, Part] = {}
        outcomes = self._once("parse_pandas", [self.with_file(Task(self._rows))] * self._repeats)
        seconds = span(lap for outcome in outcomes for lap in outcome.laps)
        found["parse_pandas"] = Part(f"bare parse, pandas, {self._rows:,} rows, 2 of 21 columns", seconds)
        for runs, chunk in UPDATES:
            rates = tuple(0.001 + 0.0001 * lane for lane in range(runs))
            task = Task(self._rows // 10, (chunk,), rates, (4,), options=ONE_THREAD_FROM_ROWS)
            what = f"update from rows, one thread: {runs} lanes, chunk {chunk}"
            with self.noting_failure(what):
                (outcome,) = self._harness(task, fresh=False, repeats=1)
                each = span(seconds / task.updates(chunk) * 1e6 for seconds in outcome.epochs[1:])
                found[f"update/{runs}/{chunk}"] = Part(what, each, "us")
                found["lanes"] = Part("lanes trained by one scan", span([outcome.figures["lanes"]]), "")
        with self.noting_failure("64 runs on few rows"):
            small = Task(max(2000, self._rows // 1000), (100, 500, 1000, FULL), RATES, (5, 10, 15, 20))
            outcomes = self._harness(small, fresh=False, repeats=self._repeats)
            beside = span(outcome.figures["beside"] for outcome in outcomes)
            found["beside"] = Part("64 runs: composing, folders and MLflow", beside)
        with self.noting_failure("checksums"):
            outcomes = self._once("checksums", [self.with_file(Task(self._rows))] * self._repeats)
            for key, beside in (("of_ingest", "ingesting"), ("of_reading", "reading and scaling")):
                shares = span(outcome.figures[key] for outcome in outcomes)
                found[f"checksums/{key}"] = Part(f"checksums of pages, relative to {beside}", shares, "%")
        with self.noting_failure("peak memory"):
            figures = self._once("memory", [self.with_file(Task(self._rows))])[0].figures
            what = f"peak memory above `import tensorflow`, {figures['gigabytes']:.2g} GB of CSV"
            found["memory"] = Part(what, span([figures["memory_mb"]]), "MB")
        return found

    def _row(self, case: Case) -> Row:
        task = self.with_file(case.task)
        row = Row(case, timing("harness", task, self._harness(task, case.fresh, self._repeats)), {})
        for name in (name for name in case.peers if name not in self._out):
            try:
                row.peers[name] = self._peer(name, task)
            except RuntimeError as error:
                self._out.add(name)
                self._remark(f"not counted: {error}")
        return row

    def with_file(self, task: Task) -> Task:
        """Return a task with its file, which is created if necessary, and the means and standard deviations."""
        key = (task.rows, task.columns)
        if key not in self._known:
            path = self._files / f"harness-bench-{task.rows}.csv"
            if not path.exists():
                self.say(f"writing {path}")
                synthetic_houses.generate(path, task.rows)
            values = pd.read_csv(path, usecols=task.columns)[list(task.columns)].to_numpy(np.float64)
            mean, std = (tuple(each.tolist()) for each in (values.mean(axis=0), values.std(axis=0)))
            self._known[key] = {"path": str(path), "mean": mean, "std": std}
        return replace(task, **self._known[key])

    def _harness(self, task: Task, fresh: bool, repeats: int) -> list[Outcome]:
        """Run the harness in a new process each time and, if `fresh`, in a new folder; the last folder is kept."""
        task, outcomes = self.with_file(task), []
        key = (task.rows, task.columns)
        if not fresh and key not in self._tables:
            self._tables[key] = Path(tempfile.mkdtemp(dir=self._folder))
            run_peer("harness", [replace(task, folder=str(self._tables[key]), rates=(0.01,), stops=(1,))])
        for _ in range(repeats):
            if fresh:
                shutil.rmtree(self._tables.get(key, ""), ignore_errors=True)
                self._tables[key] = Path(tempfile.mkdtemp(dir=self._folder))
            outcomes += run_peer("harness", [replace(task, folder=str(self._tables[key]))])
        self._check("harness", [task] * repeats, outcomes)
        return outcomes

    def _peer(self, name: str, task: Task) -> Timing:
        """Time a peer on the whole task, or on its first rows."""
        peer, most = PEERS[name], min(task.rows, TIMED_ROWS)
        tasks = [task] * self._repeats
        if peer.updates:
            part = replace(task, rates=(0.01,), stops=(TIMED_EPOCHS,))
            chunks = task.chunks if peer.by_chunk else (100,)
            tasks = [replace(part, rows=min(peer.updates * part.size(c), most), chunks=(c,)) for c in chunks]
        outcomes = self._once(name, tasks)
        self._check(name, tasks, outcomes)
        return timing(name, task, outcomes)

    def _once(self, name: str, tasks: Sequence[Task]) -> list[Outcome]:
        """Run tasks in one process, unless they have been run before."""
        key = (name, *tasks)
        if key not in self._kept:
            self.say(f"    {PEERS[name].label}")
            self._kept[key] = run_peer(name, tasks)
        return self._kept[key]

    def _check(self, name: str, tasks: Sequence[Task], outcomes: Sequence[Outcome]) -> None:
        """Compare results with the reference where it exists: for the first stop, and for eight rates.

        Raises:
            RuntimeError: A result is wrong.
        """
        for task, outcome in zip(tasks, outcomes, strict=True):
            known = replace(task, stops=task.stops[:1], rates=task.rates[:: -(-len(task.rates) // 8)], options=())
            if known.stops[0] * sum(map(known.updates, known.chunks)) > REFERENCE_UPDATES:
                known = replace(known, chunks=())
            if wrong := fault(name, task, outcome, self._once("reference", [known])[0]):
                raise RuntimeError(wrong)

    @contextlib.contextmanager
    def noting_failure(self, what: str) -> Iterator[None]:
        """Add a remark that `what` failed, instead of ending the benchmark."""
        try:
            yield
        except RuntimeError as error:
            self.failed = True
            self._remark(f"failed: {what}: {error}")

    def _remark(self, line: str) -> None:
        self.remarks.append(line)
        self.say(line)
