"""Keras's optimizers as pure functions: the adapter that lets one compiled loop hold the state of many."""

from __future__ import annotations

import contextlib
import inspect
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
from keras.src.backend.tensorflow.optimizer import TFOptimizer
from keras.src.optimizers.base_optimizer import BaseOptimizer

from harness.errors import require

OPTIMIZERS = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "rmsprop": keras.optimizers.RMSprop,
    "sgd": keras.optimizers.SGD,
}

SCHEDULES = {
    "cosine_decay": keras.optimizers.schedules.CosineDecay,
    "cosine_decay_restarts": keras.optimizers.schedules.CosineDecayRestarts,
    "exponential_decay": keras.optimizers.schedules.ExponentialDecay,
    "inverse_time_decay": keras.optimizers.schedules.InverseTimeDecay,
    "polynomial_decay": keras.optimizers.schedules.PolynomialDecay,
}

_REFUSED = (
    # They branch on the number of the step in Python, which a compiled loop does not see.
    "gradient_accumulation_steps",
    "ema_overwrite_frequency",
    # Their other half is in Keras's own training loop, which is not used here.
    "use_ema",
    "ema_momentum",
    "loss_scale_factor",
)

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
    _check("optimizer", OPTIMIZERS, settings, apart=(*_REFUSED, "learning_rate"), besides=("schedule",))
    if schedule := settings.get("schedule"):
        form = "{name: cosine_decay, decay_steps: 1000}"
        require(isinstance(schedule, Mapping), f"optimizer.schedule expected the form '{form}'", schedule)
        _check("optimizer.schedule", SCHEDULES, schedule, apart=("initial_learning_rate",))


def make_optimizer(settings: Mapping[str, Any], learning_rate: float) -> keras.optimizers.Optimizer:
    """Make the Keras optimizer `settings["name"]` with the other settings as its arguments."""
    arguments = {key: value for key, value in settings.items() if key not in ("name", "schedule")}
    return OPTIMIZERS[settings["name"]](learning_rate=learning_rate, **arguments)


def make_schedule(settings: Mapping[str, Any]) -> keras.optimizers.schedules.LearningRateSchedule | None:
    """Make the Keras schedule of `settings["schedule"]`; it starts at 1 and multiplies the learning rate."""
    schedule = settings.get("schedule")
    if not schedule:
        return None
    arguments = {key: value for key, value in schedule.items() if key != "name"}
    return SCHEDULES[schedule["name"]](1.0, **arguments)


def _check(
    key: str, kinds: Mapping[str, type], settings: Mapping[str, Any], apart: Sequence[str], besides: Sequence[str] = ()
) -> None:
    name = settings.get("name")
    require(name in kinds, f"{key}.name expected one of {', '.join(kinds)}", name)
    parameters = inspect.signature(kinds[str(name)]).parameters.values()
    known = [item.name for item in parameters if item.name not in ("name", "kwargs", *apart)] + list(besides)
    unknown = [item for item in settings if item != "name" and item not in known]
    require(not unknown, f"{key} expected settings of {name}", unknown, f"It has: {', '.join(known)}.")
    required = [item.name for item in parameters if item.default is item.empty and item.name in known]
    missing = [item for item in required if item not in settings]
    require(not missing, f"{key} expected {', '.join(missing)}", "none", f"Set {key}.{(missing or ['?'])[0]}=VALUE.")
