"""`harness train`, `harness.train`, `harness plan` and `harness tune`: pass arguments to Hydra; explain its errors."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from harness.cli.app import App
from harness.cli.compose import CONF, register_schema
from harness.cli.hydra_errors import explain
from harness.cli.own_words import overrides
from harness.cli.startup import PRINTS
from harness.cli.trust import OPTION
from harness.cli.words import quote_for_hydra
from harness.config.overrides import hydra_value
from harness.errors import ConfigError, require
from harness.runtime.environment import default_environment, missing_home
from harness.runtime.imports import add_cwd_to_path
from harness.runtime.keras_settings import restore_user_settings
from harness.runtime.secrets import masked, remember_environment

if TYPE_CHECKING:
    from harness.cli.startup import Startup
    from harness.sweep.plan import Run
    from harness.tracking.frames import Sweep

_NOTHING = "Nothing to train: harness.train takes KEY=VALUE arguments, -m, --trust and --config-dir."
_ONE_AT_A_TIME = threading.Lock()


def run(arguments: Sequence[str]) -> list[Run]:
    """Train the runs that the command-line arguments describe, and return them."""
    return train(arguments).runs


def train(arguments: Sequence[str], startup: Startup | None = None) -> App:
    """Like `run`, but return the app, which also has the sweep."""
    app = App(arguments, startup=startup)
    with _without_secrets() if PRINTS.intersection(arguments) else contextlib.nullcontext():
        run_app(app, arguments)
    return app


def plan(arguments: Sequence[str], startup: Startup) -> None:
    """Print what `run` would do."""
    _composed(arguments, startup).preview()


def tune(arguments: Sequence[str], startup: Startup) -> None:
    """Measure which tiles would make `run` fastest."""
    _composed(arguments, startup).tune()


def _composed(arguments: Sequence[str], startup: Startup) -> App:
    """Return an app that has composed and checked its jobs, but has not trained them."""
    with tempfile.TemporaryDirectory() as folder:  # A folder for the files that Hydra writes.
        app = App(arguments, previews=True, startup=startup)
        run_app(app, [*arguments, f"hydra.run.dir={hydra_value(folder)}", f"hydra.sweep.dir={hydra_value(folder)}"])
        return app


def run_app(app: App, words: Sequence[str]) -> None:
    """Run `app` under Hydra with command-line arguments.

    Raises:
        ConfigError: The arguments, a configuration or the data are invalid; nothing was trained.
    """
    here = Path.cwd()
    require("${" not in str(here), f"Hydra does not work in {here}: its path contains `${{`. Rename the folder.")
    add_cwd_to_path()
    register_schema()
    shows_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    try:
        with _as_hydra_wants_it(overrides(quote_for_hydra([word for word in words if word != OPTION]))), app:
            try:
                hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(app)()
            finally:
                if app.error:  # Launchers and sweepers wrap the error, or continue.
                    raise app.error
    except (HydraException, OmegaConfBaseException) as error:
        if shows_traceback:
            raise
        raise ConfigError(masked(explain(error))) from error
    except (OSError, ValueError) as error:
        if shows_traceback or app.composed or isinstance(error, BrokenPipeError | ConfigError):
            raise
        if isinstance(error, OSError) and error.strerror:
            file = f": {Path(error.filename).absolute()}" if error.filename else " while writing a file"
            is_denied = isinstance(error, PermissionError) or error.errno == errno.EROFS
            remedy = ". Run the command in a folder that you can write to." if is_denied else ""
            raise ConfigError(masked(f"{error.strerror}{file}{remedy}")) from error
        raise ConfigError(masked(str(error))) from error


@contextlib.contextmanager
def _without_secrets() -> Iterator[None]:
    """Mask secrets in what is printed inside the block."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            yield
    finally:
        click.echo(masked(printed.getvalue()), nl=False)


@contextlib.contextmanager
def _as_hydra_wants_it(words: Sequence[str]) -> Iterator[None]:
    """Set `sys.argv` and HYDRA_FULL_ERROR, the only ways to pass arguments to Hydra and to make it raise errors.

    Options are moved to the one position that Hydra's parser accepts, since users write -m anywhere.
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


def train_in_process(words: Sequence[str]) -> Sweep:
    """Implement `harness.train`, for processes that do not belong to the harness, such as a notebook's."""
    require(not isinstance(words, str), f"harness.train takes a list of arguments, such as {str(words).split()}.")
    remember_environment()
    with _ONE_AT_A_TIME, _process_as_it_was():
        app = App(words, owns_process=False)
        # Hydra's logging would close the process's own handlers.
        quiet = [] if any(word.startswith("hydra/job_logging=") for word in words) else ["hydra/job_logging=none"]
        try:
            run_app(app, [*words, *quiet])
        except SystemExit as end:
            if end.code in (0, 1, 2):  # Hydra has printed its help or usage.
                raise ConfigError(_NOTHING) from None
            raise
        require(bool(app.runs), _NOTHING)
        from harness.tracking.reader import RunReader
        from harness.tracking.uri import tracking_uri

        ids = [app.sweep_id] if app.sweep_id else [run.run_id for run in app.runs]
        reader = RunReader(tracking_uri(app.runs[0].config.tracking.uri))
        return reader.load(ids, with_sample=True)


@contextlib.contextmanager
def _process_as_it_was() -> Iterator[None]:
    """Restore the environment, the import path, the warning filters, Keras's settings and Hydra's state afterwards."""
    environment, path = dict(os.environ), sys.path[:]
    hydra = GlobalHydra.instance()
    initialized, hydra.hydra = hydra.hydra, None
    try:
        with default_environment(missing_home()), warnings.catch_warnings():
            yield
    finally:
        restore_user_settings()
        hydra.hydra = initialized
        sys.path[:] = path
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)
