"""Runs sweeps, from configurations to records. A single configuration is a sweep with one run."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.config import DEFAULT_EXPERIMENT, Config
from harness.errors import require
from harness.runtime.cores import cores
from harness.runtime.secrets import masked
from harness.runtime.signals import defer_signals
from harness.sweep.batch import Batch
from harness.sweep.claims import claim_of, claims_of, end_abandoned
from harness.sweep.data_notes import describe_data
from harness.sweep.display import Display
from harness.sweep.executor import Executor, choose_executor
from harness.sweep.identity import search_signature, sweep_signature
from harness.sweep.membership import Membership
from harness.sweep.model_log import describe_unloggable, require_some_model
from harness.sweep.plan import Run, prepare
from harness.sweep.publish import has_report, publish_report, publish_start
from harness.sweep.recorder import Recorder
from harness.sweep.resume import Store
from harness.sweep.run_locks import only_one_on
from harness.sweep.scan_loop import PreparedScan, prepare_scans
from harness.sweep.search.bracket import bracket_of
from harness.sweep.search.record import log_search, recall
from harness.sweep.search.search import Search
from harness.sweep.search.seeds import describe_unseeded
from harness.sweep.tasks.cluster import Cluster
from harness.sweep.tasks.driver import TaskBatch
from harness.sweep.tasks.preconditions import require_same_tiles, require_server
from harness.sweep.tasks.preparation import tables_on
from harness.sweep.tasks.recorder import DriverRecorder
from harness.tracking.outbox import LeaseLost
from harness.tracking.reader import RunReader
from harness.tracking.tracker import Tracker
from harness.tracking.uri import tracking_uri
from harness.training.arrangement import idle_cores


class Sweep:
    """A sweep whose configurations may arrive in several batches; a context manager that ends the sweep on exit."""

    def __init__(
        self,
        display: Display,
        *,
        command: str,
        folder: Path | None = None,
        signatures: Sequence[str] = (),
        tags: Mapping[str, str] | None = None,
        search: Search | None = None,
        is_part: bool = False,
        cluster: Cluster | None = None,
        membership: Membership | None = None,
        measured: bool = True,
    ) -> None:
        """Describe a sweep; the first batch opens the store.

        Args:
            display: Shows progress and messages.
            command: The command that repeats the sweep.
            folder: If given, the sweep has a summary run, which later calls with the same folder continue.
            signatures: Signatures of all runs, if they are known before the first batch.
            tags: Tags to set on each run.
            search: The search that proposes the configurations.
            is_part: Whether it is part of another sweep, which already reports the data and the store.
            cluster: Where workers train; None trains in this process.
            membership: The sweep that these runs belong to, if its summary run is kept by another process.
            measured: Whether to use the tiles that `harness tune` has measured, except with workers.
        """
        self._is_part = is_part
        self._search, self._search_signature = search, ""
        self._display, self._command, self._folder = display, command, folder
        self._cluster, self._membership = cluster, membership
        self._measured = measured and not (cluster or membership)
        self._signatures, self._tags = list(signatures), tags
        self._resources = contextlib.ExitStack()
        if cluster:
            self._resources.callback(cluster.close)
        self._store: Store | None = None
        self._batches: list[Batch] = []
        self._ended: dict[str, Run] = {}
        self._said: set[str] = set()
        self._proposed: list[list[Run]] = []  # By batch.

    def __enter__(self) -> Sweep:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        store, self._store = self._store, None
        try:
            if store and kind and not issubclass(kind, LeaseLost):
                store.recorder.abort("FAILED" if issubclass(kind, Exception) else "KILLED")
            elif store and not kind:
                self._finish(store)
                for batch in self._batches:
                    batch.discard_checkpoint()
        except BaseException as own:
            kind, error = type(own), own
            raise
        finally:
            self._resources.__exit__(kind, error, None)

    def _prepare(self, runs: Sequence[Run]) -> None:
        """Prepare runs before training; for subclasses."""

    def _placed(self, scans: Sequence[PreparedScan]) -> Sequence[PreparedScan]:
        """Return scans that are still prepared after their tables may have been copied; for subclasses."""
        return scans

    def _finish(self, store: Store) -> None:
        """Record the results of the sweep as a whole."""
        store.recorder.finish()
        if not (sweep_id := store.recorder.sweep_id):
            return
        if self._search:
            log_search(store.tracker, sweep_id, self._search, self._proposed)
        if store.recorder.has_changed or not has_report(store.reader, sweep_id):
            publish_report(store.tracker, sweep_id, self._display)

    def train(self, configs: Sequence[Config], commands: Sequence[str] = ()) -> list[Run]:
        """Train and record configurations, except those that already have a result in the store.

        Args:
            configs: Configurations; `runtime` and `tracking` must be the same in all batches.
            commands: The command that trains each configuration alone; by default, the sweep's command.

        Returns:
            The ended run of each configuration, in order; equal configurations share a run.

        Raises:
            ConfigError: A configuration cannot be trained; nothing of this batch was trained or recorded.
        """
        if self._cluster and self._cluster.is_remote:
            require_server(configs[0].tracking.uri)
        executor = choose_executor(configs[0].runtime, measured=self._measured)
        if "GPU" in executor.device and (self._cluster or self._membership):
            require_same_tiles(self._cluster, configs[0])
        if not self._store and not self._cluster:
            self._resources.enter_context(only_one_on([executor.device, *executor.others], self._display.say))
        runs = self._planned(configs, commands, executor)
        distinct = [run for run in dict.fromkeys(runs) if not run.status]
        if not distinct:
            return runs
        for sentence in describe_data(distinct):
            self._say(f"data:   {sentence}")
        bracket = bracket_of(runs, self._search)
        scans = prepare_scans(distinct, executor, bracket)
        if not self._store:
            require_some_model(distinct)
        for scan in scans if "GPU" not in executor.device and not self._cluster else ():
            if hint := idle_cores(scan.task.cohorts, configs[0].runtime.threads, len(cores())):
                self._say(f"device: {hint}")
        for sentence in describe_unloggable(distinct):
            self._say(f"model:  {sentence}")
        store = self._started(distinct, executor)
        if self._cluster:
            assert self._folder
            logs = self._folder / "tasks"
            batch = TaskBatch(distinct, scans, executor, store, self._command, self._cluster, logs)
        else:
            batch = Batch(distinct, self._placed(scans), executor, store, self._command, bracket)
        self._batches.append(batch)
        self._resources.callback(batch.close)
        try:
            batch.run(self._display)
        finally:
            self._display.clear()
        self._ended |= {run.signature: run for run in distinct}
        return runs

    def collect(self, configs: Sequence[Config], ids: Sequence[str]) -> list[Run]:
        """Add runs that other processes have trained and recorded.

        Args:
            configs: Configurations; `runtime` and `tracking` must be the same in all batches.
            ids: For each configuration, the id of its run.

        Returns:
            The ended run of each configuration, in order; equal configurations share a run.

        Raises:
            ConfigError: A run is not in the store.
        """
        executor = choose_executor(configs[0].runtime, measured=False)
        runs = self._planned(configs, (), executor)
        id_of = {run: run_id for run, run_id in zip(runs, ids, strict=True) if not run.status}
        if not id_of:
            return runs
        store = self._started([*id_of], executor)
        records = store.reader.by_id([*id_of.values()])
        lost = [run.name for run, run_id in id_of.items() if run_id not in records]
        require(not lost, f"Run {lost[0] if lost else ''} was trained, but is not in {masked(store.tracker.uri)}.")
        store.recorder.reuse({run: records[run_id] for run, run_id in id_of.items()})
        self._ended |= {run.signature: run for run in id_of}
        return runs

    def _planned(self, configs: Sequence[Config], commands: Sequence[str], executor: Executor) -> list[Run]:
        """Return the runs of a batch; runs of earlier batches have ended."""
        self._say(f"device: {executor.title}")
        make_tables = tables_on(self._cluster, self._command, self._display)
        runs = prepare(configs, self._display.reading, lambda line: self._say(f"data:   {line}"), make_tables)
        for run, command in zip(runs, commands, strict=False):
            run.command = run.command or command
        if self._search:
            # The first batch's runs represent the data, the model and all settings that are not searched.
            own = self._signatures or [run.signature for run in runs]
            self._search_signature = self._search_signature or search_signature(self._search.facts, own)
            for run in runs:
                run.search = self._search_signature
            if self._search.trial_seed is not None and (unseeded := describe_unseeded(runs)):
                self._say(f"search: {unseeded}")
        self._prepare(runs)
        runs = [self._ended.get(run.signature, run) for run in runs]
        self._proposed.append(runs)
        return runs

    def _started(self, runs: Sequence[Run], executor: Executor) -> Store:
        """Return the store; it is opened for the first `runs`."""
        if self._store is None:
            store = self._open(runs[0].config, executor.description, runs)
            if self._folder:
                publish_start(store.tracker, store.recorder.sweep_id, self._command, runs)
            return store
        return self._store

    def _open(self, config: Config, device: str, runs: Sequence[Run]) -> Store:
        """Open the store, and end runs left running by processes that have died."""
        uri = tracking_uri(config.tracking.uri)
        experiment = DEFAULT_EXPERIMENT if config.tracking.experiment is None else config.tracking.experiment
        outbox = Path(config.runtime.cache).absolute() / "outbox"
        with contextlib.ExitStack() as opened:
            tracker = Tracker(uri, experiment, outbox, wait=config.tracking.wait, say=self._display.say)
            opened.enter_context(tracker)
            reader = RunReader(uri)
            # Released after the tracker is closed, so that no run appears abandoned before its end is delivered.
            locks = claims_of(tracker, reader, config.tracking, is_worker=self._membership is not None)
            self._resources.enter_context(locks)
            self._resources.push(opened.pop_all())
        self._say(f"store:  {masked(uri)}, experiment {experiment}")
        tracker.deliver_leftovers()
        signatures = self._signatures or [run.signature for run in runs]
        identity = self._search_signature or sweep_signature(signatures)
        claim = claim_of(identity, tracker.experiment_id)
        with locks.exclusive_for(claim, self._say) if self._folder else locks.exclusive():
            end_abandoned(tracker, reader, locks)
            is_new = not self._folder or config.runtime.rerun
            record = None if is_new else reader.sweep_of_signature(tracker.experiment_id, identity)
            with defer_signals() as stop:  # A summary run that is not known here would be left running.
                recorder = (DriverRecorder if self._cluster else Recorder)(
                    *(tracker, self._command, self._folder, device, signatures, record, self._tags),
                    owner=locks.owner,
                    labels=config.tracking,
                    search=self._search_signature,
                    trial_seed=self._search.trial_seed if self._search else None,
                    membership=self._membership,
                )
                self._store = Store(recorder, tracker, reader, locks)
            if stop:
                stop.exit()
            if self._search and (sentence := recall(self._search, recorder.sweep_id, record, runs[0], tracker, reader)):
                self._say(sentence)
            if recorder.sweep_id:
                locks.keep(claim_of(recorder.sweep_id, tracker.experiment_id))
        return self._store

    def _say(self, line: str) -> None:
        """Print a line, but only once per sweep."""
        if line not in self._said and not self._is_part:
            self._said.add(line)
            self._display.say(line)


def train(
    configs: Sequence[Config],
    display: Display,
    *,
    command: str,
    folder: Path | None = None,
    tags: Mapping[str, str] | None = None,
    measured: bool = True,
) -> list[Run]:
    """Train `configs` as a sweep with one batch; see `Sweep`."""
    with Sweep(display, command=command, folder=folder, tags=tags, measured=measured) as sweep:
        return sweep.train(configs)
