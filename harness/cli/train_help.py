"""The help of `harness train`: options, groups, and all keys with their descriptions."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import is_dataclass
from typing import Any, get_type_hints

import yaml

from harness.cli.compose import CONF
from harness.config import DATA_KINDS, Config, DataConfig, RuntimeConfig, TrackingConfig
from harness.config.dialect import Dialect
from harness.config.meanings import Key, keys, written
from harness.config.objective import ObjectiveConfig
from harness.config.search import SearchConfig
from harness.config.stopping import StoppingConfig

OPTIONS = (
    (
        "-m",
        "Train all combinations of comma-separated values, or search intervals: "
        "learning_rate=tag(log,interval(1e-4,1)).",
    ),
    ("--name NAME", "Name of the sweep or run; the same as tracking.name=NAME."),
    ("--trust", "Allow a model function from outside harness, keras and experiments."),
    ("--config-dir DIR", "A folder with experiment/, data/, model/, ..., used in addition to conf/ in this folder."),
    ("--cfg job", "Print the values in use instead of training."),
    ("--hydra-help", "Print Hydra's own options."),
)
SECTIONS = (
    ("Settings that usually vary between runs", "", Config),
    ("Loss and deciding metric", "objective.", ObjectiveConfig),
    ("When runs end", "stopping.", StoppingConfig),
    ("Searches of intervals, with -m", "search.", SearchConfig),
    ("Data: rows of files", "data.", DataConfig),
    ("Data: format of text files", "data.", Dialect),
    *((f"Data: {name}, with data={name}", "data.", kind) for name, kind in DATA_KINDS.items() if name != "rows"),
    ("Records", "tracking.", TrackingConfig),
    ("Speed and memory", "runtime.", RuntimeConfig),
)
QUOTING = (
    "Values with spaces, commas, brackets or = need two pairs of quotes: one for the shell, and one inside. Write "
    "\"data.target='price (EUR)'\" or \"data.features=['a b','c,d']\"."
)


def train_help(width: int) -> str:
    """Return the help as text of at most `width` columns."""
    root = yaml.safe_load((CONF / "config.yaml").read_text(encoding="utf-8"))
    parts = [root["hydra"]["help"]["header"].rstrip(), "", "Options:", *_entries(OPTIONS, width, 20)]
    parts += ["", "Groups (GROUP=NAME chooses a file in conf/):", *_entries(_groups(), width, 20)]
    parts += ["", "Keys (KEY=VALUE; their defaults are in parentheses)"]
    for title, prefix, schema in SECTIONS:
        parts += ["", f"{title}:"]
        for key in _keys(schema, prefix, root):
            default = f" ({key.default})" if key.default else ""
            parts += [f"  {key.name}{default}", *_wrapped(key.meaning, width, 6)]
    return "\n".join([*parts, "", *_wrapped(QUOTING, width, 0)])


def _keys(schema: type, prefix: str, root: dict[str, Any]) -> Iterator[Key]:
    hints = get_type_hints(schema)
    for key in keys(schema, prefix):
        name = key.name.removeprefix(prefix)
        if not is_dataclass(hints[name]) and name not in ("model", "optimizer"):
            yield key._replace(default=written(root[name])) if not prefix and name in root else key


def _groups() -> Iterator[tuple[str, str]]:
    for name in ("data", "model", "optimizer", "search", "experiment", "sweep"):
        options = sorted(path.stem for path in (CONF / name).glob("*.yaml"))
        if options:
            yield name, ", ".join(options)


def _entries(pairs: Iterator[tuple[str, str]] | tuple[tuple[str, str], ...], width: int, indent: int) -> Iterator[str]:
    for name, text in pairs:
        first, *rest = _wrapped(text, width, indent)
        yield f"  {name:<{indent - 2}}{first.lstrip()}"
        yield from rest


def _wrapped(text: str, width: int, indent: int) -> list[str]:
    margin = " " * indent
    return textwrap.wrap(text.replace("`", ""), width, initial_indent=margin, subsequent_indent=margin)
