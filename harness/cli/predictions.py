"""How the outputs of a logged model are written: as numbers by target, or as the most probable class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import require

if TYPE_CHECKING:
    import keras

CLASS_COLUMNS = ("class", "probability")


@dataclass(frozen=True)
class Predictions:
    """The columns to write for a model's outputs.

    Attributes:
        names: A name for each output: its target's or its class's.
        is_class: Whether outputs are the probabilities of classes.
    """

    names: tuple[str, ...]
    is_class: bool

    @classmethod
    def of(cls, model: keras.Model, metadata: Mapping[str, Any]) -> Predictions:
        """Return what a model predicts, given its recorded metadata; models with one output may have none.

        Raises:
            ConfigError: The metadata does not match the model.
        """
        outputs: Any = model.output
        count, classes = outputs.shape[-1], metadata.get("classes")
        names = classes or metadata.get("targets") or ["prediction"]
        fits = isinstance(names, list) and len({*map(str, names)}) == count
        require(fits, f"The run's model has {count} outputs, but its record names a different number.")
        if not classes:
            names = ["prediction"] if count == 1 else [f"prediction/{name}" for name in names]
        return cls(tuple(map(str, names)), bool(classes))

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""
        return CLASS_COLUMNS if self.is_class else self.names

    def named(self, outputs: np.ndarray) -> dict[str, np.ndarray]:
        """Return the columns, each `[rows]`, of a model's outputs, `[rows, outputs]`."""
        if not self.is_class:
            return dict(zip(self.names, outputs.T, strict=True))
        best = outputs.argmax(axis=1)
        return dict(zip(CLASS_COLUMNS, (np.array(self.names, object)[best], outputs.max(axis=1)), strict=True))
