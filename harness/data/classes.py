"""The classes of a label: learned or given while rows are read, and counted and weighted afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from harness.config.any_data import is_boolean
from harness.data.statistics import Column, category_text
from harness.data.tables.pages import Part
from harness.data.vocabulary import Vocabulary, plain_number
from harness.errors import require
from harness.formatting import listed

if TYPE_CHECKING:
    from harness.data.tables.table import Table


class ClassVocabulary(Vocabulary):
    """The labels of a target; unlike the categories of a feature, all of them must be known."""

    def __init__(self, column: str, classes: Sequence[str] = ()) -> None:
        """Accept all labels or, if `classes` is given, those labels in that order."""
        super().__init__(column, "If it is a number, use a numeric loss, such as loss=mse.")
        self._given = tuple(classes)
        self._codes = {word: code for code, word in enumerate(classes)}
        self._kept: set[int] = set()

    def encode(self, codes: np.ndarray, words: list[str]) -> np.ndarray:
        """Return preliminary codes, as for a feature; labels that are not among the given classes become NaN."""
        if not self._given:
            return super().encode(codes, words)
        return np.array([*(self._codes.get(word, np.nan) for word in words), np.nan])[codes]

    def mark_kept(self, codes: np.ndarray) -> None:
        """Mark preliminary codes as present in rows that are not left out."""
        self._kept.update(np.flatnonzero(np.bincount(codes.astype(np.int64))).tolist())

    def categories(self) -> tuple[float, ...] | tuple[str, ...]:
        """Return the given classes, or the labels in training rows, ascending; as numbers if all are plain numbers."""
        if not self._given:
            return super().categories()
        numbers = tuple(map(plain_number, self._given))
        return self._given if np.isnan(numbers).any() else numbers

    def final_codes(self) -> np.ndarray:
        """Return, for each preliminary code, its index in `categories`, float32.

        Raises:
            ConfigError: There is only one class, or a class has no training rows.
        """
        codes = super().final_codes() - 1
        known = [word for word, code in self._codes.items() if self._given or code in self._kept]
        trained = {*np.flatnonzero(self._trained).tolist()}
        untrained = [word for word in known if self._codes[word] not in trained]
        remedy = "Name the other labels in data.classes and set data.missing=drop"
        if self._given:
            remedy = f"Leave {'it' if len(untrained) == 1 else 'them'} out of data.classes"
        number = " If it is a number, use a numeric loss, such as loss=mse." if len(untrained) > 5 else ""
        require(
            not untrained,
            f"{self._column}: no training row has the label {listed(untrained, 5)}. {remedy}, or change "
            f"data.split_seed or data.holdout.{number}",
        )
        require(
            len(known) > 1,
            f"{self._column} is {''.join(known)} in every row; classification needs at least two labels.",
        )
        return codes

    def describe_unknown(self, word: str) -> str:
        """Return a sentence that says why a label is not accepted, and what to do."""
        some = listed(self._given, 10)
        return f"{self._column} is {word!r}, not one of data.classes ({some}). Add it, or set data.missing=drop."


def class_names(column: Column) -> list[str]:
    """Return the classes of a target as text, in the order of the model's outputs."""
    return [category_text(each) for each in column.categories]


def spelled_like(label: str, names: Sequence[str]) -> str:
    """Return a label as spelled in `names`; `true` and `false` match in any case, since YAML changes it."""
    if label in names or not is_boolean(label):
        return label
    return next((name for name in names if name.lower() == label.lower()), label)


def class_counts(table: Table, part: Part) -> np.ndarray:
    """Count the rows of a part by class (or label 0 and 1) of the table's only target; int64 `[classes]`.

    Raises:
        DamagedTable: The target's column is damaged.
    """
    (target,) = table.targets
    counts = np.zeros(max(len(target.categories), 2), np.int64)
    for (values,) in table.read_pages(part, [target]):
        counts += np.bincount(values.astype(np.int64), minlength=len(counts))
    return counts


def class_weights(table: Table, given: Mapping[str, float] | str | None) -> list[float]:
    """Return the weight of each class, or an empty list.

    Weighted by the row weights, their mean over the training rows is 1.

    `balanced` weights a class by `rows / (classes * rows of the class)` (King and Zeng, 2001).

    Args:
        table: A table whose only target is a label.
        given: `DataConfig.class_weight`.

    Raises:
        ConfigError: A weight is for a label that does not exist, or all weights are 0.
    """
    if given is None:
        return []
    (target,) = table.targets
    names = class_names(target) or ["0", "1"]
    if isinstance(given, Mapping):
        given = {spelled_like(label, names): weight for label, weight in given.items()}
        unknown = ", ".join(label for label in given if label not in names)
        has = f"{target.name} has no label {unknown}. It has: {listed(names, 10)}."
        require(not unknown, f"data.class_weight: {has}")
        weights = np.array([given.get(name, 1.0) for name in names], np.float64)
    else:
        counts = class_counts(table, "train")
        weights = counts.sum() / (len(counts) * np.maximum(counts, 1))
    mean = _mean_weight(table, weights)
    require(mean > 0, "data.class_weight: the weights of all training rows are 0.")
    return (weights / mean).tolist()


def _mean_weight(table: Table, weights: np.ndarray) -> float:
    """Return the mean over the training rows of the class weight times the row weight, which has a mean of 1."""
    total = 0.0
    for labels, *rest in table.read_pages("train", [*table.targets, *table.weights]):
        products = weights[labels.astype(np.int64)]
        for column, values in zip(table.weights, rest, strict=True):
            products = products * column.own_units(values) / column.mean
        total += float(products.sum())
    return total / table.train_rows
