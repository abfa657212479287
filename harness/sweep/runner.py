"""Train configurations: plan them, train what is not there already, record what comes.

One configuration is a sweep of one; there is no second path.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.config import DEFAULT_EXPERIMENT, Config
from harness.runtime.device import choose_device
from harness.runtime.secrets import masked
from harness.sweep import publish
from harness.sweep.batch import Batch, Place
from harness.sweep.display import Display
from harness.sweep.identity import sweep_signature
from harness.sweep.plan import Run, arrange, prepare
from harness.sweep.recorder import Recorder
from harness.sweep.run_locks import RunLocks, only_one
from harness.sweep.run_state import claim_of, is_abandoned
from harness.tracking.reader import RunReader
from harness.tracking.tracker import Tracker
from harness.tracking.uri import tracking_uri


class Sweep:
    """A sweep, whose configurations may come in several batches; as a context manager it ends with its block."""

    def __init__(
        self,
        display: Display,
        *,
        command: str,
        folder: Path | None = None,
        signatures: Sequence[str] = (),
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Do nothing yet.

        Args:
            display: Where a person looks.
            command: What repeats the sweep.
            folder: The sweep's; it gives the sweep a summary run, to which later calls with the same folder add.
            signatures: Of all of the sweep's runs, where they come in several batches and are known before.
            tags: Of its runs, besides their own.
        """
        self._display, self._command, self._folder = display, command, folder
        self._signatures, self._tags = list(signatures), tags
        self._opened = contextlib.ExitStack()
        self._recorder: Recorder | None = None
        self._batches: list[Batch] = []
        self._ended: dict[str, Run] = {}
        self._said: set[str] = set()

    def __enter__(self) -> Sweep:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        recorder, self._recorder = self._recorder, None
        try:
            if recorder and kind:
                recorder.abort("FAILED" if issubclass(kind, Exception) else "KILLED")
            elif recorder:
                recorder.finish()
                if recorder.sweep_id:
                    publish.conclude(self._tracker, recorder.sweep_id, self._display)
                for batch in self._batches:
                    batch.forget()
        except BaseException as own:
            kind, error = type(own), own
            raise
        finally:
            self._opened.__exit__(kind, error, None)

    def train(self, configs: Sequence[Config], commands: Sequence[str] = ()) -> list[Run]:
        """Train `configs` and record them; those that have a result already have it taken from the records.

        Args:
            configs: They have `runtime` and `tracking` in common, with those of other batches too.
            commands: What repeats each of them alone; none means the sweep's command.

        Returns:
            The ended run of each configuration, in order; equal configurations share one.

        Raises:
            ConfigError: One of them cannot be trained; then none of these was trained or recorded.
        """
        device, description = choose_device(configs[0].runtime)
        self._say(f"device: {description}")
        if "GPU" in device and not self._recorder:
            self._opened.enter_context(only_one("gpu-0", self._display.say))
        runs = prepare(configs, self._display.reading)
        for run, command in zip(runs, commands, strict=False):
            run.command = run.command or command
        # What an earlier batch has brought to its end is not asked for again.
        runs = [self._ended.get(run.signature, run) for run in runs]
        distinct = [run for run in dict.fromkeys(runs) if not run.status]
        if not distinct:
            return runs
        for table in {run.table.folder: run.table for run in distinct}.values():
            if table.dropped or table.filled:
                self._say(f"data:   {table.dropped:,} rows dropped, {table.filled:,} empty fields filled")
            if table.drift:
                self._say(f"data:   {table.drift}; batch runs follow that, and data.order=shuffled mixes the rows")
        groups = arrange(distinct, device)
        first = self._recorder is None
        recorder = self._recorder or self._open(configs[0], description, distinct)
        place = Place(recorder, self._tracker, self._records, self._claims)
        batch = Batch(distinct, groups, device, place, self._command)
        self._batches.append(batch)
        self._opened.callback(batch.close)
        if first and recorder.sweep_id:
            publish.announce(self._tracker, recorder.sweep_id, self._command, distinct)
        try:
            batch.run(self._display)
        finally:
            self._display.clear()
        self._ended |= {run.signature: run for run in distinct}
        return runs

    def _open(self, config: Config, device: str, runs: Sequence[Run]) -> Recorder:
        """Reach the store, and see what became of those who wrote to it."""
        tracking = config.tracking
        uri = tracking_uri(tracking.uri)
        experiment = DEFAULT_EXPERIMENT if tracking.experiment is None else tracking.experiment
        outbox = Path(config.runtime.cache).absolute() / "outbox"
        # Until all is on record, no other process may think that a run is nobody's.
        self._claims = self._opened.enter_context(RunLocks(masked(uri)))
        tracker = Tracker(uri, experiment, outbox, wait=tracking.wait, say=self._display.say)
        self._tracker = self._opened.enter_context(tracker)
        self._say(f"store:  {masked(uri)}, experiment {experiment}")
        self._records = RunReader(uri)
        tracker.settle()
        with self._claims.alone():
            self._end_abandoned()
            signatures = self._signatures or [run.signature for run in runs]
            known = None
            if self._folder and not config.runtime.rerun:
                known = self._records.sweep_of_signature(tracker.experiment_id, sweep_signature(signatures))
            self._recorder = Recorder(tracker, self._command, self._folder, device, signatures, known, self._tags)
            self._claims.keep(claim_of(self._recorder.sweep_id, tracker.experiment_id))
        return self._recorder

    def _end_abandoned(self) -> None:
        """End what is still said to run, though its process is gone."""
        claimed = self._claims.others()
        for record in self._records.running(self._tracker.experiment_id):
            if is_abandoned(record, claimed):
                self._tracker.end_run(record.info.run_id, "KILLED")
        self._tracker.flush()

    def _say(self, line: str) -> None:
        """Show a line once."""
        if line not in self._said:
            self._said.add(line)
            self._display.say(line)


def train(
    configs: Sequence[Config],
    display: Display,
    *,
    command: str,
    folder: Path | None = None,
    tags: Mapping[str, str] | None = None,
) -> list[Run]:
    """Train all `configs` as one sweep; as `Sweep` and its `train`."""
    with Sweep(display, command=command, folder=folder, tags=tags) as sweep:
        return sweep.train(configs)
