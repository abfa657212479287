"""What is wrong with the words of a call, in sentences that name keys, options and the nearest guess."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from harness.cli.compose import CONF
from harness.errors import ConfigError


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


def check_keys(settings: Any, prefix: str = "") -> None:
    """Refuse keys that `+` has added to a dataclass, which nothing would ever read."""
    known = {field.name: getattr(settings, field.name) for field in fields(settings)}
    for name, value in vars(settings).items():
        if name not in known:
            raise ConfigError(_no_such_key(prefix + name, known))
        if is_dataclass(value):
            check_keys(value, f"{prefix}{name}.")


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
