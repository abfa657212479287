"""Turns stored features into model inputs inside the compiled loop: one-hot encodes categories and scales pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from harness.config import Scaling
from harness.data.tables.table import Table

WHITE = 255.0
"""The largest value of a pixel; `scaling=none` divides by it."""


@dataclass(frozen=True)
class Encoding:
    """How features become inputs.

    Attributes:
        sizes: For each feature, 0 if it is numeric, else its number of categories; the feature's values are indices.
        shape: Shape of the only feature: for images `(height, width, channels)`, and with `data.embed` the number of
            values; empty if features are single values.
        means: For a feature with a shape, the mean to subtract from each channel (the last axis).
        stds: For a feature with a shape, the standard deviation by which each channel is then divided.
    """

    sizes: tuple[int, ...]
    shape: tuple[int, ...] = ()
    means: tuple[float, ...] = ()
    stds: tuple[float, ...] = ()

    @classmethod
    def of(cls, table: Table, scaling: Scaling) -> Encoding:
        """Return the encoding of a table's features.

        Pixels are scaled by the mean and the standard deviation of their channel over all training rows or, with
        `scaling=none`, to the range 0 to 1. Scalar features are already scaled.
        """
        first, *others = table.features
        sizes = tuple(column.inputs if column.categories else 0 for column in table.features)
        if others or not first.shape:
            return cls(sizes)
        channels = first.shape[-1]
        if scaling is Scaling.none:
            largest = WHITE if first.dtype == "uint8" else 1.0
            return cls(sizes, first.shape, (0.0,) * channels, (largest,) * channels)
        means, stds = first.channel_means or (first.mean,) * channels, first.channel_stds or (first.std,) * channels
        return cls(sizes, first.shape, means, tuple(std or 1.0 for std in stds))

    @property
    def inputs(self) -> Any:
        """The argument of a model's function: the number of inputs, or the shape of one row's input."""
        if len(self.shape) == 1:
            return self.shape[0]
        return self.shape or sum(size or 1 for size in self.sizes)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one row's input."""
        return self.shape or (self.inputs,)

    def __call__(self, x: Any) -> Any:
        """Turn stored features, `[rows, features]` or `[rows, *shape]`, into inputs, float32 `[rows, *input_shape]`."""
        if self.shape:
            # Scaled here, not on disk or on the host, so that one byte per value is sent to the device instead of four.
            values: Any = keras.ops.cast(x, "float32")
            return (values - np.array(self.means, np.float32)) * np.array([1 / std for std in self.stds], np.float32)
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
