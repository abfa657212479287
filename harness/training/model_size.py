"""Measures a Keras model before it is built, so that one that cannot fit into memory is rejected."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import psutil

from harness.errors import require
from harness.formatting import memory
from harness.training.encoding import Encoding


def count_weights(build: Callable[[], keras.Model], shape: tuple[int, ...] | None = None) -> int:
    """Return the number of weights of the model that `build` returns, without allocating them.

    Keras creates no values in a stateless scope; the scope leaves thread-local state behind, so it gets a thread of its
    own.

    Args:
        build: Returns the model; its errors are raised here.
        shape: Shape of one row's input, for models that are only built when they are called.

    Returns:
        The number of weights, including those that are not trained.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(_count, build, shape).result()


def _count(build: Callable[[], keras.Model], shape: tuple[int, ...] | None) -> int:
    with keras.StatelessScope(initialize_variables=False):
        model = build()
        if shape:
            model(keras.KerasTensor((2, *shape)))
        return sum(math.prod(variable.shape) for variable in model.variables)


def require_memory(build: Callable[[Any], keras.Model], encoding: Encoding, lanes: int) -> None:
    """Reject a model whose own weights and those of `lanes` runs do not fit into memory, before it is built.

    Raises:
        ConfigError: It has too many weights.
    """
    try:
        weights = count_weights(lambda: build(encoding.inputs), encoding.input_shape)
    except Exception:
        return  # Building the model raises the same error again, where it is handled.
    needed, available = 4 * weights * (1 + lanes), psutil.virtual_memory().available
    require(
        needed <= available,
        f"model: {weights:,} weights need {memory(needed / 1e6)} of memory, but {memory(available / 1e6)} are "
        "available. Use smaller layers.",
    )
