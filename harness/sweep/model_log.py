"""Rebuilds trained models from weights, and logs them in a form that takes raw columns."""

from __future__ import annotations

import json
from collections.abc import Sequence

import keras
import numpy as np

from harness.config import DataConfig
from harness.sweep.executor import model_builder
from harness.sweep.plan import Run
from harness.tracking.model_saver import RawModel
from harness.tracking.tracker import Tracker
from harness.training.encoding import Encoding
from harness.training.export import raw_example, raw_model


class ModelLog:
    """Builds the models of runs and logs them."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._models: dict[str, keras.Model] = {}

    def build(self, run: Run, weights: Sequence[np.ndarray]) -> keras.Model:
        """Return a run's model with these weights; valid only until the next call, because runs share model objects."""
        inputs = Encoding.of(run.table, run.config.data.scaling).inputs
        key = json.dumps([run.config.model, inputs])
        if key not in self._models:
            self._models[key] = model_builder(run.config.model)(inputs)
        self._models[key].set_weights(weights)
        return self._models[key]

    def log(self, run: Run, model: keras.Model) -> None:
        """Log a run's model; if it cannot be saved, tag the run with the reason instead of failing it."""
        try:
            data = run.config.data
            names = data.dates if isinstance(data, DataConfig) else []
            dates = {name: data.date_format for name in names if name != data.target}
            exported = raw_model(model, run.table, run.scaler, run.config.loss)
            example = raw_example(run.table, dates)
            self._tracker.log_model(run.run_id, RawModel(exported, example, [data.target], dates))
        except Exception as error:
            self._tracker.tag(run.run_id, {"model_not_logged": f"{type(error).__name__}: {error}"})
