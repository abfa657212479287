"""Counts the values that a Keras model computes, which determines how many rows fit into memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras


def row_values(model: keras.Model) -> int:
    """Return how many values all layers of a functional or sequential model together compute for one row."""
    return sum(_row_values(model))


def _row_values(model: Any) -> Iterator[int]:
    import keras

    for operation in getattr(model, "operations", model.layers):
        if isinstance(operation, keras.Model):
            yield from _row_values(operation)
        else:
            for tensor in keras.tree.flatten(operation.output):
                yield math.prod(size or 1 for size in tensor.shape[1:])
