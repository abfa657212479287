"""How columns become a model's inputs: numbers as they are, categories one-hot, inside the compiled loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras


@dataclass(frozen=True)
class Encoding:
    """What each feature becomes.

    Attributes:
        sizes: Inputs of each categorical feature, whose values are indices below that; 0 for one of numbers.
    """

    sizes: tuple[int, ...]

    @property
    def inputs(self) -> int:
        """Inputs of the model."""
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
