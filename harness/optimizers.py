"""Keras's optimizers as pure functions: the adapter that lets one compiled loop hold the state of many."""

from __future__ import annotations

import contextlib
import inspect
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import keras
from keras.src.backend.tensorflow.optimizer import TFOptimizer
from keras.src.optimizers.base_optimizer import BaseOptimizer

from harness.config import require

OPTIMIZERS = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "rmsprop": keras.optimizers.RMSprop,
    "sgd": keras.optimizers.SGD,
}

_REFUSED = ("gradient_accumulation_steps", "ema_overwrite_frequency")
"""They branch on the number of the step in Python, which a compiled loop does not see."""

# Keras's TensorFlow optimizers assign through tf.distribute, which wants tf.Variables, and therefore refuse
# `stateless_apply`. The backend-free methods of their base class have no such wish.
_METHODS = (
    "stateless_apply",
    "assign",
    "assign_add",
    "assign_sub",
    "_var_key",
    "_apply_weight_decay",
    "_backend_update_step",
    "_clip_by_norm",
    "_overwrite_model_variables_with_average_value",
)
_lock = threading.RLock()


@contextlib.contextmanager
def pure() -> Iterator[None]:
    """Let Keras optimizers be built and applied without tf.distribute, by one thread at a time."""
    with _lock:
        own = {name: TFOptimizer.__dict__[name] for name in _METHODS}
        for name in _METHODS:
            setattr(TFOptimizer, name, BaseOptimizer.__dict__[name])
        try:
            yield
        finally:
            for name, method in own.items():
                setattr(TFOptimizer, name, method)


def check_settings(settings: Mapping[str, Any]) -> None:
    """Refuse settings that the optimizer `settings["name"]` does not have.

    Raises:
        ConfigError: There is one.
    """
    parameters = inspect.signature(OPTIMIZERS[settings["name"]]).parameters
    known = [name for name in parameters if name not in (*_REFUSED, "kwargs", "learning_rate")]
    unknown = [name for name in settings if name not in ("name", *known)]
    require(not unknown, f"optimizer expected settings of {settings['name']}", unknown, f"It has: {', '.join(known)}.")


def make_optimizer(settings: Mapping[str, Any], learning_rate: float) -> keras.optimizers.Optimizer:
    """Make the Keras optimizer `settings["name"]` with the other settings as its arguments."""
    arguments = {key: value for key, value in settings.items() if key != "name"}
    return OPTIMIZERS[settings["name"]](learning_rate=learning_rate, **arguments)
