"""Checks the size of a run's model before it is built, and rejects models that do not fit into memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from harness.runtime.model_values import count_weights, require_memory_for
from harness.training.encoding import Encoding


def require_memory(build: Callable[[Any], keras.Model], encoding: Encoding, lanes: int) -> None:
    """Reject a model whose own weights and those of `lanes` runs do not fit into memory, before it is built.

    Raises:
        ConfigError: The model has too many weights.
    """
    try:
        weights = count_weights(lambda: build(encoding.inputs), encoding.input_shape)
    except Exception:
        return  # Building the model raises the same error again, and handles it.
    require_memory_for(weights, 1 + lanes, "model", "Use smaller layers.")
