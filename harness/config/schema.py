"""The configuration's schema: names, types, units, and the checks that run before anything else does.

Values live in `conf/`; this module is all that the library sees of them. The classes are not frozen only because Hydra
could not compose frozen ones; nothing changes them once they are made.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

from harness.config.data import DataConfig
from harness.errors import require


class Loss(Enum):
    """The loss of a row; a chunk's loss is the mean over its rows."""

    mse = "mse"
    mae = "mae"
    huber = "huber"
    binary_crossentropy = "binary_crossentropy"


class LogModel(Enum):
    """Which runs of a sweep keep their model."""

    best = "best"
    all = "all"
    none = "none"


class Device(Enum):
    """Where the trainer runs."""

    auto = "auto"
    cpu = "cpu"
    gpu = "gpu"


class Reader(Enum):
    """What parses CSV."""

    pandas = "pandas"
    polars = "polars"


class FullSample(Enum):
    """How a scan reads the table."""

    streamed = "streamed"
    resident = "resident"


FULL = "full"
DEFAULT_EXPERIMENT = "harness"
OPTIMIZERS = ("adam", "adamw", "rmsprop", "sgd")


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one, with dots in its keys, and enums as their values."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value.value if isinstance(value, Enum) else value
    return flat


@dataclass
class TrackingConfig:
    """Where runs are recorded.

    Attributes:
        uri: MLflow's tracking URI; None means `MLFLOW_TRACKING_URI`, else `mlflow.db` in the working folder.
        experiment: The MLflow experiment's name; None means `harness`.
        log_model: Which runs of a sweep keep their model.
        wait: Seconds to wait at the end of training for a store that is unreachable.
        curve_points: Points that `train/chunk_loss` is thinned to, at least 3.
    """

    uri: str | None = None
    experiment: str | None = None
    log_model: LogModel = LogModel.best
    wait: float = 600.0
    curve_points: int = 1000

    def __post_init__(self) -> None:
        require(self.wait >= 0, f"tracking.wait must not be negative, but is {self.wait:g}.")
        require(self.curve_points >= 3, f"tracking.curve_points must be at least 3, but is {self.curve_points}.")


@dataclass
class RuntimeConfig:
    """How fast and in how much memory; nothing here changes a result beyond float32 rounding.

    Attributes:
        device: `auto` takes a GPU that TensorFlow sees, else the CPU.
        device_memory_mb: What TensorFlow may take of a GPU's memory, and a resident sample of the device's, in
            megabytes of 1,000,000 bytes; None means as much as there is.
        reader: What parses CSV: `pandas` is Arrow's parser, as behind pandas' own `engine="pyarrow"`; `polars` is an
            extra of its own.
        block_rows: Rows read from a table at once; None means as many as fit in 4 MiB.
        full_sample: `resident` keeps the whole sample in the device's memory between epochs.
        lane_tile: Lanes updated by one call; None means 8 for small models, and 1 for those of over 1,000 weights,
            which keep a core busy alone. It changes rounding: runs are equal to the bit at one value only.
        gram: Update linear models with the squared error by the Gram matrices of their chunks, where that is faster;
            false takes the rows, as for any other model. It changes rounding.
        threads: Threads inside one operation; it changes rounding.
        workers: Tiles of lanes updated side by side; None means one a core.
        cache: Folder of tables, generated data, checkpoints and undelivered records.
        deterministic: Have TensorFlow use only operations that give the same bits each time, which costs time on a GPU;
            a CPU does so anyhow.
        rerun: Train again what is finished.
    """

    device: Device = Device.auto
    device_memory_mb: int | None = None
    reader: Reader = Reader.pandas
    block_rows: int | None = None
    full_sample: FullSample = FullSample.streamed
    lane_tile: int | None = None
    gram: bool = True
    threads: int = 1
    workers: int | None = None
    cache: str = ".harness"
    deterministic: bool = False
    rerun: bool = False

    def __post_init__(self) -> None:
        for name in ("block_rows", "device_memory_mb", "lane_tile", "threads", "workers"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"runtime.{name} expected a positive number", value)
        require(
            importlib.util.find_spec(self.reader.value) is not None,
            "runtime.reader expected a library that is installed",
            self.reader.value,
            "Install it: pip install -e '.[polars]'.",
        )


@dataclass
class Config:
    """One configuration: all that it takes to train one run.

    Attributes:
        chunksize: Rows of one update, or `full` (or None) for the whole sample.
        learning_rate: Of the optimizer.
        epochs: Passes over all training rows.
        seed: Sets initial weights and the layers' random streams, and nothing else.
        loss: Of a row.
        data: The rows.
        model: `_target_`, a function of the number of input columns that returns a Keras model, and its arguments.
        optimizer: `name` and the arguments of the Keras optimizer of that name.
        tracking: Where the run is recorded.
        runtime: How it is computed.
    """

    chunksize: int | str | None
    learning_rate: float
    epochs: int
    seed: int
    loss: Loss
    data: DataConfig
    model: dict[str, Any]
    optimizer: dict[str, Any]
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)

    def __post_init__(self) -> None:
        require(
            self.chunksize in (None, FULL) or (isinstance(self.chunksize, int) and self.chunksize >= 1),
            f"chunksize expected a positive number of rows or `{FULL}`",
            self.chunksize,
        )
        require(
            1e-37 < self.learning_rate < 3e38,
            "learning_rate expected a positive number that float32 can hold",
            self.learning_rate,
        )
        require(self.epochs >= 1, "epochs expected a positive number", self.epochs)
        require(0 <= self.seed < 2**32, "seed expected a number in [0, 2**32)", self.seed)
        require(
            isinstance(self.model.get("_target_"), str),
            "model expected a `_target_` that names a function",
            self.model,
            "Choose one of conf/model, or set model._target_.",
        )
        require(
            self.loss is not Loss.binary_crossentropy or self.data.target not in self.data.log_columns,
            "loss=binary_crossentropy expected labels 0 and 1",
            "their logarithms",
            "Take the target out of data.log_columns.",
        )
        require(
            self.optimizer.get("name") in OPTIMIZERS,
            f"optimizer.name expected one of {', '.join(OPTIMIZERS)}",
            self.optimizer.get("name"),
        )

    def flat(self) -> dict[str, Any]:
        """Return all values by their dotted keys; the chunksize of the whole sample is `full`."""
        return flatten(asdict(self)) | {"chunksize": FULL if self.is_full else self.chunksize}

    @property
    def is_full(self) -> bool:
        """Whether this is a full-sample run."""
        return self.chunksize in (None, FULL)

    def chunk_rows(self, rows: int) -> int:
        """Rows of one update where `rows` are trained on."""
        return rows if self.is_full else min(int(self.chunksize or 0), rows)
