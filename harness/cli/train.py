"""`harness train` and `harness plan`: passes the words to Hydra, and turns its errors into sentences."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import hydra
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from harness.cli.app import App
from harness.cli.compose import CONF
from harness.cli.hydra_errors import explain
from harness.cli.trust import OPTION
from harness.config import Config
from harness.errors import ConfigError
from harness.runtime.imports import add_cwd_to_path

if TYPE_CHECKING:
    from harness.sweep.plan import Run


def run(arguments: Sequence[str]) -> list[Run]:
    """Train what the words of a command line ask for, and return the ended runs."""
    app = App(arguments)
    run_app(app, arguments)
    return app.runs


def plan(arguments: Sequence[str]) -> None:
    """Print what `run` would do."""
    with tempfile.TemporaryDirectory() as folder:  # For the files that Hydra writes.
        app = App(arguments, previews=True)
        run_app(app, [*arguments, f"hydra.run.dir={folder}", f"hydra.sweep.dir={folder}"])
        app.preview()


def run_app(app: App, words: Sequence[str]) -> None:
    """Run `app` under Hydra with the words of a command line.

    Raises:
        ConfigError: The words, a configuration or the data cannot be used; nothing was trained.
    """
    add_cwd_to_path()
    ConfigStore.instance().store("schema", Config)
    shows_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    try:
        with _as_hydra_wants_it([word for word in words if word != OPTION]), app:
            hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(app)()
            if app.error:
                raise app.error
    except (HydraException, OmegaConfBaseException) as error:
        if shows_traceback:
            raise
        raise ConfigError(explain(error)) from error
    except (OSError, ValueError) as error:
        if shows_traceback or app.composed or isinstance(error, BrokenPipeError | ConfigError):
            raise
        is_about_a_file = isinstance(error, OSError) and error.strerror
        raise ConfigError(f"{error.strerror}: {error.filename}" if is_about_a_file else str(error)) from error


@contextlib.contextmanager
def _as_hydra_wants_it(words: Sequence[str]) -> Iterator[None]:
    """Set `sys.argv` and HYDRA_FULL_ERROR, the only ways to pass Hydra words and make it raise errors.

    Its parser takes options in one place only, but people write -m anywhere.
    """
    argv, full_error = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = ["harness train", *sorted(words, key=lambda word: word not in ("-m", "--multirun"))]
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        sys.argv = argv
        os.environ.pop("HYDRA_FULL_ERROR")
        if full_error is not None:
            os.environ["HYDRA_FULL_ERROR"] = full_error
