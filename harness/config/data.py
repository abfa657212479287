"""The schema of `data.*`: where rows come from and how they are prepared."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from harness.errors import ConfigError, require


class Scaling(Enum):
    """How features and target are scaled before training."""

    standard = "standard"
    none = "none"


class Missing(Enum):
    """What happens to rows with an empty field."""

    error = "error"
    drop = "drop"
    mean = "mean"


class Order(Enum):
    """The order of training rows."""

    file = "file"
    shuffled = "shuffled"


@dataclass
class DataConfig:
    """Where rows come from and how they are prepared.

    Attributes:
        features: Input columns, in the model's order.
        target: The column to predict.
        path: A CSV or Parquet file; a pattern such as `part-*.csv`, whose files are read in the order of their names;
            or a list of files and patterns, read in the order given. CSV may be compressed with gzip or zstd, or come
            from a FIFO or `/dev/stdin`. None generates the built-in data.
        rows: Rows to generate if `path` is None.
        origin: Where to get the file; shown if it is missing.
        delimiter: The character between the fields of a CSV.
        encoding: The encoding of a CSV, by its Python name.
        decimal: The decimal point of numbers in a CSV.
        log_columns: Features or target to replace by their natural logarithm.
        categorical: Features that hold names; the model gets one input of 0 or 1 per name in the training rows, and one
            for all other names.
        dates: Features or target that hold dates; the model gets days since 1970-01-01.
        date_format: The format of these dates, as for `strptime`; None means ISO 8601.
        scaling: `standard` subtracts the mean of the training rows and divides by their standard deviation.
        holdout: Fraction of the rows that is never trained on, in [0, 1).
        split_seed: Selects the rows of the holdout.
        missing: What to do with an empty field: `error` refuses the data, `drop` skips the row, and `mean` fills
            features with their training mean and treats an empty category as an unknown name.
        order: `file` keeps the order of the source; `shuffled` permutes the training rows once, and pages of 65,536 of
            them in each epoch.
    """

    features: list[str]
    target: str
    path: Any = None
    rows: int | None = None
    origin: str | None = None
    delimiter: str = ","
    encoding: str = "utf-8"
    decimal: str = "."
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
        self._check_columns()
        self._check_source()
        require(0 <= self.holdout < 1, f"data.holdout must be in [0, 1), but is {self.holdout}.")
        require(self.rows is None or self.rows >= 1, f"data.rows must be positive, but is {self.rows}.")

    @property
    def columns(self) -> list[str]:
        """The columns that are read, target last."""
        return [*self.features, self.target]

    def _check_columns(self) -> None:
        columns = self.columns
        require(bool(self.features), "data.features must name at least one column.")
        require(bool(self.target), "data.target must name a column.")
        twice = [name for name in dict.fromkeys(columns) if columns.count(name) > 1]
        require(not twice, f"data.features and data.target must be distinct, but {', '.join(twice)} appears twice.")
        for key, known in (("log_columns", columns), ("dates", columns), ("categorical", self.features)):
            unknown = ", ".join(name for name in getattr(self, key) if name not in known)
            among = "data.features or data.target" if known is columns else "data.features"
            require(not unknown, f"data.{key}: {unknown} is not in {among} ({', '.join(known)}).")
        keys = ("categorical", "dates", "log_columns")
        named = [name for key in keys for name in set(getattr(self, key))]
        twice = ", ".join(sorted({name for name in named if named.count(name) > 1}))
        require(not twice, f"{twice} is in more than one of data.categorical, data.dates and data.log_columns.")

    def _check_source(self) -> None:
        names = self.path if isinstance(self.path, list) else [self.path]
        valid = bool(names) and all(isinstance(name, str) and name for name in names)
        message = f"data.path must be a file, a pattern or a list of them, but is {self.path!r}."
        require(self.path is None or valid, message)
        for key, mark in (("delimiter", self.delimiter), ("decimal", self.decimal)):
            valid = len(mark) == 1 and mark.isascii() and not mark.isalnum() and mark not in '"\r\n\0+-'
            kind = "a single ASCII character other than a letter, digit, sign or quote"
            require(valid, f"data.{key} must be {kind}, but is {mark!r}.")
        message = f"data.decimal and data.delimiter must differ, but both are {self.decimal!r}."
        require(self.decimal != self.delimiter, message)
        try:
            "".encode(self.encoding)
        except LookupError:
            message = (
                f"data.encoding: unknown encoding: {self.encoding}. Use a name that Python knows, such as latin-1."
            )
            raise ConfigError(message) from None
