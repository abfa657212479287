"""Measure cases: the harness and its peers, results checked, and the machine's limits, in one call."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from experiments.peers.cases import Case, Sizes, cases, gpu_cases
from experiments.peers.process import PEERS, measure, missing
from experiments.peers.standing import Limits, Span, Standing, fault, scaled, whole
from experiments.peers.task import Outcome, Task
from harness.data import synthetic_houses

PASSES = 4
"""Epochs that a peer is timed on: the first may compile, the others are repeated measurements."""
MOST_UPDATES = 600_000
"""Of the reference, which takes some 20 microseconds for each; longer results are compared at their first stop."""
MOST_RATES = 8
"""Of the reference, spread over those of a task, since it keeps the errors of all rows at each rate."""


@dataclass
class Row:
    """A case, measured.

    Attributes:
        case: Of the harness.
        ours: How the harness stands.
        peers: By name; those that are missing or wrong are left out.
        least: Seconds that each limit leaves, by its name.
    """

    case: Case
    ours: Standing
    peers: dict[str, Standing] = field(default_factory=dict)
    least: dict[str, float] = field(default_factory=dict)


class Rounds:
    """Measurements of one call, kept for whoever asks twice."""

    def __init__(self, sizes: Sizes, folder: Path, files: Path, say: Callable[[str], None]) -> None:
        """Measure nothing yet.

        Args:
            sizes: How much.
            folder: Where the harness works; what it leaves there is not kept.
            files: Where CSVs lie, for the next time too.
            say: Called with a line of what is under way, and with what is left out.
        """
        self._sizes, self._folder, self._files, self._say = sizes, folder, files, say
        self._kept: dict[tuple, list[Outcome]] = {}
        self._there: dict[tuple, Path] = {}
        self.device = ""
        self.remarks: list[str] = []
        self._out = {name for name in PEERS if missing(name)}
        for name in sorted(self._out):
            self._remark(missing(name))

    def all(self) -> list[Row]:
        """Measure every case; those of a GPU where there is one."""
        found = cases(self._sizes)
        for name, peer in PEERS.items():
            if peer.updates:
                tasks = [self._ready(case.task) for case in found if name in case.peers]
                self._try(name, self._measure_new, name, [part for task in tasks for part in self._parts(name, task)])
        rows = self._rows(found)
        return rows + self._rows(gpu_cases(self._sizes)) if self.device.startswith("GPU") else rows

    def _rows(self, found: Sequence[Case]) -> list[Row]:
        """Measure cases; one that fails is named and left out."""
        rows = []
        for case in found:
            try:
                rows.append(self.row(case))
            except RuntimeError as error:
                self._remark(f"failed: {case.name}: {error}")
        return rows

    def row(self, case: Case) -> Row:
        """Measure a case.

        Raises:
            RuntimeError: The harness failed, or came to a wrong result.
        """
        self._say(case.name)
        task = self._ready(case.task)
        ours = whole("ours", self._ours(case, task))
        row = Row(replace(case, task=task), ours)
        for name in case.peers:
            if standing := self._try(name, self._peer, name, task):
                row.peers[name] = standing
        row.least = self._limits(task).least(task)
        return row

    def _ready(self, task: Task) -> Task:
        """Return a task with its file and its columns' constants."""
        path = self._files / f"harness-bench-{task.rows}.csv"
        if not path.exists():
            self._say(f"writing {path}")
            synthetic_houses.generate(path, task.rows)
        task = replace(task, path=str(path))
        (found,) = self._once("constants", [_of_columns(task)])
        mean, std = (tuple(fit.weights) for fit in found.fits)
        return replace(task, mean=mean, std=std)

    def _ours(self, case: Case, task: Task) -> list[Outcome]:
        """Have the harness do a task again and again.

        A fresh case is done in a new folder each time, of which the last one is kept.
        """
        key, repeats = (task.path, task.features), self._sizes.repeats
        outcomes = []
        if not case.fresh and key not in self._there:
            with self._new_folder(key) as folder:
                measure("ours", [replace(task, folder=str(folder), stops=(1,), rates=task.rates[:1])])
        if not case.fresh and not case.alone:
            outcomes = measure("ours", [replace(task, folder=str(self._there[key]))] * repeats)
        else:
            for _ in range(repeats):
                with self._new_folder(key) if case.fresh else contextlib.nullcontext(self._there.get(key)) as folder:
                    outcomes += measure("ours", [replace(task, folder=str(folder))])
        self.device = self.device or outcomes[0].device
        reference = self._reference(task)
        for outcome in outcomes:
            if wrong := fault("ours", task, outcome, reference):
                raise RuntimeError(wrong)
        return outcomes

    @contextlib.contextmanager
    def _new_folder(self, key: tuple) -> Iterator[Path]:
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        yield folder
        if before := self._there.pop(key, None):
            shutil.rmtree(before)
        self._there[key] = folder

    def _peer(self, name: str, task: Task) -> Standing | None:
        """Have a peer do a task, or parts of it."""
        if PEERS[name].updates is None:
            outcomes = self._once(name, [task] * self._sizes.repeats)
            return whole(name, outcomes) if self._is_right(name, [task] * len(outcomes), outcomes) else None
        parts = self._parts(name, task)
        self._measure_new(name, parts)
        outcomes = [self._once(name, [part])[0] for part in parts]
        if not self._is_right(name, parts, outcomes):
            return None
        return scaled(name, task, {part.chunks[0]: [outcome] for part, outcome in zip(parts, outcomes, strict=True)})

    def _parts(self, name: str, task: Task) -> list[Task]:
        """Return what a peer is timed on, for each chunk of a task."""
        small, peer = self._ready(replace(task, rows=self._sizes.small)), PEERS[name]
        most = min(small.rows, peer.rows)
        return [
            replace(
                small,
                rows=min((peer.updates or 0) * chunk, most) if isinstance(chunk, int) else most,
                chunks=(chunk,),
                rates=(0.01,),
                stops=(PASSES,),
            )
            for chunk in (task.chunks if peer.chunks else (100,))
        ]

    def _measure_new(self, name: str, tasks: Sequence[Task]) -> None:
        """Have a peer do those tasks that it has not done yet, in one process."""
        new = [task for task in dict.fromkeys(tasks) if (name, task) not in self._kept]
        if new:
            self._say(f"    {PEERS[name].label}")
            for task, outcome in zip(new, measure(name, new), strict=True):
                self._kept[name, task] = [outcome]

    def _once(self, name: str, tasks: Sequence[Task]) -> list[Outcome]:
        key = (name, *tasks)
        if key not in self._kept:
            self._say(f"    {PEERS[name].label}")
            self._kept[key] = measure(name, tasks)
        return self._kept[key]

    def _reference(self, task: Task) -> Outcome:
        """Return what a task must come to, as far as the reference can tell."""
        return self._once("reference", [_known_of(task)])[0]

    def _is_right(self, name: str, tasks: Sequence[Task], outcomes: Sequence[Outcome]) -> bool:
        """Check results; a peer with a wrong one is named, and does not count."""
        self._measure_new("reference", [_known_of(task) for task in tasks])
        for task, outcome in zip(tasks, outcomes, strict=True):
            if wrong := fault(name, task, outcome, self._reference(task)):
                self._remark(f"not counted: {wrong}")
                return False
        return True

    def _try(self, name: str, work: Callable[..., Standing | None], *arguments: Any) -> Standing | None:
        """Call something of a peer; one that fails is named, and takes no part any more."""
        if name in self._out:
            return None
        try:
            return work(*arguments)
        except RuntimeError as error:
            self._out.add(name)
            self._remark(f"not counted: {error}")
            return None

    def _remark(self, line: str) -> None:
        """Say a line, and keep it for whoever reads the results."""
        if line not in self.remarks:
            self.remarks.append(line)
            self._say(line)

    def _limits(self, task: Task) -> Limits:
        plain = replace(_of_columns(task), repeats=max(self._sizes.repeats, 1))
        parses = {}
        for name in ("parse_pandas", "parse_polars"):
            if name not in self._out:
                parses[name] = Span.of(self._once(name, [plain])[0].laps)
        anything = Task("", (), "", (), (), 1, ())
        found = {name: self._once(name, [anything]) for name in ("copy", "matmul")}
        folder = self._there[task.path, task.features]
        found["table"] = self._once("table", [replace(plain, folder=str(folder))])
        rates = {name: outcomes[0].amount / Span.of(outcomes[0].laps).mid for name, outcomes in found.items()}
        return Limits(parses, rates)


def _of_columns(task: Task) -> Task:
    """Return a task of which nothing but the file and its columns matters."""
    return Task(task.path, task.features, task.target, (), (), task.rows, ())


def _known_of(task: Task) -> Task:
    """Return what the reference is to do for a task: as much of it as does not take it minutes."""
    stops = task.stops[:1]
    rates = task.rates[:: -(-len(task.rates) // MOST_RATES)]
    updates = sum(stops[0] * -(-task.rows // task.size(chunk)) for chunk in task.chunks)
    chunks = task.chunks if updates <= MOST_UPDATES else ()
    return replace(task, stops=stops, rates=rates, chunks=chunks, device="auto")
