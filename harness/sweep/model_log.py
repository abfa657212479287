"""Rebuilds trained models from weights, and logs them in a form that takes raw columns."""

from __future__ import annotations

import json
from collections.abc import Sequence

import keras
import numpy as np

from harness.sweep.executor import model_builder
from harness.sweep.plan import Run
from harness.tracking.tracker import Tracker
from harness.training.export import raw_example, raw_model


class ModelLog:
    """Builds the models of runs and logs them."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._models: dict[str, keras.Model] = {}

    def build(self, run: Run, weights: Sequence[np.ndarray]) -> keras.Model:
        """Return a run's model with these weights; valid only until the next call, because runs share model objects."""
        outputs = run.objective.outputs
        key = json.dumps([run.config.model, run.table.inputs, outputs])
        if key not in self._models:
            self._models[key] = model_builder(run.config.model, outputs)(len(run.table.inputs))
        self._models[key].set_weights(weights)
        return self._models[key]

    def log(self, run: Run, model: keras.Model) -> None:
        """Log a run's model; if it cannot be saved, tag the run with the reason instead of failing it."""
        try:
            exported = raw_model(model, run.table, run.scaler, run.objective)
            target = ", ".join(run.config.data.targets)
            names = run.objective.prediction_names
            metadata = {"predictions": list(names), "kind": "classes" if run.table.targets[0].categories else "numbers"}
            self._tracker.log_model(run.run_id, exported, raw_example(run.table), target, metadata)
        except Exception as error:
            self._tracker.tag(run.run_id, {"model_not_logged": f"{type(error).__name__}: {error}"})
