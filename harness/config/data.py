"""The schema of `data.*` for files of columns: where rows come from and which columns to train on."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from harness.config.any_data import HOLDOUT, AnyData, Order, Scaling, class_weight, is_boolean
from harness.config.dialect import Dialect
from harness.config.limits import MOST_ROWS, require_distinct, require_whole, shown
from harness.config.objective import CLASSES_LOSS, Loss
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
        features: Input columns, in the model's order. A pattern such as `sqft_*` selects all columns that match it;
            `all` selects every column except targets and weights.
        exclude: Columns or patterns to leave out of `features`.
        target: The column to predict, or a list of numeric columns to predict together.
        path: A CSV or Parquet file; a pattern such as `part-*.csv`, whose files are read in the order of their names;
            or a list of these, read in the order given. Files may be local or at `s3://`, `gs://`, `https://` and
            `http://` addresses. CSV may be gzip- or zstd-compressed, or come from a FIFO or `/dev/stdin`. None
            generates the built-in data.
        rows: Number of rows of built-in data to generate.
        origin: Where to get the file; shown if it does not exist.
        log_columns: Features or target to replace with their natural logarithm.
        categorical: Categorical features; each category becomes a model input that is 0 or 1. With
            `loss=sparse_categorical_crossentropy`, the target is treated as categorical.
        classes: The classes of that target, in the order of the model's outputs; a row with another label is rejected,
            or left out with `missing=drop`. By default, the labels in the training rows, ascending.
        weight: A column with the weight of each row in the loss.
        class_weight: Weights of the target's labels, such as `{spam: 5}`; labels not listed have weight 1. `balanced`
            gives all labels the same total weight in the loss. If `weight` is set too, the two are multiplied.
        dates: Features or target that are dates, converted to days since 1970-01-01.
        date_format: `strptime` format of the dates, or a list with the format of each date in `dates`; None means ISO
            8601.
        scaling: `standard` subtracts the training mean and divides by the training standard deviation.
        holdout: Fraction of the rows to hold out, in [0, 1).
        test: Fraction of the rows, in [0, 1), that are neither trained on nor held out. Only the best runs are
            evaluated on them, once, after training.
        folds: Split the rows into this many holdouts of equal size, instead of using one holdout of `data.holdout`.
        fold: Which of the folds this run holds out, counting from 0. With -m, `data.folds` alone trains all of them.
        split_seed: Seed for choosing the holdout and test rows, and for the order of shuffled rows.
        missing: `error` rejects empty fields, `drop` leaves out rows that have them, and `mean` fills features with
            their training mean and treats an empty category as unknown.
        order: `file` keeps the order of the source; `shuffled` permutes rows once, and pages of them in each epoch; the
            order depends on `split_seed` and `seed`.
    """

    features: Any
    target: Any
    path: Any = None
    rows: int | None = None
    origin: str | None = None
    log_columns: list[str] = field(default_factory=list)
    exclude: list[str] = field(default_factory=list)
    categorical: list[str] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    weight: str | None = None
    class_weight: Any = None
    dates: list[str] = field(default_factory=list)
    date_format: Any = None
    scaling: Scaling = Scaling.standard
    holdout: float = HOLDOUT
    test: float = 0.0
    folds: int | None = None
    fold: int | None = None
    split_seed: int = 0
    missing: Missing = Missing.error
    order: Order = Order.file

    def __post_init__(self) -> None:
        super().__post_init__()
        self.features = ["*"] if self.features == "all" else self.features
        require(
            isinstance(self.features, list | tuple),
            "data.features must be a list, such as data.features=[a,b], or all.",
        )
        self.features = [str(name) for name in self.features]
        self._check_columns()
        self._check_dates()
        self._check_classes()
        self._check_source()
        self._check_split()
        require_whole("data.rows", self.rows, 1, MOST_ROWS, optional=True)

    @property
    def date_formats(self) -> dict[str, str | None]:
        """The `strptime` format of each date; None means ISO 8601."""
        several = isinstance(self.date_format, list)
        return dict(zip(self.dates, self.date_format if several else [self.date_format] * len(self.dates), strict=True))

    @property
    def targets(self) -> list[str]:
        """The columns to predict."""
        return self.target if isinstance(self.target, list) else [self.target]

    @property
    def has_patterns(self) -> bool:
        """Whether features are patterns, to be replaced with names once the file is known."""
        return any(mark in name for name in self.features for mark in "*?")

    @property
    def columns(self) -> list[str]:
        """All columns to read: the features, the targets, and the weights if there are any."""
        return [*self.features, *self.targets, *([self.weight] if self.weight else [])]

    def for_loss(self, loss: Loss) -> DataConfig:
        """See `AnyData`; the target of classes is categorical."""
        name = f"loss={loss.value}"
        if loss.has_labels:
            require(len(self.targets) == 1, f"{name} needs one target, but data.target names {len(self.targets)}.")
            labels = "a label" if loss is CLASSES_LOSS or self.targets[0] in self.categorical else "labels 0 and 1"
            for key in ("log_columns", "dates"):
                is_plain = self.targets[0] not in getattr(self, key)
                require(is_plain, f"{name} needs {labels}: remove the target from data.{key}.")
        else:
            require(self.class_weight is None, f"data.class_weight needs labels, but {name} predicts numbers.")
        if loss is CLASSES_LOSS:
            return replace(self, categorical=list(dict.fromkeys([*self.categorical, *self.targets])))
        words = ", ".join(target for target in self.targets if target in self.categorical)
        if loss is Loss.binary_crossentropy and words:
            return self  # Its two labels become 0 and 1.
        require(not words, f"data.categorical names the target {words}: set loss={CLASSES_LOSS.value} for classes.")
        require(not self.classes, f"data.classes needs loss={CLASSES_LOSS.value}, not {name}.")
        return self

    def _check_columns(self) -> None:
        if isinstance(self.target, list) and len(self.target) == 1:
            (self.target,) = self.target  # The same column must be the same text in a key.
        require(bool(self.features), "data.features is empty; name at least one column.")
        # Columns without a header are numbered.
        names = [str(name) if type(name) is int else name for name in self.targets]
        self.target = names if isinstance(self.target, list) else names[0]
        require(bool(self.target), "data.target is empty; name a column.")
        named = all(isinstance(name, str) and name for name in self.targets)
        require(named, f"data.target must be a column's name or a list of these, not {shown(self.target)}.")
        if self.has_patterns:
            return  # The names are checked once they are known.
        require(not self.exclude, "data.exclude needs data.features=all or a pattern such as sqft_*.")
        columns = [*self.features, *self.targets]
        require_distinct("data.features and data.target name", columns)
        known = {*columns}
        for key in ("log_columns", "dates", "categorical"):
            unknown = ", ".join(name for name in getattr(self, key) if name not in known)
            among = f"data.features and data.target ({', '.join(columns)})"
            require(not unknown, f"data.{key}: {unknown} not in {among}.")
        both = {*self.categorical} & {*self.log_columns, *self.dates} | {*self.log_columns} & {*self.dates}
        names = ", ".join(sorted(both))
        require(not both, f"{names}: only one of data.categorical, data.dates and data.log_columns may name a column.")
        is_other = self.weight is None or (bool(self.weight) and self.weight not in columns)
        require(
            is_other, f"data.weight must name a column that is neither a feature nor a target, not {self.weight!r}."
        )

    def _check_dates(self) -> None:
        given = self.date_format
        formats = given if isinstance(given, list) else [given]
        are_valid = all(form is None or isinstance(form, str) for form in formats)
        require(are_valid, f"data.date_format must be a strptime format or a list of these, not {shown(given)}.")
        if not isinstance(given, list):
            return
        counts = f"{len(given)} formats, but data.dates has {len(self.dates)}"
        require(len(given) == len(self.dates), f"data.date_format has {counts}: give one for each, or one for all.")
        # Normalized (sorted, a single format as a string), so that the same choice is the same text in a key.
        pairs = sorted(zip(self.dates, given, strict=True), key=lambda pair: pair[0])
        self.dates, self.date_format = [name for name, _ in pairs], [form for _, form in pairs]
        if len({*given}) <= 1:
            self.date_format = given[0] if given else None

    def _check_classes(self) -> None:
        # Columns of every format have booleans in lower case, but YAML changes their case.
        self.classes = [label.lower() if is_boolean(label) else label for label in self.classes]
        require_distinct("data.classes names", self.classes)
        require(len(self.classes) != 1, "data.classes names only one class; name at least two.")
        self.class_weight = class_weight(self.class_weight)

    def _check_source(self) -> None:
        names = self.path if isinstance(self.path, list) else [self.path]
        require(
            self.path is None or (bool(names) and all(isinstance(name, str) and name for name in names)),
            f"data.path must be an address, a pattern, or a list of these, not {self.path!r}.",
        )
