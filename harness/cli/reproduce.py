"""A recorded run once more: its configuration from its record, its data from here, and both runs' numbers compared."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table as View

from harness.cli.metric_diff import Pair, pairs, verdict
from harness.config import Device
from harness.errors import ConfigError, require
from harness.runtime.imports import add_cwd_to_path, import_tensorflow
from harness.runtime.secrets import masked
from harness.tracking import artifacts
from harness.tracking.reader import RunReader
from harness.tracking.recorded_config import config_of
from harness.tracking.signatures import REPRODUCES
from harness.tracking.uri import tracking_uri

if TYPE_CHECKING:
    from mlflow.entities import Run

    from harness.config import Config
    from harness.sweep import plan
    from harness.sweep.display import Display


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
        run_id: Of the run to reproduce.
        uri: Tracking store, as it was given.
        data: Where the data lies now; none means where it did.
        strict: Refuse where data, code or packages are not those of the record.
        trusted: Run the model's function wherever it comes from.
    """

    run_id: str
    uri: str | None = None
    data: tuple[str, ...] = ()
    strict: bool = False
    trusted: bool = False

    @property
    def command(self) -> str:
        """The words that ask for it."""
        words = ["harness", "reproduce", self.run_id, *(["--uri", masked(self.uri)] if self.uri else [])]
        words += [word for path in self.data for word in ("--data", path)]
        return shlex.join([*words, *(["--strict"] if self.strict else []), *(["--trust"] if self.trusted else [])])


def reproduce(records: RunReader, wish: Request, display: Display) -> bool:
    """Train a recorded run again, alone, and show what is different: surroundings first, then numbers.

    Returns:
        Whether both runs have the same numbers.

    Raises:
        ConfigError: There is no such run, or it cannot be trained here, or is not to be.
    """
    run = records.run(wish.run_id)
    with tempfile.TemporaryDirectory() as folder:
        settings = artifacts.settings(records, wish.run_id, Path(folder))
        code = artifacts.code(records, run, Path(folder))
    config = config_of(
        settings,
        path=list(wish.data) or None,
        runtime={"rerun": True},
        tracking={"uri": tracking_uri(wish.uri), "experiment": records.experiment(run), "log_model": "none"},
    )
    _load(config, wish)
    # They need TensorFlow, which is there now.
    from harness.cli import differences
    from harness.sweep import runner

    config, other = _on_its_device(config, run)
    ready = _prepare(config, run, wish, display)
    other += [*differences.data(ready, run), *differences.code(ready, run, code)]
    for line in other:
        display.say(f"other:  {line}")
    require(not (wish.strict and other), "--strict expected what the record says", "; ".join(other))
    (again,) = runner.train([config], display, command=wish.command, tags={REPRODUCES: wish.run_id})
    return _compare(records, run, records.run(again.run_id), display)


def _load(config: Config, wish: Request) -> None:
    """Import TensorFlow, once it is known that the model's function may be imported."""
    from harness.cli.trust import check_functions, check_packages
    from harness.runtime.memory import tune_malloc

    targets = [] if wish.trusted else [config.model["_target_"]]
    check_packages(targets)
    add_cwd_to_path()
    tune_malloc()
    import_tensorflow()
    check_functions(targets)


def _on_its_device(config: Config, run: Run) -> tuple[Config, list[str]]:
    """Return a configuration for the kind of device that a run was trained on, and what is different."""
    import tensorflow as tf

    from harness.cli.differences import differ
    from harness.runtime.device import choose_device

    recorded = run.data.tags.get("device", "")
    on_gpu = recorded.startswith("GPU") and bool(tf.config.list_physical_devices("GPU"))
    config = replace(config, runtime=replace(config.runtime, device=Device.gpu if on_gpu else Device.cpu))
    _, here = choose_device(config.runtime)
    return config, differ("device", *(text.removesuffix(" (TensorFlow sees no GPU)") for text in (recorded, here)))


def _prepare(config: Config, run: Run, wish: Request, display: Display) -> plan.Run:
    """Open the data and check that a run can be trained here.

    A file elsewhere that is not the record's data has to be named: else whoever wrote the record could have what is
    measured of any file recorded where they can see it.
    """
    from harness.cli import differences
    from harness.data.addresses import find_addresses
    from harness.data.files import scheme
    from harness.sweep.plan import prepare

    remedy = "Name where the data lies now: --data PATH."
    try:
        places = [] if config.data.path is None else find_addresses(config.data.path)
    except ConfigError as error:
        raise ConfigError(f"{str(error).removesuffix('.')}. {remedy}") from error
    try:
        (ready,) = prepare([config], display.reading)
    finally:
        display.clear()
    elsewhere = [
        masked(place) for place in places if scheme(place) or not Path(place).resolve().is_relative_to(Path.cwd())
    ]
    known = bool(wish.data) or not elsewhere or not differences.data(ready, run)
    require(known, "data.path expected the data of the record", f"{', '.join(elsewhere)}, with another digest", remedy)
    return ready


def _compare(records: RunReader, run: Run, again: Run, display: Display) -> bool:
    """Show the numbers of two runs side by side, and return whether they are the same."""
    is_whole = run.info.status == "FINISHED" or "failure" in run.data.tags
    found = pairs(records.curves(run), records.curves(again), so_far=not is_whole)
    if found:
        display.console.print(_table(found))
    now = _ending(again)
    is_equal, sentence = verdict(found, (_ending(run) if is_whole else now, now))
    so_far = "" if is_whole else f" It was {run.info.status.lower()}: what it came to is compared."
    display.say(f"{again.info.run_id} {sentence}{so_far}")
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
        view.add_row(pair.metric, *values, ", ".join(filter(None, (far, lacking))) or "0")
    return view
