"""Run the cases: the harness and its peers, results checked, all in one call."""

from __future__ import annotations

import contextlib
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from experiments.benchmark.cases import Case, cases, row_count, small_sweep, update_tasks
from experiments.benchmark.check import fault
from experiments.benchmark.process import PEERS, missing, run_peer
from experiments.benchmark.task import Outcome, Task
from experiments.benchmark.timing import Part, Row, Span, Timing, scaled, whole
from harness.data import synthetic_houses

TIMED_EPOCHS = 4
"""Scaled peers are timed on so many epochs: the first may compile, the others are repeated measurements."""
TIMED_ROWS = 1_000_000
"""Scaled peers are timed on at most so many rows."""
REFERENCE_UPDATES = 600_000
"""The reference takes about 20 microseconds per update; larger tasks are checked on their other results only."""


class Benchmark:
    """Measurements of one call. Outcomes are kept, since cases share them.

    Attributes:
        remarks: Peers that were skipped, results that were wrong, cases that failed.
        failed: A case or a part of the harness failed.
        device: Where the harness trained.
    """

    def __init__(self, rows: int, repeats: int, folder: Path, files: Path, say: Callable[[str], None]) -> None:
        """Prepare; nothing is measured yet.

        Args:
            rows: Rows of the large file; the small one has a tenth.
            repeats: Repetitions of each measurement.
            folder: Temporary folder for the harness.
            files: Folder of the CSVs, which are kept.
            say: Called with a line on what is being measured.
        """
        self._rows, self._repeats, self._folder, self._files, self._say = rows, repeats, folder, files, say
        self._kept: dict[tuple, list[Outcome]] = {}
        self._tables: dict[tuple, Path] = {}
        self.remarks: list[str] = []
        self.failed = False
        self.device = ""
        self._out = {name for name in PEERS if missing(name)}
        for name in sorted(self._out):
            self._remark(missing(name))

    def rows(self) -> list[Row]:
        """Measure all cases."""
        found = []
        for case in cases(self._rows):
            self._say(case.name)
            with self._failure_is_a_remark(case.name):
                found.append(self._row(case))
        return found

    def parts(self) -> dict[str, Part]:
        """Measure the components."""
        found = {}
        large = self._with_file(Task(self._rows)).columns_only()
        for name in ("parse_pandas", "parse_polars"):
            if name not in self._out:
                outcomes = self._once(name, [large] * self._repeats)
                seconds = Span.of(lap for outcome in outcomes for lap in outcome.laps)
                found[name] = Part(f"{PEERS[name].label}, {row_count(self._rows)}, 2 of 21 columns", seconds, "s")
        for task in update_tasks(self._rows):
            model = "from rows" if "runtime.gram=false" in task.options else "from matrices"
            lanes, features = task.configurations, len(task.features)
            what = f"update {model}: {lanes} lanes, chunk {task.chunks[0]}, {features} features"
            with self._failure_is_a_remark(what):
                (outcome,) = self._harness(task, fresh=False, repeats=1)
                each = Span.of(seconds / task.updates(task.chunks[0]) * 1e6 for seconds in outcome.epochs[1:])
                found[f"{model}/{lanes}/{task.chunks[0]}/{features}"] = Part(what, each, "us")
                lanes = max(outcome.figures["lanes"], found["lanes"].value.mid if "lanes" in found else 0)
                found["lanes"] = Part("lanes trained by one scan", Span.of([lanes]), "")
        with self._failure_is_a_remark("64 runs on few rows"):
            outcomes = self._harness(small_sweep(self._rows), fresh=False, repeats=self._repeats)
            beside = Span.of(outcome.figures["beside"] for outcome in outcomes)
            found["beside"] = Part("64 runs: composing, folders and MLflow", beside, "s")
        with self._failure_is_a_remark("peak memory"):
            (outcome,) = self._once("memory", [self._with_file(Task(self._rows // 10))])
            what = f"peak memory above `import tensorflow`, {outcome.figures['gigabytes']:.2g} GB of CSV"
            found["memory"] = Part(what, Span.of([outcome.figures["memory_mb"]]), "MB")
        return found

    def _row(self, case: Case) -> Row:
        """Measure a case.

        Raises:
            RuntimeError: The harness failed, or its result is wrong.
        """
        task = self._with_file(case.task)
        row = Row(replace(case, task=task), whole("harness", self._harness(task, case.fresh, self._repeats)))
        for name in case.peers:
            if name in self._out:
                continue
            try:
                row.peers[name] = self._peer(name, task)
            except RuntimeError as error:
                self._out.add(name)
                self._remark(f"not counted: {error}")
        return row

    def _with_file(self, task: Task) -> Task:
        """Return a task with its file, which is written if need be, and its columns' constants."""
        path = self._files / f"harness-bench-{task.rows}.csv"
        if not path.exists():
            self._say(f"writing {path}")
            synthetic_houses.generate(path, task.rows)
        task = replace(task, path=str(path))
        mean, std = (tuple(fit.weights) for fit in self._once("constants", [task.columns_only()])[0].fits)
        return replace(task, mean=mean, std=std)

    def _harness(self, task: Task, fresh: bool, repeats: int) -> list[Outcome]:
        """Run the harness, each time in a new process; `fresh` in a new folder each time, of which the last is kept."""
        task = self._with_file(task)
        key = (task.path, task.features)
        if not fresh and key not in self._tables:
            self._tables[key] = Path(tempfile.mkdtemp(dir=self._folder))
            run_peer("harness", [replace(task, folder=str(self._tables[key]), rates=task.rates[:1], stops=(1,))])
        outcomes = []
        for _ in range(repeats):
            if fresh:
                self._tables[key] = Path(tempfile.mkdtemp(dir=self._folder))
            outcomes += run_peer("harness", [replace(task, folder=str(self._tables[key]))])
        self._check("harness", [task] * repeats, outcomes)
        self.device = outcomes[0].device
        return outcomes

    def _peer(self, name: str, task: Task) -> Timing:
        """Run a peer on the whole task, or on its first rows."""
        peer, most = PEERS[name], min(task.rows, TIMED_ROWS)
        if peer.updates is None:
            tasks = [task] * self._repeats
        else:
            tasks = [
                replace(
                    task,
                    rows=most if isinstance(chunk, str) else min(peer.updates * chunk, most),
                    chunks=(chunk,),
                    rates=(0.01,),
                    stops=(TIMED_EPOCHS,),
                )
                for chunk in (task.chunks if peer.by_chunk else (100,))
            ]
        outcomes = self._once(name, tasks)
        self._check(name, tasks, outcomes)
        return whole(name, outcomes) if peer.updates is None else scaled(name, task, outcomes)

    def _once(self, name: str, tasks: Sequence[Task]) -> list[Outcome]:
        """Run tasks in one process, unless that was done before."""
        key = (name, *tasks)
        if key not in self._kept:
            self._say(f"    {PEERS[name].label}")
            self._kept[key] = run_peer(name, tasks)
        return self._kept[key]

    def _check(self, name: str, tasks: Sequence[Task], outcomes: Sequence[Outcome]) -> None:
        """Compare results with the reference.

        Raises:
            RuntimeError: One is wrong.
        """
        for task, outcome in zip(tasks, outcomes, strict=True):
            known = replace(task, stops=task.stops[:1], rates=task.rates[:: -(-len(task.rates) // 8)], options=())
            if statistics.fsum(known.passes * known.updates(chunk) for chunk in known.chunks) > REFERENCE_UPDATES:
                known = replace(known, chunks=())
            if wrong := fault(name, task, outcome, self._once("reference", [known])[0]):
                raise RuntimeError(wrong)

    @contextlib.contextmanager
    def _failure_is_a_remark(self, what: str):
        try:
            yield
        except RuntimeError as error:
            self.failed = True
            self._remark(f"failed: {what}: {error}")

    def _remark(self, line: str) -> None:
        self.remarks.append(line)
        self._say(line)
