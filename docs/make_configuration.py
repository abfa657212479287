"""Write `configuration.md` from the schema in `harness.config` and the values in `conf/`.

python docs/make_configuration.py
"""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from pathlib import Path

import yaml

from harness.config import (
    Config,
    DataConfig,
    ImagesConfig,
    ObjectiveConfig,
    RuntimeConfig,
    SearchConfig,
    StoppingConfig,
    TrackingConfig,
)
from harness.config.dialect import Dialect
from harness.config.launchers import RayConfig, SlurmConfig, WorkersConfig
from harness.config.meanings import default_of, keys, meanings, written

ROOT = Path(__file__).parents[1]
GROUPS = ("data", "model", "optimizer")

START = """# Configuration

<!-- Written by `python docs/make_configuration.py`; edit the docstrings in harness/config/ instead. -->

Every key can be set on the command line as `KEY=VALUE`, for example `harness train chunksize=1000 data.holdout=0.1`.
With `-m`, a key takes several values, separated by commas, and the sweep trains all combinations; keys of `runtime` and
`tracking` cannot be swept. `harness train --help` lists all keys, and `harness train --cfg job` prints the values in
use. `null` stands for no value, `???` for a value that must be given.
"""
SECTIONS = (
    ("Root", "", Config, "Settings that usually vary between the runs of a sweep."),
    ("objective", "objective.", ObjectiveConfig, "Parameters of `loss`, and the deciding metric."),
    ("data", "data.", DataConfig, "Where rows come from and how they are prepared. See [data.md](data.md)."),
    (
        "data: text files",
        "data.",
        Dialect,
        "The format of text files. `harness data describe FILE` suggests values. Not part of a run's signature.",
    ),
    (
        "data of images",
        "data.",
        ImagesConfig,
        "With `data=images` and `data=digits`, these are the keys of `data.*`. See [images.md](images.md).",
    ),
    (
        "stopping",
        "stopping.",
        StoppingConfig,
        "When a run stops early. See [comparison.md](comparison.md#early-stopping).",
    ),
    ("search", "search.", SearchConfig, "How a sweep with an interval searches. See [search.md](search.md)."),
    ("tracking", "tracking.", TrackingConfig, "Where runs are recorded. Not part of a run's signature."),
    (
        "runtime",
        "runtime.",
        RuntimeConfig,
        "Speed and memory. Apart from `precision`, nothing here changes a result beyond float32 rounding.",
    ),
    (
        "hydra/launcher=workers",
        "hydra.launcher.",
        WorkersConfig,
        "Divides a sweep among processes on this machine. See [scale.md](scale.md).",
    ),
    (
        "hydra/launcher=slurm",
        "hydra.launcher.",
        SlurmConfig,
        "Divides a sweep among jobs on a Slurm cluster. See [scale.md](scale.md#slurm).",
    ),
    (
        "hydra/launcher=ray",
        "hydra.launcher.",
        RayConfig,
        "Divides a sweep among actors on a Ray cluster. See [scale.md](scale.md#ray).",
    ),
)
END = """
## Groups

`data=NAME`, `model=NAME` and `optimizer=NAME` each select a file in `conf/`; the first of each kind is the default.
Keys of the selected file can be set too, for example `harness train optimizer=sgd optimizer.momentum=0.5`.

| choice | values |
| --- | --- |
"""


def page() -> str:
    """Return the text of `configuration.md`."""
    root = yaml.safe_load((ROOT / "conf/config.yaml").read_text(encoding="utf-8"))
    defaults = {key: value for entry in root["defaults"] if isinstance(entry, dict) for key, value in entry.items()}
    parts = [START]
    for title, prefix, schema, sentence in SECTIONS:
        parts.append(f"\n## {title}\n\n{sentence}\n\n| key | type | default | meaning |\n| --- | --- | --- | --- |\n")
        names = {key.name for key in keys(schema)}
        own = [field for field in dataclasses.fields(schema) if field.name in names]
        parts += [_row(prefix, field, schema, root) for field in own]
    parts.append(END)
    for group in GROUPS:
        for path in sorted(
            (ROOT / "conf" / group).glob("*.yaml"), key=lambda path: (path.stem != defaults[group], path)
        ):
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
            text = ", ".join(f"`{key}={written(value)}`" for key, value in values.items() if key != "defaults")
            parts.append(f"| `{group}={path.stem}` | {text} |\n")
    return "".join(parts)


def _row(prefix: str, field: dataclasses.Field, schema: type, root: dict) -> str:
    kind = typing.get_type_hints(schema)[field.name]
    if dataclasses.is_dataclass(kind):
        return f"| `{prefix}{field.name}.*` | | | {_meanings(schema)[field.name]} See below. |\n"
    default = default_of(field) or (written(root[field.name]) if not prefix and field.name in root else "")
    default = f"`{default}`" if default or field.default == "" else "from the group"
    return f"| `{prefix}{field.name}` | {_type(kind)} | {default} | {_meanings(schema)[field.name]} |\n"


def _meanings(schema: type) -> dict[str, str]:
    return {name: text.replace("None", "`null`") for name, text in meanings(schema).items()}


def _type(kind: typing.Any) -> str:
    if isinstance(kind, types.UnionType):
        return ", ".join(dict.fromkeys(_type(part) for part in typing.get_args(kind)))
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return ", ".join(f"`{each.value}`" for each in kind)
    names = {int: "integer", float: "number", str: "text", bool: "`true`, `false`", types.NoneType: "`null`"}
    names |= {
        list[int]: "list of integers",
        dict[str, int]: "mapping",
        list[str]: "list of names",
        list[int]: "list of numbers",
        list[typing.Any]: "list",
        dict[str, typing.Any]: "mapping",
        dict[str, str]: "mapping",
        typing.Any: "text, list, `null`",
    }
    return names[kind]


if __name__ == "__main__":
    Path(__file__).with_name("configuration.md").write_text(page(), encoding="utf-8")
