"""The configuration's schema: keys, types, units, and checks that run before anything else.

Values live in `conf/`; the library sees only these classes. They are never modified once built; they are not frozen
because Hydra cannot compose frozen classes.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum
from typing import Any

from harness.config.any_data import AnyData
from harness.config.keys import LONGEST, key_of
from harness.config.limits import MOST_BYTES, MOST_EPOCHS, MOST_ROWS, check_values, require_number, require_whole, shown
from harness.config.objective import Loss, ObjectiveConfig
from harness.config.search import SearchConfig
from harness.config.stopping import StoppingConfig
from harness.errors import require


class LogModel(Enum):
    """Which runs of a sweep log their model."""

    best = "best"
    all = "all"
    none = "none"


class Device(Enum):
    """The device to train on."""

    auto = "auto"
    cpu = "cpu"
    gpu = "gpu"


class Precision(Enum):
    """The precision in which layers compute, by the name of Keras's dtype policy."""

    float32 = "float32"
    mixed_bfloat16 = "mixed_bfloat16"
    mixed_float16 = "mixed_float16"


class FullSample(Enum):
    """How a full-sample run reads its rows."""

    streamed = "streamed"
    resident = "resident"


_OWN_TAGS = (
    "kind, sample, signature, sweep, command, device, rounding, host, claims, lease, calls, failure, diverged_at, "
    "reproduces, rows_dropped, fields_filled, model_not_logged, labels, compiler, TF_ENABLE_ONEDNN_OPTS, slice_rows, "
    "stopped_at, pruned_at, instruction_set, restored_epoch, search, search_effort, search_seed, search_spent, "
    "objective.metric, tile, cuda, cudnn, tf32, gpu_driver, gpu_memory_mib"
)
OWN_TAGS = frozenset(_OWN_TAGS.split(", "))
"""Tags that the harness sets itself."""

FULL = "full"
DEFAULT_EXPERIMENT = "harness"


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings and dataclasses to dotted keys, with enums replaced by their values.

    Keys of `model` may be any text; dots in them are escaped by `key_of`.
    """
    flat: dict[str, Any] = {}
    for name, value in values.items():
        key = prefix + key_of(str(name), reserved=".")
        if is_dataclass(value):
            flat |= flatten(vars(value), f"{key}.")
        elif isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{key}.")
        else:
            flat[key] = value.value if isinstance(value, Enum) else value
    return flat


@dataclass
class TrackingConfig:
    """Where runs are recorded.

    Attributes:
        uri: MLflow tracking URI; None means `MLFLOW_TRACKING_URI`, or else `mlflow.db` in the working folder.
        experiment: Name of the MLflow experiment; None means `MLFLOW_EXPERIMENT_NAME`, or else the name of the chosen
            `experiment`, or else `harness`.
        log_model: Which runs of a sweep log their model.
        wait: Seconds to wait at the end of training for an unreachable tracking server.
        lease_seconds: Seconds for which a process may be out of contact with a tracking server before other machines
            take over its runs.
        curve_points: Maximum number of points of `train/chunk_loss` to keep; at least 3.
        name: Name of the sweep, or of a single run; `--name` sets it too. None names it after its settings.
        note: Description in MLflow, in Markdown, of the sweep or of a single run.
        tags: Tags for all runs and the sweep: `tracking.tags.KEY=VALUE`.
        early_updates: Also evaluate runs during the first epochs: after updates 1, 2, 5, 10, 20 and so on.
    """

    uri: str | None = None
    experiment: str | None = None
    log_model: LogModel = LogModel.best
    wait: float = 600.0
    lease_seconds: float = 60.0
    curve_points: int = 1000
    name: str | None = None
    note: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    early_updates: bool = True

    def __post_init__(self) -> None:
        require(
            self.name is None or 0 < len(self.name) <= LONGEST, f"tracking.name must have 1 to {LONGEST} characters."
        )
        for key in self.tags:
            usable = key_of(key) == key and 0 < len(key) <= LONGEST and key not in OWN_TAGS
            require(
                usable and not key.startswith("mlflow."), f"tracking.tags: {key!r} is not allowed as the name of a tag."
            )
        require_number("tracking.wait", self.wait, 0, 1e9)
        require_number("tracking.lease_seconds", self.lease_seconds, 1, 1e6)
        require_whole("tracking.curve_points", self.curve_points, 3, 10**7)


@dataclass
class RuntimeConfig:
    """Speed and memory; apart from `precision`, nothing here changes a result beyond float32 rounding.

    Attributes:
        device: `auto` uses a GPU if TensorFlow sees one, else the CPU.
        devices: Indices of the GPUs to divide the runs among, such as `[0,1]`; None means the first one. With
            `device=cpu`, TensorFlow divides the CPU into that many devices, which lets you try this out. Does not
            affect results.
        device_memory_mb: Limit in MB for TensorFlow's memory on a GPU, and on any device for a resident sample and for
            what a scan needs at once; None means no limit.
        block_rows: Rows read from a table at once; None means as many as fit in 4 MiB.
        precision: Keras's dtype policy for the layers: `float32`, `mixed_bfloat16` or `mixed_float16`. Weights, losses
            and metrics remain float32. `mixed_float16` scales each run's loss so that its gradients do not vanish, and
            skips updates whose gradients overflow. Changes results; runs with different precisions are different runs.
        full_sample: `streamed` reads the table in blocks; `resident` keeps the whole sample in the device's memory.
        lane_tile: Lanes updated by one call; None means 8, or 1 for models with more than 1,000 weights; on a GPU, all
            lanes that can share a call, up to 1,024 or as many as fit in half of its memory. `harness tune` replaces
            these defaults with what it measures. Unless it is set, tiles are made smaller if memory is short. Changes
            rounding: results are bit-identical only for equal values.
        gram: Update linear models with squared error from the Gram matrices of their chunks if that is faster; false
            trains on the rows, as for all other models. Changes rounding.
        threads: Threads per TensorFlow operation. Changes rounding.
        workers: Tiles updated in parallel; None means one per core that the process may use, or a single one on a GPU.
        cache: Folder for tables, generated data, checkpoints, undelivered records and measured tiles.
        deterministic: Restrict TensorFlow to deterministic operations, which are slower on a GPU; on a CPU, operations
            are always deterministic.
        time_alone: After a scan with several lanes, time one update of each kind on its own and record `time/alone_s`.
        rerun: Retrain runs that are already finished.
    """

    device: Device = Device.auto
    devices: list[int] | None = None
    device_memory_mb: int | None = None
    block_rows: int | None = None
    precision: Precision = Precision.float32
    full_sample: FullSample = FullSample.streamed
    lane_tile: int | None = None
    gram: bool = True
    threads: int = 1
    workers: int | None = None
    cache: str = ".harness"
    deterministic: bool = False
    time_alone: bool = True
    rerun: bool = False

    def __post_init__(self) -> None:
        for number in self.devices or []:
            require_whole("runtime.devices", number, 0, 63)
        require(
            self.devices is None or 0 < len(self.devices) == len(set(self.devices)),
            f"runtime.devices must be a list of different numbers, such as [0,1], not {self.devices}.",
        )
        limits = {"block_rows": MOST_ROWS, "device_memory_mb": MOST_BYTES // 10**6}
        limits |= {"lane_tile": 10_000, "threads": 1024, "workers": 1024}
        for name, most in limits.items():
            require_whole(f"runtime.{name}", getattr(self, name), 1, most, optional=name != "threads")


@dataclass
class Config:
    """Everything needed to train one run.

    Attributes:
        chunksize: Rows per update; `full` or None uses the whole sample.
        learning_rate: The optimizer's learning rate.
        epochs: Passes over all training rows.
        seed: Seed of the initial weights, of the layers' random number generators, and of the order of shuffled rows.
        loss: The per-row loss.
        objective: The loss's parameters, and the deciding metric.
        data: Where rows come from and how they are prepared.
        model: `_target_`, a function that takes the number of inputs and returns a Keras model, and any further
            arguments of that function.
        optimizer: `name` of a Keras optimizer and its arguments.
        stopping: When the run stops early.
        search: How a sweep with intervals searches.
        tracking: Where the run is recorded.
        runtime: Speed and memory.
    """

    chunksize: int | str | None
    learning_rate: float
    epochs: int
    seed: int
    loss: Loss
    data: AnyData
    model: dict[str, Any]
    optimizer: dict[str, Any]
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    stopping: StoppingConfig = field(default_factory=StoppingConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)

    def __post_init__(self) -> None:
        is_rows = isinstance(self.chunksize, int) and not isinstance(self.chunksize, bool) and self.chunksize >= 1
        require(
            is_rows or self.is_full,
            f"chunksize must be a positive number of rows or `{FULL}`, not {shown(self.chunksize)}.",
        )
        if not self.is_full:
            require_whole("chunksize", self.chunksize, 1, MOST_ROWS)
        rate = 1e-37 < self.learning_rate < 3e38
        require(rate, f"learning_rate must be positive and representable in float32, not {shown(self.learning_rate)}.")
        require_whole("epochs", self.epochs, 1, MOST_EPOCHS)
        require(0 <= self.seed < 2**32, f"seed must be in [0, 2**32), not {shown(self.seed)}.")
        for group in ("model", "optimizer"):
            check_values(group, getattr(self, group))
        target = isinstance(self.model.get("_target_"), str)
        require(target, "model._target_ must name a function. Set it, or choose a model from conf/model.")
        self.objective.check(self.loss)
        self.data = self.data.for_loss(self.loss)

    def flat(self) -> dict[str, Any]:
        """Return all values of a run by dotted key; the chunksize of a full-sample run is `full`."""
        return dict(self._flat)

    @functools.cached_property
    def _flat(self) -> dict[str, Any]:
        own = {key.name: getattr(self, key.name) for key in fields(self) if key.name != "search"}
        return flatten(own) | {"chunksize": FULL if self.is_full else self.chunksize}

    @property
    def targets(self) -> dict[str, str]:
        """The functions that build models, by the key that names them."""
        targets = {"model._target_": self.model["_target_"]}
        if self.data.backbone:
            targets["data.embed._target_"] = self.data.backbone["_target_"]
        return targets

    @property
    def is_full(self) -> bool:
        """True for a full-sample run."""
        return self.chunksize in (None, FULL)

    def chunk_rows(self, rows: int) -> int:
        """Return the number of rows per update, given `rows` training rows."""
        return rows if self.is_full else min(int(self.chunksize or 0), rows)
