"""The supported Keras optimizers and learning-rate schedules, and their settings."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from harness.errors import ConfigError, require
from harness.training._compat_keras import stateless

OPTIMIZERS = {
    "adadelta": keras.optimizers.Adadelta,
    "adafactor": keras.optimizers.Adafactor,
    "adagrad": keras.optimizers.Adagrad,
    "adam": keras.optimizers.Adam,
    "adamax": keras.optimizers.Adamax,
    "adamw": keras.optimizers.AdamW,
    "ftrl": keras.optimizers.Ftrl,
    "lamb": keras.optimizers.Lamb,
    "lion": keras.optimizers.Lion,
    "muon": keras.optimizers.Muon,
    "nadam": keras.optimizers.Nadam,
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
    # These branch in Python on the step number, which is not known when a loop is compiled.
    "gradient_accumulation_steps",
    "ema_overwrite_frequency",
    # These need Keras's own training loop.
    "use_ema",
    "ema_momentum",
    "loss_scale_factor",
)


def check_settings(settings: Mapping[str, Any]) -> None:
    """Check the settings of the optimizer `settings["name"]`.

    Raises:
        ConfigError: The optimizer lacks one of these settings, or Keras rejects a value.
    """
    _check("optimizer", OPTIMIZERS, settings, refused=(*_REFUSED, "learning_rate"), extra=("schedule",))
    if schedule := settings.get("schedule"):
        example = "{name: cosine_decay, decay_steps: 1000}"
        require(isinstance(schedule, Mapping), f"optimizer.schedule: write {schedule} in the form {example}.")
        _check("optimizer.schedule", SCHEDULES, schedule, refused=("initial_learning_rate",))
    try:
        make_optimizer(settings, 1e-3)
        make_schedule(settings)
    except (TypeError, ValueError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise ConfigError(f"optimizer: Keras rejects the settings of {settings['name']} ({reason}).") from error


def make_optimizer(settings: Mapping[str, Any], learning_rate: float) -> keras.optimizers.Optimizer:
    """Create the optimizer `settings["name"]` with the other settings as arguments; its `stateless_apply` works."""
    kind = OPTIMIZERS[settings["name"]]
    return stateless(kind)(learning_rate=learning_rate, **_arguments(kind, settings))


def make_schedule(settings: Mapping[str, Any]) -> keras.optimizers.schedules.LearningRateSchedule | None:
    """Create the schedule `settings["schedule"]`, which starts at 1 and multiplies the learning rate."""
    schedule = settings.get("schedule")
    if not schedule:
        return None
    kind = SCHEDULES[schedule["name"]]
    return kind(1.0, **_arguments(kind, schedule))


def _arguments(kind: type, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments in `settings`; whole numbers become floats if Keras's own default is a float."""
    parameters = inspect.signature(kind).parameters
    arguments = {key: value for key, value in settings.items() if key not in ("name", "schedule")}
    return {
        key: float(value) if type(value) is int and isinstance(parameters[key].default, float) else value
        for key, value in arguments.items()
    }


def _check(
    key: str, kinds: Mapping[str, type], settings: Mapping[str, Any], refused: Sequence[str], extra: Sequence[str] = ()
) -> None:
    name = settings.get("name")
    require(name in kinds, f"{key}.name: {name} is not one of {', '.join(kinds)}.")
    parameters = inspect.signature(kinds[str(name)]).parameters.values()
    known = [item.name for item in parameters if item.name not in ("name", "kwargs", *refused)] + list(extra)
    unknown = [item for item in settings if item != "name" and item not in known]
    require(not unknown, f"{key}: {name} has no setting {', '.join(unknown)}. Its settings: {', '.join(known)}.")
    required = [item.name for item in parameters if item.default is item.empty and item.name in known]
    missing = [item for item in required if item not in settings]
    require(not missing, f"{key}: {name} needs {', '.join(missing)}. Add +{key}.{(missing or ['?'])[0]}=VALUE.")
