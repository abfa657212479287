"""Computes signatures and `rounding`; two runs with the same signature are the same run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import fields

import keras
import scipy
import tensorflow as tf

from harness.config import Config, Precision, RuntimeConfig
from harness.config.dialect import Dialect
from harness.config.naming import PRECISION
from harness.data.tables.table import Table
from harness.runtime.instruction_set import USUAL, instruction_set
from harness.runtime.onednn import DEFAULT as ONEDNN_DEFAULT
from harness.runtime.onednn import onednn
from harness.runtime.own_modules import source_digest

ROUNDING = "rounding"
"""The tag with a run's `rounding`."""

TILE = "tile"
"""The tag that holds the number of lanes that a run's calls updated; if memory ran out, `8, then 4`."""

_FILE_FORMAT = ("data.path", "data.rows", "data.origin", *(f"data.{key.name}" for key in fields(Dialect)))
# Settings that cannot affect a run's results, or affect them only through the table.
_IMAGES = tuple(f"data.{key}" for key in ("labels", "holdout_path", "path_column", "label_column", "unreadable"))
_OTHERS = ("objective.metric", "data.date_format", "data.exclude", "data.embed")
_IGNORED = ("tracking.", "runtime.", *_OTHERS, *_FILE_FORMAT, *_IMAGES)


def signature(config: Config, table: Table) -> str:
    """Hash everything that a run's results depend on: its settings, its table's content and its model's source."""
    settings = {key: value for key, value in config.flat().items() if not key.startswith(_IGNORED)}
    if not config.stopping.is_on:
        settings = {key: value for key, value in settings.items() if not key.startswith("stopping.")}
    elif config.stopping.metric is None:
        settings["stopping.metric"] = config.objective.metric  # The default value means the deciding metric.
    if config.runtime.precision is not Precision.float32:
        settings[PRECISION] = config.runtime.precision.value
    for key in ("data.log_columns", "data.categorical", "data.dates"):
        if key in settings:
            settings[key] = sorted(settings[key])
    return hash_json([sorted(settings.items()), table.digest, source_code(config.model["_target_"])])


def sweep_signature(signatures: Iterable[str]) -> str:
    """Hash the set of signatures of a sweep's runs."""
    return hash_json(sorted(set(signatures)))


def search_signature(facts: Mapping[str, object], signatures: Iterable[str]) -> str:
    """Hash everything that a search's trials depend on: its own `facts`, and what its first runs depend on."""
    return hash_json([facts, scipy.__version__, sorted(set(signatures))])


def rounding(runtime: RuntimeConfig, device: str) -> str:
    """Hash everything else that can change the last bits of results: versions, processor, device and other settings."""
    settings = (getattr(runtime, name) for name in ("lane_tile", "gram", "threads", "deterministic"))
    # Appended only if they differ from the usual ones, so that records without them stay comparable.
    kernels = [onednn()] if onednn() != ONEDNN_DEFAULT else []
    kernels += [instruction_set()] if "CPU" in device and instruction_set() != USUAL else []
    return hash_json([tf.__version__, keras.__version__, device, *settings, *kernels])


def hash_json(value: object) -> str:
    """Hash the JSON of a value to 16 hexadecimal digits."""
    return hashlib.blake2b(json.dumps(value).encode(), digest_size=8).hexdigest()


def source_code(target: str) -> str:
    """Return a digest of a user's model and of all modules that it needs; for built-in models, the name suffices."""
    if target.split(".")[0] in ("keras", "harness"):
        return ""
    return source_digest(target.rpartition(".")[0])
