"""`harness train` as a Hydra application: from the command line's words to configurations, and on to the sweep.

TensorFlow and MLflow are imported when there is something to train, not before.
"""

from __future__ import annotations

import difflib
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException

from harness.config import Config, ConfigError

if TYPE_CHECKING:
    from harness.plan import Run

CONF = Path(__file__).resolve().parent.parent / "conf"


class App:
    """One call of `harness train`: what Hydra's task function and launcher share.

    Attributes:
        command: The words of the call.
        runs: The runs that have ended so far.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self.command = shlex.join(["harness", "train", *arguments])
        self.runs: list[Run] = []

    def train(self, configs: Sequence[DictConfig], folder: Path | None) -> list[Run]:
        """Train composed configurations together and return their runs, in order."""
        settings = [to_config(config) for config in configs]
        _import_tensorflow()
        from rich.console import Console

        from harness import sweep
        from harness.progress import Display

        runs = sweep.train(settings, Display(Console()), command=self.command, folder=folder)
        self.runs += runs
        return runs


def run(arguments: Sequence[str]) -> list[Run]:
    """Run the Hydra application with the command line's words; return the ended runs.

    Raises:
        ConfigError: The words, a configuration or the data cannot be used; nothing was trained.
    """
    app = App(arguments)

    def task(config: DictConfig) -> float:
        job = HydraConfig.get()
        folder = Path(job.sweep.dir) if job.mode is RunMode.MULTIRUN else None
        return app.train([config], folder)[0].objective

    task.app = app  # type: ignore[attr-defined]  # The launcher finds it there.
    ConfigStore.instance().store("schema", Config)
    full_error = os.environ.get("HYDRA_FULL_ERROR")
    argv = sys.argv
    try:
        # Hydra would print errors and exit in its own way; this makes it raise them.
        os.environ["HYDRA_FULL_ERROR"] = "1"
        sys.argv = ["harness train", *arguments]
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(task)()
    except (HydraException, OmegaConfBaseException) as error:
        if full_error == "1":
            raise
        raise ConfigError(explain(error)) from error
    finally:
        sys.argv = argv
        if full_error is None:
            del os.environ["HYDRA_FULL_ERROR"]
    return app.runs


def to_config(config: DictConfig) -> Config:
    """Return a composed configuration as the dataclass that the library sees, checked."""
    try:
        return OmegaConf.to_object(config)  # type: ignore[return-value]
    except MissingMandatoryValue as error:
        origin = OmegaConf.select(config, "data.origin")
        remedy = f" Get it from {origin}." if error.full_key == "data.path" and origin else ""
        raise ConfigError(
            f"{error.full_key} expected a value. Received: none.{remedy} Set {error.full_key}=VALUE."
        ) from error


def explain(error: Exception) -> str:
    """Put what Hydra or OmegaConf says of a bad override into one sentence that names key and options."""
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    if isinstance(cause, ConfigKeyError):
        options = _options(cause)
        key = str(cause.full_key or cause.key)
        close = difflib.get_close_matches(str(cause.key), options, n=1)
        guess = f" Did you mean {key.removesuffix(str(cause.key)) + close[0]}?" if close else ""
        return f"No configuration key {key!r}.{guess} The keys there: {', '.join(options)}."
    text = str(cause if isinstance(cause, OmegaConfBaseException) else error)
    return " ".join(line.strip() for line in text.splitlines() if line.strip() and "object_type" not in line)


def _options(error: ConfigKeyError) -> list[str]:
    """Return the keys beside an unknown one."""
    parent: Any = error.parent_node
    if isinstance(parent, DictConfig):
        return sorted(str(key) for key in parent if key != "hydra")
    kind = error.object_type
    return [field.name for field in fields(kind)] if is_dataclass(kind) else []


def _import_tensorflow() -> None:
    """Import TensorFlow without the notes that it writes to the terminal before it can be told not to."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    sys.stderr.flush()
    terminal = os.dup(2)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            import tensorflow as tf
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
    tf.get_logger().setLevel("ERROR")
