"""Turns Hydra and OmegaConf errors into sentences that name the key, the valid choices and a likely correction."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from harness.cli.compose import CONF
from harness.cli.own_words import OTHER_NAMES
from harness.cli.words import suggestion
from harness.config import DATA_KINDS, RuntimeConfig
from harness.config.objective import CLASSES_LOSS
from harness.config.overrides import override
from harness.errors import ConfigError

OPTIMIZER_ARGUMENTS = ("amsgrad", "clipnorm", "clipvalue", "global_clipnorm", "weight_decay")
"""Arguments of optimizers that are not keys of their files."""

_KINDS = {"Integer": "a whole number", "Float": "a number", "Boolean": "true or false"}


def explain(error: Exception) -> str:
    """Explain, in a sentence, an error of Hydra or OmegaConf about the arguments of a command."""
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    if isinstance(cause, ConfigKeyError | ConfigAttributeError):
        siblings: Any = cause.parent_node
        return _no_such_key(str(cause.full_key or cause.key), siblings, is_open=cause.object_type is dict)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, path = error.missing_cfg_file.partition("/")
        if group == "data" and (start := _on_file(path)):
            return f"no such data: {path}. {start}"
        group, _, option = error.missing_cfg_file.rpartition("/")
        return f"no such {group}: {option}.{_guess(option, error.options)} Available: {', '.join(error.options)}."
    if isinstance(error, OverrideParseException):
        word = str(error.override)
        advice = _on_file(word) or suggestion(word) or "Write KEY=VALUE, such as chunksize=100."
        return f"cannot parse {word}. {advice}"
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    if isinstance(cause, OmegaConfBaseException):
        return _wrong_value(cause.full_key or "", lines[0].rstrip("."))
    if found := re.match(r"Could not append to config. An item is already at '(.*)'", lines[0]):
        return f"{found[1]} already has a value: write {found[1]}=VALUE, without +."
    if lines[0].startswith("Ambiguous value for argument"):
        word = lines[0].split(maxsplit=4)[-1].strip("'")
        key, _, value = word.partition("=")
        if _takes_list(key):
            return f"{key} must be a list. Write {shlex.quote(f'{key}=[{value}]')}."
        return f"{word} has several values. Add -m to train with each of them."
    if found := re.match("Sweep parameters '(.*)' requires --multirun", lines[0]):
        return f"{found[1]} is more than one value. Add -m to train or search all of them."
    if found := re.fullmatch("Additional config directory '(.*)' not found", lines[0]):
        return f"--config-dir: no such folder: {found[1]}"
    return " ".join(lines)


def check_keys(settings: Any, prefix: str = "") -> None:
    """Reject keys that `+` adds to a dataclass, since nothing would read them."""
    known = {field.name: getattr(settings, field.name) for field in fields(settings)}
    for name, value in vars(settings).items():
        if name not in known:
            raise ConfigError(_no_such_key(prefix + name, known))
        if is_dataclass(value):
            check_keys(value, f"{prefix}{name}.")


def _wrong_value(key: str, fault: str) -> str:
    if found := re.fullmatch(r"Value '(.*)' of type '.*' [ a-z]* '?(Integer|Float|Boolean|Optional.*)'?", fault):
        return (
            f"{key} must be {_KINDS.get(found[2], 'a whole number or `full`')}, not {found[1]}.{_swept(key, found[1])}"
        )
    if found := re.fullmatch(r"Invalid value '(.*)', expected one of \[(.*)\]", fault):
        options = found[2].split(", ")
        choices = " or ".join(filter(None, (", ".join(options[:-1]), options[-1])))
        return f"{key} must be {choices}, not {found[1]}.{_guess(found[1], options)}"
    if found := re.fullmatch(r"Value (\[.*\]) \(list\) is not a valid input for .*", fault):
        return f"{key} must be one value, not {found[1]}.{_swept(key, found[1])}"
    if "is not a ListConfig" in fault:
        return f"{key} must be a list, such as {key}=[a,b]."
    if fault.endswith("is not Optional"):
        return f"{key} must not be null."
    return f"{key}: {fault}." if key else f"{fault}."


def _on_file(path: str) -> str:
    """Return a sentence saying how to train on a file, or a folder of images; empty if there is none."""
    try:
        if not path or not Path(path).exists():
            return ""
    except OSError:  # For example, it is too long for a name.
        return ""
    if Path(path).is_dir():
        from harness.data.profiling.describe_images import has_images

        if not has_images(path):
            return ""
        classes = f"model=cnn loss={CLASSES_LOSS.value}"
        return f"To train on a folder of images, write data=images {override('data.path', path)} {classes}."
    from harness.data.profiling.remedies import ANY_COLUMNS, words_to_start

    words = words_to_start(path) or ANY_COLUMNS
    return f"To train on a file, write data=csv {override('data.path', path)} {words}."


def _swept(key: str, value: str) -> str:
    """Return how to sweep over a list's items, given as Python prints the list; empty for other values."""
    if not value.startswith("["):
        return ""
    several = re.sub(r"[][' ]", "", value)
    return f" To train with each of them, write -m {shlex.quote(f'{key}={several}')}."


def _takes_list(key: str) -> bool:
    """Return True if a key's type is a list, or if a file of its group sets the key to a list."""
    group, _, name = key.lstrip("+").partition(".")
    kinds = {"data": DATA_KINDS.values(), "runtime": [RuntimeConfig]}.get(group, [])
    files = (OmegaConf.load(file) for file in (CONF / group).glob("*.yaml")) if name else ()
    is_typed = any(each.name == name and str(each.type).startswith("list") for kind in kinds for each in fields(kind))
    return is_typed or any(isinstance(file, DictConfig) and isinstance(file.get(name), ListConfig) for file in files)


def _no_such_key(key: str, siblings: Mapping[str, Any], *, is_open: bool = False) -> str:
    """Suggest the key that was probably meant, or list its siblings; open mappings also accept new keys."""
    if key == "experiment":  # Hydra knows the group only if it exists in some folder.
        return "there are no experiments here. Define one in conf/experiment/NAME.yaml, here or under --config-dir."
    path, dot, name = key.rpartition(".")
    options = sorted({option for option in siblings if option != "hydra"} | (set() if dot else set(_groups())))
    parts = {option: siblings.get(option) for option in options}
    deeper = [f"{option}.{name}" for option, part in parts.items() if isinstance(part, Mapping) and name in list(part)]
    deeper = [OTHER_NAMES[key]] if key in OTHER_NAMES else deeper
    guess = f" Did you mean {deeper[0]}?" if deeper else _guess(name, options, path + dot)
    listed = "" if guess or not options else f" {path or 'The configuration'} has: {', '.join(options)}."
    remedy = f" Write +{key}=VALUE to add it." if is_open and not guess else ""
    if path == "optimizer" and name not in OPTIMIZER_ARGUMENTS:
        having = [f"optimizer={file.stem}" for file in _optimizers() if name in _keys_of(file)]
        remedy = f" {' and '.join(having)} {'have' if len(having) > 1 else 'has'} it." if having else ""
    return f"no such key: {key}.{guess}{listed}{remedy}"


def _guess(word: str, options: Sequence[str], prefix: str = "") -> str:
    close = difflib.get_close_matches(word, options, n=1, cutoff=0.7)
    return f" Did you mean {prefix}{close[0]}?" if close else ""


def _optimizers() -> list[Path]:
    return sorted((CONF / "optimizer").glob("*.yaml"))


def _keys_of(file: Path) -> list[str]:
    return re.findall(r"^(\w+):", file.read_text(encoding="utf-8"), re.MULTILINE)


def _groups() -> list[str]:
    return [path.name for path in CONF.iterdir() if path.is_dir() and path.name != "hydra"]
