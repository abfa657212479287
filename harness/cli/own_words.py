"""Arguments of `harness train` that Hydra does not know, written as overrides."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import fields

from harness.config import Config
from harness.config.overrides import hydra_value
from harness.errors import require

NAME = "--name"
OTHER_NAMES = {"lr": "learning_rate", "uri": "tracking.uri", "workers": "runtime.workers", "device": "runtime.device"}
OTHER_NAMES |= dict.fromkeys(("batch", "batch_size", "batchsize", "chunk"), "chunksize")
"""Keys by other names, such as those that tables and other commands use."""

_TAG = re.compile(r"tracking\.tags\.[^=]+=")
_OPTION = re.compile(r"(--?)([A-Za-z][\w.-]*)(?:=(.*))?", re.DOTALL)
_HYDRA_OPTIONS = "help hydra-help version cfg resolve package run multirun shell-completion config-path config-name "
_HYDRA_OPTIONS += "config-dir experimental-rerun info"
_HYDRA_LETTERS = tuple("hcprmsi")


def overrides(words: Sequence[str]) -> list[str]:
    """Return arguments with `--name NAME` and `tracking.tags.KEY=VALUE` as overrides that Hydra accepts.

    Raises:
        ConfigError: --name has no value, or there is no such option.
    """
    found, rest = [], list(words)
    while rest:
        word = rest.pop(0)
        if word == NAME or word.startswith(f"{NAME}="):
            name = word.partition("=")[2] if "=" in word else rest.pop(0) if rest else ""
            require(bool(name), f"{NAME} needs a name: {NAME} 'first try'.")
            word = f"tracking.name={hydra_value(name)}"
        _check_option(word, rest)
        found.append(f"++{word}" if _TAG.match(word) else word)
    return found


def _check_option(word: str, following: Sequence[str]) -> None:
    """Reject an option that does not exist; Hydra would only print its usage."""
    found = _OPTION.fullmatch(word)
    if not found:
        return
    dashes, name, value = found.groups()
    # Hydra accepts the beginnings of long options, and letters joined to each other or to a value.
    is_long = dashes == "--"
    exists = any(each.startswith(name) for each in _HYDRA_OPTIONS.split()) if is_long else name[0] in _HYDRA_LETTERS
    key = name.replace("-", "_")
    key = OTHER_NAMES.get(key, key)
    if value is None:
        value = following[0] if following and "=" not in following[0] and following[0][:1] != "-" else "VALUE"
    is_key = key.partition(".")[0] in {field.name for field in fields(Config)}
    form = shlex.quote(f"{key}={value}") if is_key else "settings in the form KEY=VALUE, such as epochs=5"
    require(exists, f"no such option: {dashes}{name}. Write {form}.")
