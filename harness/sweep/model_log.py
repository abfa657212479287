"""Rebuilds trained models from weights, and logs them in a form that takes raw columns."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from harness.config import DataConfig, ImagesConfig, LogModel
from harness.errors import ConfigError
from harness.runtime.own_modules import explain
from harness.sweep.executor import require_one_output
from harness.sweep.plan import Run
from harness.tracking.model_saver import RawModel
from harness.tracking.own_code import check_own_code
from harness.tracking.tracker import Tracker
from harness.training.encoding import Encoding
from harness.training.export import raw_example, raw_model


def require_some_model(runs: Sequence[Run]) -> None:
    """Reject prepared runs if none of their models can be built or called, because of errors in the user's code.

    If only some cannot, these runs fail, and the others are trained.

    Raises:
        ConfigError: The message names the error and the line that caused it.
    """
    if any(run.cohort for run in runs):
        return
    encoding, target = Encoding.of(runs[0].table, runs[0].config.data.scaling), runs[0].config.model["_target_"]
    try:
        model = runs[0].build_model(encoding.inputs)
        output = model(np.zeros((2, *encoding.input_shape), np.float32), training=True)
    except (ConfigError, MemoryError, tf.errors.ResourceExhaustedError):
        return
    except Exception as error:
        raise ConfigError(f"{target} does not build a model that can be trained. {explain(error)}") from error
    require_one_output(target, output)


def describe_unloggable(runs: Sequence[Run]) -> Iterator[str]:
    """Yield a sentence for each function whose models will not be logged, based on one run with that function."""
    logged = [run for run in runs if run.config.tracking.log_model is not LogModel.none]
    # Prefer runs whose models could be built.
    ordered = sorted(logged, key=lambda run: run.cohort is None, reverse=True)
    by_target = {run.config.model["_target_"]: run for run in ordered}
    for target, run in by_target.items():
        if target.partition(".")[0] == "harness":
            continue
        inputs = Encoding.of(run.table, run.config.data.scaling).inputs
        try:
            check_own_code(functools.partial(run.build_model, inputs), target)
        except Exception as error:
            yield f"{target} builds models that will not be logged: {_reason(error)}"


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, ConfigError) else f"{type(error).__name__}: {error}"


class ModelLog:
    """Builds the models of runs and logs them."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._models: dict[str, keras.Model] = {}

    def build(self, run: Run, weights: Sequence[np.ndarray]) -> keras.Model:
        """Return a run's model with these weights; valid only until the next call, since runs share model objects."""
        inputs, outputs = Encoding.of(run.table, run.config.data.scaling).inputs, run.objective.outputs
        key = json.dumps([run.config.model, inputs, outputs])
        if key not in self._models:
            with tf.device("/CPU:0"):  # GPUs may have failed.
                self._models[key] = run.build_model(inputs)
        self._models[key].set_weights(weights)
        return self._models[key]

    def check(self, kept: Mapping[Run, Sequence[np.ndarray]]) -> None:
        """Raise `ValueError` unless the weights of each run match its model."""
        for run, weights in kept.items():
            self.build(run, weights)

    def log(self, run: Run, model: keras.Model) -> keras.Model | None:
        """Log a run's model and return it; if it cannot be saved, tag the run with the reason instead of failing it."""
        try:
            data, table = run.config.data, run.table
            dates: dict[str, str | None] = {}
            if isinstance(data, DataConfig):
                dates = {name: form for name, form in data.date_formats.items() if name not in data.targets}
            exported = raw_model(model, table, run.scaler, run.objective, data.scaling)
            outputs = run.objective.output_names
            is_classes = len(outputs) > 1 and bool(table.targets[0].categories)
            image = {}
            if isinstance(data, ImagesConfig):
                image = {"size": list(data.image_size), "channels": data.channels, "fit": data.fit.value}
            raw = RawModel(
                exported,
                raw_example(table, dates),
                outputs,
                dates,
                is_classes=is_classes,
                target=run.config.model["_target_"],
                image=image,
            )
            code = self._tracker.log_model(run.run_id, raw)
        except Exception as error:
            reason = _reason(error)
            self._tracker.tag(run.run_id, {"model_not_logged": reason})
            run.lacks_model = True
            self._tracker.say(f"model:  the model of {run.name} is not logged: {reason}")
            return None
        if code.needs_harness:
            self._tracker.say(
                f"model:  the model of {run.name} loads only where harness is installed, because "
                f"{' or '.join(code.modules)} imports it. Define its layers in a module that does not import it."
            )
        return exported
