"""Train configurations: plan them, run their scans, record what comes.

One configuration is a sweep of one; there is no second path.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness import exhibit
from harness.config import DEFAULT_EXPERIMENT, Config, tracking_uri
from harness.device import choose_device
from harness.plan import Group, Run, arrange, prepare
from harness.progress import Display
from harness.recorder import Recorder
from harness.tile import Diverged, EpochEnd, Stopped
from harness.tracking import Tracker
from harness.trainer import Failed, Progress


def train(configs: Sequence[Config], display: Display, *, command: str, folder: Path | None = None) -> list[Run]:
    """Train all `configs` and record them.

    Args:
        configs: They have `runtime` and `tracking` in common.
        display: Where a person looks.
        command: What repeats the sweep.
        folder: The sweep's; it gives the sweep a summary run, to which later calls with the same folder add.

    Returns:
        The ended run of each configuration, in order; equal configurations share one.

    Raises:
        ConfigError: One of them cannot be trained; then nothing was trained or recorded.
    """
    device, description = choose_device(configs[0].runtime)
    display.say(f"device: {description}")
    runs = prepare(configs, display.reading)
    distinct = list(dict.fromkeys(runs))
    for table in {run.table.folder: run.table for run in distinct}.values():
        if table.dropped or table.filled:
            display.say(f"data:   {table.dropped:,} rows dropped, {table.filled:,} empty fields filled")
    groups = arrange(distinct, device)
    tracking = configs[0].tracking
    uri = tracking_uri(tracking.uri)
    experiment = DEFAULT_EXPERIMENT if tracking.experiment is None else tracking.experiment
    with Tracker(uri, experiment) as tracker:
        display.say(f"store:  {uri}, experiment {experiment}")
        recorder = Recorder(tracker, distinct, command, folder, description)
        if recorder.sweep_id:
            exhibit.announce(tracker, recorder.sweep_id, command.removeprefix("harness train "), distinct)
        try:
            for group in groups:
                _run(group, distinct, recorder, display)
            recorder.finish([group.scan.clocks for group in groups])
        except BaseException as error:
            recorder.abort("FAILED" if isinstance(error, Exception) else "KILLED")
            raise
        finally:
            display.clear()
        if recorder.sweep_id:
            exhibit.conclude(tracker, uri, recorder.sweep_id, display)
    return runs


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
