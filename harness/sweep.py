"""Train configurations: plan them, run their scans, record what comes.

One configuration is a sweep of one; there is no second path.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from harness import exhibit
from harness.config import DEFAULT_EXPERIMENT, Config, masked, tracking_uri
from harness.device import choose_device
from harness.plan import Group, Run, arrange, prepare
from harness.progress import Display
from harness.recorder import Recorder
from harness.tile import Diverged, EpochEnd, Stopped
from harness.tracking import Tracker
from harness.trainer import Failed, Progress


class Sweep:
    """A sweep, whose configurations may come in several batches; as a context manager it ends with its block."""

    def __init__(
        self, display: Display, *, command: str, folder: Path | None = None, tags: Mapping[str, str] | None = None
    ) -> None:
        """Do nothing yet.

        Args:
            display: Where a person looks.
            command: What repeats the sweep.
            folder: The sweep's; it gives the sweep a summary run, to which later calls with the same folder add.
            tags: Of its runs, besides their own.
        """
        self._display, self._command, self._folder, self._tags = display, command, folder, tags
        self._opened = contextlib.ExitStack()
        self._recorder: Recorder | None = None
        self._tracker: Tracker | None = None
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
                if self._tracker and recorder.sweep_id:
                    exhibit.conclude(self._tracker, recorder.sweep_id, self._display)
        except BaseException as own:
            kind, error = type(own), own
            raise
        finally:
            self._opened.__exit__(kind, error, None)

    def train(self, configs: Sequence[Config], commands: Sequence[str] = ()) -> list[Run]:
        """Train `configs` and record them.

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
        runs = prepare(configs, self._display.reading)
        for run, command in zip(runs, commands, strict=False):
            run.command = run.command or command
        distinct = list(dict.fromkeys(runs))
        for table in {run.table.folder: run.table for run in distinct}.values():
            if table.dropped or table.filled:
                self._say(f"data:   {table.dropped:,} rows dropped, {table.filled:,} empty fields filled")
            if table.drift:
                self._say(f"data:   {table.drift}; batch runs follow that, and data.order=shuffled mixes the rows")
        groups = arrange(distinct, device)
        first = self._recorder is None
        recorder = self._recorder or self._open(configs[0], description)
        try:
            recorder.start(distinct)
            if first and self._tracker and recorder.sweep_id:
                exhibit.announce(self._tracker, recorder.sweep_id, self._command, distinct)
            for group in groups:
                _run(group, distinct, recorder, self._display)
        finally:
            self._display.clear()
        recorder.scanned([group.scan.clocks for group in groups])
        return runs

    def _open(self, config: Config, device: str) -> Recorder:
        """Reach the store."""
        self._opened.enter_context(_rarer_collections())
        tracking = config.tracking
        uri = tracking_uri(tracking.uri)
        experiment = DEFAULT_EXPERIMENT if tracking.experiment is None else tracking.experiment
        outbox = Path(config.runtime.cache).absolute() / "outbox"
        tracker = Tracker(uri, experiment, outbox, wait=tracking.wait, say=self._display.say)
        self._opened.enter_context(tracker)
        self._say(f"store:  {masked(uri)}, experiment {experiment}")
        self._tracker, self._recorder = tracker, Recorder(tracker, self._command, self._folder, device, self._tags)
        return self._recorder

    def _say(self, line: str) -> None:
        """Show a line once."""
        if line not in self._said:
            self._said.add(line)
            self._display.say(line)


@contextlib.contextmanager
def _rarer_collections() -> Iterator[None]:
    """Spare Python's collector going through all that is loaded, again and again, while records are made."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()  # Else connections would not be closed when the interpreter ends.


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


def _run(group: Group, runs: Sequence[Run], recorder: Recorder, display: Display) -> None:
    """Run one scan and hand its events on."""
    scan = group.scan

    def show(epoch: int, rows: int) -> None:
        ended = sum(bool(run.status) for run in runs)
        display.training(epoch, scan.epochs, rows, scan.rows * scan.epochs, ended, len(runs))

    show(epoch=0, rows=0)
    for event in scan.run():
        if isinstance(event, Progress):
            show(event.epoch, event.rows)
            continue
        lane = group.lanes[event.lane]
        if isinstance(event, EpochEnd):
            recorder.epoch(lane, event)
        elif isinstance(event, Stopped):
            recorder.stopped(lane, event, scan.clocks.train, shared_by=len(group.lanes))
        elif isinstance(event, Diverged):
            recorder.diverged(lane, event)
        elif isinstance(event, Failed):
            for run in lane:
                recorder.failed(run, f"{type(event.error).__name__}: {event.error}")
    display.clear()
