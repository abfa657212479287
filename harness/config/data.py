"""The schema of `data.*` for files of columns: where rows come from and which columns to train on."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from harness.config.any_data import AnyData, Order, Scaling, repeated
from harness.config.dialect import Dialect
from harness.config.limits import MOST_ROWS, SEEDS, require_whole, shown
from harness.errors import require


class Missing(Enum):
    """How empty fields are treated."""

    error = "error"
    drop = "drop"
    mean = "mean"


@dataclass
class DataConfig(Dialect, AnyData):
    """Where rows come from and which columns to train on.

    Attributes:
        features: Input columns, in the model's order.
        target: The column to predict.
        path: A CSV or Parquet file; a pattern such as `part-*.csv`, whose files are read in the order of their names;
            or a list of these, read in the order given. Files may be local or at `s3://`, `gs://`, `https://` and
            `http://` addresses. CSV may be gzip- or zstd-compressed, or come from a FIFO or `/dev/stdin`. None
            generates the built-in data.
        rows: Number of rows to generate of the built-in data.
        origin: Where to get the file; shown if it does not exist.
        log_columns: Features or target to replace by their natural logarithm.
        categorical: Categorical features; each category becomes a model input that is 0 or 1.
        dates: Features or target that are dates, converted to days since 1970-01-01.
        date_format: `strptime` format of the dates; None means ISO 8601.
        scaling: `standard` subtracts the training mean and divides by the training standard deviation.
        holdout: Fraction of the rows to hold out, in [0, 1).
        split_seed: Seed for choosing the held-out rows.
        missing: `error` rejects empty fields, `drop` leaves out rows that have them, and `mean` fills features with
            their training mean and treats an empty category as unknown.
        order: `file` keeps the order of the source; `shuffled` permutes rows once, and pages of them in each epoch.
    """

    features: list[str]
    target: str
    path: Any = None
    rows: int | None = None
    origin: str | None = None
    log_columns: list[str] = field(default_factory=list)
    categorical: list[str] = field(default_factory=list)
    dates: list[str] = field(default_factory=list)
    date_format: str | None = None
    scaling: Scaling = Scaling.standard
    holdout: float = 0.2
    split_seed: int = 0
    missing: Missing = Missing.error
    order: Order = Order.file

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_columns()
        self._check_source()
        require(0 <= self.holdout < 1, f"data.holdout must be a fraction in [0, 1), not {shown(self.holdout)}.")
        self.holdout = float(self.holdout)  # 0 and 0.0 are the same fraction, but not the same text in a key.
        require_whole("data.rows", self.rows, 1, MOST_ROWS, optional=True)
        require_whole("data.split_seed", self.split_seed, *SEEDS)

    @property
    def columns(self) -> list[str]:
        """All columns to read, the target last."""
        return [*self.features, self.target]

    def _check_columns(self) -> None:
        columns = self.columns
        require(bool(self.features), "data.features is empty; name at least one column.")
        require(bool(self.target), "data.target is empty; name a column.")
        twice = repeated(columns)
        require(not twice, f"data.features and data.target name {', '.join(twice)} more than once.")
        self._check_names("log_columns", columns, "data.features and data.target")
        self._check_names("dates", columns, "data.features and data.target")
        self._check_names("categorical", self.features, "data.features")
        both = {*self.categorical} & {*self.log_columns, *self.dates} | {*self.log_columns} & {*self.dates}
        shown = ", ".join(sorted(both))
        require(not both, f"{shown}: only one of data.categorical, data.dates and data.log_columns may name a column.")

    def _check_names(self, key: str, columns: list[str], among: str) -> None:
        known = {*columns}
        unknown = [name for name in getattr(self, key) if name not in known]
        require(not unknown, f"data.{key}: {', '.join(unknown)} not in {among} ({', '.join(columns)}).")

    def _check_source(self) -> None:
        names = self.path if isinstance(self.path, list) else [self.path]
        require(
            self.path is None or (bool(names) and all(isinstance(name, str) and name for name in names)),
            f"data.path must be an address, a pattern, or a list of these, not {self.path!r}.",
        )
