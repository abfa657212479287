"""`harness.train`: what `harness train` does, in a process that is not the harness's own, such as a notebook's."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from hydra.core.global_hydra import GlobalHydra

from harness.cli.app import App
from harness.cli.train import run_app
from harness.config.metrics import EPOCH_METRICS
from harness.errors import ConfigError, require

if TYPE_CHECKING:
    from harness.tracking.frames import Sweep

_NOTHING = "Nothing to train: harness.train takes KEY=VALUE words, -m, --trust and --config-dir."
_ONE_AT_A_TIME = threading.Lock()


def train(words: Sequence[str]) -> Sweep:
    """Train what the words ask for, and return the recorded runs."""
    require(not isinstance(words, str), f"harness.train takes a list of words, such as {str(words).split()}.")
    with _ONE_AT_A_TIME, _process_as_it_was():
        app = App(words, owns_process=False)
        # Hydra's logging would close the process's handlers.
        quiet = [] if any(word.startswith("hydra/job_logging=") for word in words) else ["hydra/job_logging=none"]
        try:
            run_app(app, [*words, *quiet])
        except SystemExit as end:
            if end.code in (0, 1, 2):  # Hydra has printed its help, or its usage.
                raise ConfigError(_NOTHING) from None
            raise
        require(bool(app.runs), _NOTHING)
        from harness.sweep.summary_state import SummaryState
        from harness.tracking.reader import RunReader
        from harness.tracking.uri import tracking_uri

        sweep_id = SummaryState.read(app.folder).run_id if app.folder else ""
        ids = [sweep_id] if sweep_id else [run.run_id for run in app.runs]
        reader = RunReader(tracking_uri(app.runs[0].config.tracking.uri))
        return reader.load(ids, EPOCH_METRICS, with_sample=True)


@contextlib.contextmanager
def _process_as_it_was() -> Iterator[None]:
    """Restore the environment, the import path, the warning filters and Hydra's state afterwards."""
    environment, path = dict(os.environ), sys.path[:]
    hydra = GlobalHydra.instance()
    initialized, hydra.hydra = hydra.hydra, None
    try:
        with warnings.catch_warnings():
            yield
    finally:
        hydra.hydra = initialized
        sys.path[:] = path
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)
