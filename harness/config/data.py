"""The schema of `data.*`: a source of rows and what is trained on."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from harness.errors import ConfigError, require


class Scaling(Enum):
    """What is done to features and target before training."""

    standard = "standard"
    none = "none"


class Missing(Enum):
    """What is done with a row that has an empty field."""

    error = "error"
    drop = "drop"
    mean = "mean"


class Order(Enum):
    """In which order training rows are taken."""

    file = "file"
    shuffled = "shuffled"


@dataclass
class DataConfig:
    """A source of rows and what of it is trained on.

    Attributes:
        features: Input columns, in the model's order.
        target: The column to predict.
        path: A file of CSV or Parquet; or a pattern such as `part-*.csv`, whose files are read in the order of their
            names; or a list of those, read as it stands. CSV may be packed by gzip or zstd, or come from a FIFO or
            `/dev/stdin`. None means that the built-in data is generated.
        rows: Rows to generate where `path` is None.
        origin: Where to get the file, said when it is not there.
        delimiter: The character between the fields of a CSV.
        encoding: Of a CSV, as Python names it.
        decimal: The decimal point of a CSV's numbers.
        log_columns: Features or target replaced by their natural logarithm.
        categorical: Features whose values are names; each becomes one input of the model a name, 0 or 1.
        dates: Features or target that are dates; days since 1970-01-01 are trained on.
        date_format: Of those, as `strptime` has it; None means ISO 8601.
        scaling: `standard` subtracts the training mean and divides by the training standard deviation.
        holdout: Fraction of the rows that is never trained on, in [0, 1).
        split_seed: Draws which rows those are.
        missing: What to do with an empty field; `mean` fills features with their training mean, and takes an empty
            category for one that was never seen.
        order: `file` takes rows as they come; `shuffled` permutes them once, and pages of them in each epoch.
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
        require(0 <= self.holdout < 1, "data.holdout expected a fraction in [0, 1)", self.holdout)
        require(self.rows is None or self.rows >= 1, "data.rows expected a positive number", self.rows)

    @property
    def columns(self) -> list[str]:
        """The columns that are read, target last."""
        return [*self.features, self.target]

    def _check_columns(self) -> None:
        columns = self.columns
        require(bool(self.features), "data.features expected at least one column", self.features)
        require(bool(self.target), "data.target expected a column", repr(self.target))
        require(len(set(columns)) == len(columns), "data.features and data.target expected distinct columns", columns)
        self._check_names("log_columns", columns, "data.features and data.target")
        self._check_names("dates", columns, "data.features and data.target")
        self._check_names("categorical", self.features, "data.features")
        twice = {*self.categorical} & {*self.log_columns, *self.dates} | {*self.log_columns} & {*self.dates}
        require(
            not twice, "data.categorical, data.dates and data.log_columns expected different columns", sorted(twice)
        )

    def _check_names(self, key: str, columns: list[str], among: str) -> None:
        unknown = [name for name in getattr(self, key) if name not in columns]
        require(not unknown, f"data.{key} expected names among {among}", unknown, f"Use: {columns}.")

    def _check_source(self) -> None:
        names = self.path if isinstance(self.path, list) else [self.path]
        require(
            self.path is None or (bool(names) and all(isinstance(name, str) and name for name in names)),
            "data.path expected a file, a pattern or a list of them",
            repr(self.path),
        )
        for name, mark in (("delimiter", self.delimiter), ("decimal", self.decimal)):
            usable = len(mark) == 1 and mark.isascii() and not mark.isalnum() and mark not in '"\r\n\0+-'
            require(usable, f"data.{name} expected one ASCII character, no letter, digit, sign or quote", repr(mark))
        require(
            self.decimal != self.delimiter,
            "data.decimal expected another character than data.delimiter",
            repr(self.decimal),
        )
        try:
            "".encode(self.encoding)
        except LookupError:
            raise ConfigError(
                f"data.encoding expected an encoding that Python knows, as latin-1. Received: {self.encoding}."
            ) from None
