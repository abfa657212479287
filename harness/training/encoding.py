"""Turns columns into model inputs inside the compiled loop: numbers unchanged, categories one-hot encoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras


@dataclass(frozen=True)
class Encoding:
    """How features become inputs.

    Attributes:
        sizes: For each feature, 0 if it is numeric, else its number of categories; the feature's values are indices.
    """

    sizes: tuple[int, ...]

    @property
    def inputs(self) -> int:
        """Number of model inputs."""
        return sum(size or 1 for size in self.sizes)

    def __call__(self, x: Any) -> Any:
        """Turn features, `[rows, features]`, into inputs, `[rows, inputs]`, both float32."""
        if not any(self.sizes):
            return x
        columns: Any = keras.ops.split(x, len(self.sizes), axis=1)
        return keras.ops.concatenate(
            [
                keras.ops.one_hot(keras.ops.cast(column[:, 0], "int32"), size, dtype="float32") if size else column
                for column, size in zip(columns, self.sizes, strict=True)
            ],
            axis=1,
        )
