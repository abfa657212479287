"""Retrains a recorded run and compares the numbers."""

from __future__ import annotations

import re
import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table as View
from rich.text import Text

from harness.cli.metric_diff import Pair, pairs, verdict
from harness.cli.trust import import_models, targets_of
from harness.config import Device
from harness.errors import ConfigError, require
from harness.escaping import visible
from harness.runtime.imports import add_cwd_to_path
from harness.runtime.onednn import ONEDNN, onednn, restore_onednn
from harness.runtime.secrets import masked, shown
from harness.tracking import artifacts
from harness.tracking.reader import RunReader
from harness.tracking.recorded_config import config_of
from harness.tracking.run_tags import REPRODUCES
from harness.tracking.uri import tracking_uri

if TYPE_CHECKING:
    from mlflow.entities import Run

    from harness.config import Config
    from harness.sweep import plan
    from harness.sweep.display import Display


@dataclass(frozen=True)
class Request:
    """The options of `harness reproduce`."""

    run_id: str
    uri: str | None = None
    data: tuple[str, ...] = ()
    strict: bool = False
    trusted: bool = False

    @property
    def command(self) -> str:
        """The command line."""
        words = ["harness", "reproduce", self.run_id, *(["--uri", masked(self.uri)] if self.uri else [])]
        words += [word for path in self.data for word in ("--data", path)]
        return shlex.join([*words, *(["--strict"] if self.strict else []), *(["--trust"] if self.trusted else [])])


def reproduce(records: RunReader, request: Request, display: Display) -> bool:
    """Retrain a recorded run, show its record's differences and both results, and return True if the results are equal.

    Raises:
        ConfigError: The run does not exist or cannot be trained here, or something differs and `strict` is set.
    """
    run = records.run(request.run_id)
    with tempfile.TemporaryDirectory() as folder:
        settings = artifacts.settings(records, request.run_id, Path(folder))
        code = artifacts.code(records, run, Path(folder))
    config = config_of(
        settings,
        path=list(request.data) or None,
        runtime={"rerun": True},
        tracking={"uri": tracking_uri(request.uri), "experiment": records.experiment(run), "log_model": "none"},
    )
    add_cwd_to_path()
    kernels = run.data.tags.get(ONEDNN, onednn())
    is_restored = restore_onednn(kernels)
    import_models([] if request.trusted else targets_of([config]))
    # These need TensorFlow.
    from harness.cli import differences
    from harness.sweep import runner

    config, other = _on_its_device(config, run)
    ready = _prepare(config, run, request, display)
    other += differences.differ(ONEDNN, kernels, kernels if is_restored else onednn())
    other += [*differences.data(ready, run), *differences.code(ready, run, code)]
    for line in other:
        display.say(f"differs: {line}")
    require(not (request.strict and other), f"--strict: {'; '.join(other)}")
    tags = {REPRODUCES: request.run_id}
    (again,) = runner.train([config], display, command=request.command, tags=tags, measured=False)
    return _compare(records, run, records.run(again.run_id), display)


def _on_its_device(config: Config, run: Run) -> tuple[Config, list[str]]:
    """Return the configuration for the recorded kind of device, and a line if the device differs."""
    import tensorflow as tf

    from harness.cli.differences import differ
    from harness.runtime.device import choose_device
    from harness.sweep.identity import TILE

    recorded = run.data.tags.get("device", "")
    on_gpu = recorded.startswith("GPU") and bool(tf.config.list_physical_devices("GPU"))
    tile = run.data.tags.get(TILE, "")
    # It can depend on the lanes that were trained together, and on the memory that was available.
    is_known = re.fullmatch(r"[1-9]\d{0,3}", tile) and recorded.startswith("GPU") == on_gpu
    lane_tile = int(tile) if is_known else config.runtime.lane_tile
    device = Device.gpu if on_gpu else Device.cpu
    config = replace(config, runtime=replace(config.runtime, device=device, lane_tile=lane_tile))
    _, here = choose_device(config.runtime)
    found = differ("device", *(text.removesuffix(" (TensorFlow sees no GPU)") for text in (recorded, here)))
    if "then" in tile:
        found.append(f"the lanes per call changed during training ({shown(tile)}), so last bits will differ")
    return config, found


def _prepare(config: Config, run: Run, request: Request, display: Display) -> plan.Run:
    """Open the data and check that the run can be trained here.

    Data outside the working folder that differs from the recorded data must be named with --data. Otherwise, a
    manipulated record could make a user compute and publish statistics of any file.
    """
    from harness.cli import differences
    from harness.data.kinds import find_named
    from harness.data.storage.urls import scheme
    from harness.sweep.plan import prepare

    remedy = "Name the data with --data PATH."
    if not request.data:
        for key in ("path", "labels", "holdout_path"):
            _check_recorded_path(getattr(config.data, key, None), remedy)
        _check_recorded_path(config.data.backbone.get("weights"), remedy)
    try:
        places = find_named(config.data)
    except ConfigError as error:
        raise ConfigError(f"{str(error).removesuffix('.')}. {remedy}") from error
    try:
        (ready,) = prepare([config], display.reading, display.say)
    finally:
        display.clear()
    elsewhere = [
        masked(place) for place in places if scheme(place) or not Path(place).resolve().is_relative_to(Path.cwd())
    ]
    known = bool(request.data) or not elsewhere or not differences.data(ready, run)
    require(known, f"{', '.join(elsewhere)} is not the recorded data: its digest differs. {remedy}")
    return ready


def _check_recorded_path(path: object, remedy: str) -> None:
    """Reject a recorded path that would search whole directory trees, or read from a stream."""
    for name in path if isinstance(path, list) else [path]:
        is_tree = isinstance(name, str) and "**" in name
        require(not is_tree, f"The run was trained on {name}, which searches all subfolders. {remedy}")
        is_stream = isinstance(name, str) and Path(name).exists() and not (Path(name).is_file() or Path(name).is_dir())
        require(not is_stream, f"The run was trained on {name}, which is a stream or device. {remedy}")


def _compare(records: RunReader, run: Run, again: Run, display: Display) -> bool:
    """Show the metrics of two runs side by side, and return True if they are equal."""
    is_whole = run.info.status == "FINISHED" or "failure" in run.data.tags
    found = pairs(records.curves(run), records.curves(again), so_far=not is_whole)
    if found:
        display.console.print(_table(found))
    now = _ending(again)
    is_equal, sentence = verdict(found, (_ending(run) if is_whole else now, now))
    so_far = f" The recorded run is {run.info.status.lower()}, so only the points in its record are compared."
    display.say(f"{again.info.run_id} {sentence}{'' if is_whole else so_far}")
    return is_equal


def _ending(run: Run) -> str:
    return run.data.tags.get("failure", run.info.status.lower())


def _table(found: Sequence[Pair]) -> View:
    view = View(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    view.add_column("metric")
    for title in ("recorded", "now", "difference"):
        view.add_column(title, justify="right")
    for pair in found:
        values = ["none" if value is None else f"{value:.9g}" for value in (pair.recorded, pair.now)]
        far = f"{pair.difference:.2g} at step {pair.step}" if pair.difference else ""
        lacking = f"{pair.missing} of {pair.points} points" if pair.missing else ""
        view.add_row(Text(visible(pair.metric)), *values, ", ".join(filter(None, (far, lacking))) or "0")
    return view
