"""A batch trained by workers: the driver divides it into tasks, waits for them, and takes over their results."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.entities import Run as Record
from mlflow.exceptions import MlflowException

from harness.errors import ConfigError
from harness.formatting import count
from harness.sweep.batch import POLL_SECONDS, Batch
from harness.sweep.checkpoint_facts import RecorderFacts
from harness.sweep.display import Display
from harness.sweep.executor import Executor
from harness.sweep.plan import Run
from harness.sweep.resume import Store, is_of, set_recorded_after_the_end
from harness.sweep.run_fields import config_yaml
from harness.sweep.scan_loop import PreparedScan, prepare_scans
from harness.sweep.tasks.cluster import Cluster
from harness.sweep.tasks.files import TaskFiles
from harness.sweep.tasks.order import Order, RunOrder, new_order, write_order
from harness.sweep.tasks.partition import partition, read_partition, tiles_of, write_partition
from harness.sweep.tasks.recorder import DriverRecorder
from harness.sweep.tasks.scaling import default_tasks
from harness.sweep.tasks.supervisor import Supervisor
from harness.sweep.tasks.view import TaskRow, progress_of, tasks_view
from harness.tracking.outbox import StoreUnreachable
from harness.training.events import Failed

END_SECONDS, KILL_SECONDS = 60.0, 5.0
"""How long a worker may take to exit after writing its result, and after being killed."""


class TaskBatch(Batch):
    """Distinct runs that were requested together, and the tasks that they are divided into.

    The folder of the batch holds the partition and the files of all tasks, so that the next driver can take over if
    this one dies.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        scans: Sequence[PreparedScan],
        executor: Executor,
        store: Store,
        command: str,
        cluster: Cluster,
        logs: Path,
    ) -> None:
        """Store the arguments of `Batch`, the cluster that runs the workers, and the folder for their logs."""
        super().__init__(runs, scans, executor, store, command)
        assert isinstance(store.recorder, DriverRecorder)
        self._recorder = store.recorder
        self._folder = self._folder.with_name(f"{self._folder.name}-tasks")
        self._command, self._cluster, self._logs = command, cluster, logs
        self._tasks: dict[int, list[Run]] = {}

    def run(self, display: Display) -> None:
        """Return once every run has ended; raises `ConfigError` if nothing is trained because all workers refuse."""
        is_waiting, names = False, {self._claim(run) for run in self._runs}
        while not (self._hold_checkpoint() and self._store.locks.reserve(names) == names):
            self._store.locks.drop()
            if not is_waiting:
                display.say("waiting: another process is training these runs, or some of them")
            is_waiting = True
            time.sleep(POLL_SECONDS)
        self._store.tracker.deliver_leftovers()
        self._recorder.add(self._runs)
        self._tasks = dict(enumerate(read_partition(self._folder, self._runs, display.say), 1))
        divided = {run for runs in self._tasks.values() for run in runs}
        self._adopt(self._tasks)
        # A task without a result is continued even if the store has all of its runs, because their test metrics and
        # models may exist only in its worker's checkpoint.
        for run in self._reuse_results([run for run in self._runs if run not in divided], display):
            run.run_id = ""  # The worker that trains it finds the record.
        self._say_reused(sum(run.is_reused for run in self._runs), len(self._runs), display)
        if todo := [run for run in self._runs if not run.status]:
            self._recorder.expect(todo)
            self._divide(todo, display)
            workers = Supervisor(self._cluster, map(self._files, sorted(self._open_tasks())), self._logs, display)
            workers.run(lambda open_tasks: self._look(open_tasks, workers, display), self._end_begun)
            workers.await_exits(seconds=END_SECONDS)
            refusals = [attempts.refusal for attempts in workers.attempts.values()]
            have_failed = all(run.status == "FAILED" for run in todo)
            if have_failed and all(refusals) and not self._recorder.has_trained(except_for=todo):
                raise ConfigError(f"{refusals[0]}.")

    def _divide(self, todo: Sequence[Run], display: Display) -> None:
        """Assign runs without a task to new tasks, and write the partition and the task files."""
        divided = {run for runs in self._tasks.values() for run in runs}
        if new := [run for run in todo if run not in divided]:
            scans = self._scans if self._scans and new == self._runs else prepare_scans(new, self._executor)
            tiles = tiles_of(scans)
            tasks = partition(tiles, self._cluster.tasks or default_tasks(tiles, self._cluster))
            self._tasks |= dict(enumerate(tasks, max(self._tasks, default=0) + 1))
            write_partition(self._folder, [*self._tasks.values()])
        self._scans = ()  # Their models are no longer needed.
        # Task files of an earlier driver may refer to other code, another folder or another summary run.
        for number in self._open_tasks():
            write_order(self._files(number).order, self._order(number, self._tasks[number]))
        tasks = [self._tasks[number] for number in self._open_tasks()]
        display.say(
            f"tasks:  {count(sum(map(len, tasks)), 'run')} in {count(len(tasks), 'task')} on {self._cluster.name}; "
            f"logs in {self._logs}"
        )

    def _order(self, number: int, runs: Sequence[Run]) -> Order:
        return new_order(
            number,
            [_run_order(run, self._command) for run in runs],
            self._command,
            [target for run in runs for target in run.config.targets.values()],
            membership=self._recorder.membership(runs),
            search=runs[0].search,
            scratch=self._cluster.scratch or "",
        )

    def _look(self, open_tasks: set[int], workers: Supervisor, display: Display) -> set[int]:
        """Return the tasks that have ended, after taking over their results; start or restart the others."""
        self._store.tracker.check_lease()
        running = workers.running(open_tasks)
        ended = self._adopt(sorted(open_tasks))
        give_up = functools.partial(self._fail, display=display)
        ended |= workers.restart(open_tasks - ended, running, give_up, self._store.tracker.has_lease)
        self._show(workers, display)
        return ended

    def _adopt(self, tasks: Iterable[int]) -> set[int]:
        """Take over the results of tasks; return those that have a result with which the store agrees."""
        ids = {n: [state["run_id"] for state in facts["runs"].values()] for n, (facts, _) in self._results(tasks)}
        records = self._store.reader.by_id([*itertools.chain.from_iterable(ids.values())])
        adopted: list[int] = []
        for number, (facts, arrays) in self._results(ids):  # Read again, since all weights may not fit in memory.
            runs = self._tasks[number]
            if all(_agrees(run, facts["runs"], records) for run in runs):
                self._recorder.adopt(runs, facts, arrays)
                adopted.append(number)
            else:
                self._files(number).drop_result()
        ended = [records[run.run_id] for number in adopted for run in self._tasks[number]]
        set_recorded_after_the_end(ended, self._store)
        return {*adopted}

    def _results(self, tasks: Iterable[int]) -> Iterator[tuple[int, tuple[RecorderFacts, dict[str, np.ndarray]]]]:
        for number in tasks:
            if result := self._files(number).result():
                yield number, result

    def _fail(self, number: int, why: str, display: Display) -> None:
        """Mark the runs of a task as failed, in the records that its workers started, if there are any."""
        self._store.tracker.deliver_leftovers()
        runs = self._reuse_results([run for run in self._tasks[number] if not run.status], display)
        begun = self._begun(runs)
        for run in runs:
            run.run_id = next((record.info.run_id for record in begun[run]), "")
        self._store.recorder.start(runs)
        self._store.recorder.failed(runs, Failed(0, why))

    def _end_begun(self, tasks: set[int]) -> None:
        """End the runs that stopped workers could not end, for example because they had not begun to train."""
        deadline = time.monotonic() + KILL_SECONDS
        while any(self._files(number).is_held for number in tasks) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS / 4)
        runs = [run for number in tasks for run in self._tasks[number] if not self._files(number).is_held]
        with suppress(StoreUnreachable, MlflowException):  # The next command does this too.
            self._store.tracker.deliver_leftovers()
            for record in itertools.chain.from_iterable(self._begun(runs).values()):
                if record.info.status == "RUNNING":
                    self._store.tracker.end_run(record.info.run_id, "KILLED")

    def _begun(self, runs: Sequence[Run]) -> dict[Run, list[Record]]:
        """Return the records of runs that workers of this sweep have started but not finished."""
        store = self._store
        records = store.reader.of_signatures(store.tracker.experiment_id, [run.signature for run in runs])
        return {
            run: [
                record
                for record in records.get(run.signature, ())
                if record.info.status in ("RUNNING", "KILLED")
                and store.recorder.sweep_id in record.data.tags.get("sweep", "").split(",")
            ]
            for run in runs
        }

    def _show(self, workers: Supervisor, display: Display) -> None:
        failures = {number: attempts.failures for number, attempts in workers.attempts.items()}
        rows = [
            TaskRow(number, runs, self._files(number).status(), failures.get(number, 0), workers.states.get(number, ""))
            for number, runs in self._tasks.items()
        ]
        display.tasks(tasks_view(rows), progress_of(rows))

    def _open_tasks(self) -> set[int]:
        return {number for number, runs in self._tasks.items() if any(not run.status for run in runs)}

    def _files(self, number: int) -> TaskFiles:
        return TaskFiles.numbered(self._folder, number)


def _agrees(run: Run, states: Mapping[str, Any], records: Mapping[str, Record]) -> bool:
    """Return True if a run has ended according to both its worker and the store."""
    state = states.get(run.signature)
    record = records.get(state["run_id"]) if state else None
    return bool(state and record and is_of(record, run.signature) and state["status"] == record.info.status)


def _run_order(run: Run, command: str) -> RunOrder:
    own = run.command or command
    return RunOrder(signature=run.signature, name=run.name, command=own, config=config_yaml(run.config))
