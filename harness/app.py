"""`harness train` as a Hydra application: from the command line's words to configurations, and on to the sweep.

TensorFlow and MLflow are imported when there is something to train, not before.
"""

from __future__ import annotations

import difflib
import itertools
import math
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException

from harness.compose import task_config
from harness.config import Config
from harness.hide import folder_of_job, hide_passwords, logged_without_passwords
from harness.refusal import ConfigError, require
from harness.trust import WORD, check_functions, check_packages

if TYPE_CHECKING:
    from harness.plan import Run
    from harness.sweep import Sweep

CONF = Path(__file__).resolve().parent.parent / "conf"


class App:
    """One call of `harness train`: what Hydra's task function, sweeper and launcher share.

    Attributes:
        command: The words of the call.
        runs: The runs that have ended so far.
        composed: Whether Hydra has done its part, and what goes wrong is no longer for its words.
        previews: Whether nothing is to be trained or recorded, only said what would be.
    """

    def __init__(self, arguments: Sequence[str], *, previews: bool = False) -> None:
        self.command = shlex.join(["harness", "train", *arguments])
        self.runs: list[Run] = []
        self.composed = False
        self.previews = previews
        self._settings: list[Config] = []
        self._signatures: list[str] = []
        self._options = _options(arguments)
        self._is_trusted = WORD in arguments
        self._sweep: Sweep | None = None
        self._process = os.getpid()

    def __enter__(self) -> App:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: Any) -> None:
        sweep, self._sweep = self._sweep, None
        if sweep:
            sweep.__exit__(kind, error, traceback)

    def check(self, configs: Sequence[DictConfig]) -> None:
        """Check composed configurations and their data, for a launcher that trains them one by one."""
        settings = self._settle(configs)
        from rich.console import Console

        from harness.plan import prepare
        from harness.progress import Display

        display = Display(Console())
        self._signatures = [run.signature for run in prepare(settings, display.reading)]
        display.clear()

    def train(self, jobs: Sequence[DictConfig], folder: Path | None) -> list[Run]:
        """Train composed jobs together and return their runs, in order; all calls are one sweep."""
        settings = self._settle([task_config(job) for job in jobs])
        if self.previews:
            self._settings += settings
            return []
        from rich.console import Console

        from harness import sweep
        from harness.progress import Display

        if self._sweep is None:
            display = Display(Console())
            self._sweep = sweep.Sweep(display, command=self.command, folder=folder, signatures=self._signatures)
        try:
            runs = self._sweep.train(settings, [self._command_of(job) for job in jobs])
            self.runs += runs
            if os.getpid() != self._process:
                self.__exit__(None, None, None)  # In a worker of another launcher nobody else ends it.
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return runs

    def preview(self) -> None:
        """Say what training all the jobs so far would be."""
        from rich.console import Console

        from harness.preview import preview
        from harness.progress import Display

        if self._settings:
            console = Console()
            preview(self._settings, Display(console), console)

    def _command_of(self, job: DictConfig) -> str:
        """Return the command that trains a job alone."""
        words = ["harness", "train", *self._options, *job.hydra.overrides.task]
        if job.hydra.runtime.choices.get("sweep"):
            words.append("hydra.mode=RUN")  # What it chooses may hold more than axes.
        return shlex.join(words)

    def _settle(self, configs: Sequence[DictConfig]) -> list[Config]:
        self.composed = True
        settings = [to_config(config) for config in configs]
        from harness.memory import keep_small

        for cache in {config.runtime.cache for config in settings}:
            _check_folder("runtime.cache", cache)
        targets = {} if self._is_trusted else dict.fromkeys(config.model["_target_"] for config in settings)
        check_packages(targets)
        keep_small()
        import_tensorflow()
        check_functions(targets)
        return settings


def run(arguments: Sequence[str]) -> list[Run]:
    """Run the Hydra application with the command line's words; return the ended runs.

    Raises:
        ConfigError: The words, a configuration or the data cannot be used; nothing was trained.
    """
    return _run(App(arguments), arguments)


def plan(arguments: Sequence[str]) -> None:
    """Say what `run` would do; raises as it does."""
    with tempfile.TemporaryDirectory() as folder:  # Of Hydra's own files.
        places = [f"hydra.run.dir={folder}", f"hydra.sweep.dir={folder}"]
        app = App(arguments, previews=True)
        _run(app, [*arguments, *places])
        app.preview()


def _run(app: App, arguments: Sequence[str]) -> list[Run]:
    errors: list[Exception] = []

    def task(config: DictConfig) -> float:
        hydra_config = HydraConfig.get()
        folder = Path(hydra_config.sweep.dir) if hydra_config.mode is RunMode.MULTIRUN else None
        hide_passwords(folder)
        hide_passwords(folder_of_job(hydra_config))
        job = config.copy()
        with open_dict(job):
            job.hydra = hydra_config
        try:
            ended = [] if errors else app.train([job], folder)
            return ended[0].objective if ended else math.inf
        except Exception as error:
            # It is raised below: Hydra would go on with the next job, and put words of its own before ours.
            errors.append(error)
            return math.inf

    look_here()
    task.app = app  # type: ignore[attr-defined]  # The sweeper and the launcher find it there.
    ConfigStore.instance().store("schema", Config)
    full_error = os.environ.get("HYDRA_FULL_ERROR")
    argv = sys.argv
    try:
        # Hydra would print errors and exit in its own way; this makes it raise them.
        os.environ["HYDRA_FULL_ERROR"] = "1"
        # Hydra's parser takes options at one place only, and -m is written anywhere.
        words = [word for word in arguments if word != WORD]
        sys.argv = ["harness train", *sorted(words, key=lambda word: word not in ("-m", "--multirun"))]
        with logged_without_passwords(), app:
            hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(task)()
            if errors:
                raise errors[0]
    except (HydraException, OmegaConfBaseException) as error:
        if full_error == "1":
            raise
        raise ConfigError(explain(error)) from error
    except (OSError, ValueError) as error:
        if full_error == "1" or app.composed or isinstance(error, BrokenPipeError):
            raise
        raise ConfigError(f"Hydra expected words and folders that it can use. Received: {error}.") from error
    finally:
        sys.argv = argv
        if full_error is None:
            del os.environ["HYDRA_FULL_ERROR"]
    return app.runs


def look_here() -> None:
    """Let Python find a model of the user's own in the working folder, after all else."""
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)


def to_config(config: DictConfig) -> Config:
    """Return a composed configuration as the dataclass that the library sees, checked."""
    try:
        settings: Any = OmegaConf.to_object(config)
    except MissingMandatoryValue as error:
        origin = OmegaConf.select(config, "data.origin")
        remedy = f" Get it from {origin}." if error.full_key == "data.path" and origin else ""
        raise ConfigError(
            f"{error.full_key} expected a value. Received: none.{remedy} Set {error.full_key}=VALUE."
        ) from error
    _check_keys(settings)
    return settings


def explain(error: Exception) -> str:
    """Put what Hydra or OmegaConf says of a bad override into a sentence that names key and options."""
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    if isinstance(cause, ConfigKeyError | ConfigAttributeError):
        beside: Any = cause.parent_node
        return _no_such_key(str(cause.full_key or cause.key), beside, is_open=cause.object_type is dict)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, option = error.missing_cfg_file.rpartition("/")
        guess = _guess(option, error.options)
        return f"{group} expected one of {', '.join(error.options)}. Received: {option}.{guess}"
    if isinstance(error, OverrideParseException):
        return f"the command line expected KEY=VALUE, as in chunksize=100. Received: {error.override}."
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    if isinstance(cause, OmegaConfBaseException):
        return _wrong_value(cause.full_key or "", lines[0].rstrip("."))
    if lines[0].startswith("Ambiguous value for argument"):
        word = lines[0].split(maxsplit=4)[-1].strip("'")
        return f"the command line expected one value. Received: {word}. Add -m to train with each of them."
    return " ".join(lines)


def _wrong_value(key: str, fault: str) -> str:
    """Put what OmegaConf says of the value of `key` into the project's form, as far as it is known."""
    if found := re.fullmatch(r"Value '(.*)' of type '.*' [ a-z]* '?(Integer|Float|Boolean|Optional.*)'?", fault):
        kinds = {"Integer": "a whole number", "Float": "a number", "Boolean": "true or false"}
        return f"{key} expected {kinds.get(found[2], 'a whole number or a word')}. Received: {found[1]}."
    if found := re.fullmatch(r"Invalid value '(.*)', expected one of \[(.*)\]", fault):
        return f"{key} expected one of {found[2]}. Received: {found[1]}.{_guess(found[1], found[2].split(', '))}"
    if "is not a ListConfig" in fault:
        return f"{key} expected a list, as in {key}=[a,b]. Received: a single value."
    if fault.endswith("is not Optional"):
        return f"{key} expected a value. Received: null."
    return f"{key}: {fault}." if key else f"{fault}."


def _check_keys(settings: Any, prefix: str = "") -> None:
    """Refuse keys that `+` has added to a dataclass, which nothing would ever read."""
    known = {field.name: getattr(settings, field.name) for field in fields(settings)}
    for name, value in vars(settings).items():
        if name not in known:
            raise ConfigError(_no_such_key(prefix + name, known))
        if is_dataclass(value):
            _check_keys(value, f"{prefix}{name}.")


def _no_such_key(key: str, beside: Mapping[str, Any], *, is_open: bool = False) -> str:
    """Say which keys stand `beside` an unknown one; an open mapping may be given more."""
    path, dot, name = key.rpartition(".")
    options = sorted({option for option in beside if option != "hydra"} | (set() if dot else set(_groups())))
    parts = {option: beside.get(option) for option in options}
    deeper = [f"{option}.{name}" for option, part in parts.items() if isinstance(part, Mapping) and name in list(part)]
    guess = f" Did you mean {deeper[0]}?" if deeper else _guess(name, options, path + dot)
    remedy = f" Write +{key}=VALUE to add one." if is_open and not guess else ""
    return f"no configuration key {key}.{guess} The keys there: {', '.join(options)}.{remedy}"


def _guess(word: str, options: Sequence[str], prefix: str = "") -> str:
    close = difflib.get_close_matches(word, options, n=1, cutoff=0.7)
    return f" Did you mean {prefix}{close[0]}?" if close else ""


def _groups() -> list[str]:
    return [path.name for path in CONF.iterdir() if path.is_dir()]


def _options(arguments: Sequence[str]) -> list[str]:
    """Return those among the words of a call that any job of it needs: where configurations lie, and trust."""
    found = [WORD] if WORD in arguments else []
    for word, following in itertools.pairwise([*arguments, ""]):
        name, equals, _ = word.partition("=")
        if name in ("--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn"):
            found += [word] if equals else [word, following]
    return found


def _check_folder(key: str, folder: str) -> None:
    """Refuse a folder that cannot be made or written to."""
    path = Path(folder).absolute()
    there = next(parent for parent in (path, *path.parents) if parent.exists())
    require(there.is_dir() and os.access(there, os.W_OK), f"{key} expected a folder that can be written to", path)


def import_tensorflow() -> None:
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
