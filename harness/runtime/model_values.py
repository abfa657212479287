"""Counts a Keras model's weights, before they are allocated, and the values that it computes for each row."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from harness.errors import require
from harness.formatting import data_size
from harness.runtime.host_memory import available_host_bytes

if TYPE_CHECKING:
    import keras


def count_weights(build: Callable[[], keras.Model], shape: tuple[int, ...] | None = None) -> int:
    """Return the number of weights of the model that `build` returns, without allocating them.

    In a stateless scope, Keras creates no values. The scope leaves thread-local state behind, so it runs in a thread of
    its own.

    Args:
        build: Returns the model; its errors are raised here.
        shape: Shape of one row's input, for models that are not built until they are called.

    Returns:
        The number of weights, including those that are not trained.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(_count, build, shape).result()


def _count(build: Callable[[], keras.Model], shape: tuple[int, ...] | None) -> int:
    import keras

    with keras.StatelessScope(initialize_variables=False):
        model = build()
        if shape:
            model(keras.KerasTensor((2, *shape)))
        return sum(math.prod(variable.shape) for variable in model.variables)


def require_memory(
    build: Callable[[], keras.Model], copies: int, name: str, remedy: str, shape: tuple[int, ...] | None = None
) -> None:
    """Reject a model, before it is built, if `copies` of its float32 weights do not fit into the available memory.

    Args:
        build: Returns the model. Its errors are ignored, since it raises them again when the model is really built.
        copies: Number of copies needed at once.
        name: The model's name in the message.
        remedy: What to do, as a sentence.
        shape: As in `count_weights`.

    Raises:
        ConfigError: The weights do not fit.
    """
    try:
        weights = count_weights(build, shape)
    except Exception:
        return
    needed, available = 4 * weights * copies, available_host_bytes()
    require(
        needed <= available,
        f"{name}: {weights:,} weights need {data_size(needed)} of memory, but only {data_size(available)} is "
        f"available. {remedy}",
    )


def row_values(model: keras.Model) -> int:
    """Return the number of values that all layers of a functional or sequential model compute for one row."""
    return sum(_row_values(model))


def _row_values(model: Any) -> Iterator[int]:
    import keras

    for operation in getattr(model, "operations", model.layers):
        if isinstance(operation, keras.Model):
            yield from _row_values(operation)
        else:
            for tensor in keras.tree.flatten(operation.output):
                yield math.prod(size or 1 for size in tensor.shape[1:])
