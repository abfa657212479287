"""Finds the trials whose results do not depend on the seed, so that training them again confirms nothing."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence

import keras
import numpy as np

from harness.config import Order
from harness.sweep.executor import model_builder
from harness.sweep.plan import Run
from harness.training.encoding import Encoding


def mark_unseeded(runs: Sequence[Run]) -> str:
    """Mark the runs whose results are the same with any seed, and return a sentence on them, or an empty string."""
    for run in runs:
        run.is_seeded = _is_seeded(run)
    targets = dict.fromkeys(run.config.model["_target_"] for run in runs if not run.is_seeded)
    if not targets:
        return ""
    models = ", ".join(target.removeprefix("harness.models.") for target in targets)
    return (
        f"nothing is confirmed with other seeds, which would give the same results: model={models} starts from "
        "constants, and data.order=file"
    )


def _is_seeded(run: Run) -> bool:
    if run.table.order is Order.shuffled:
        return True
    encoding, outputs = Encoding.of(run.table, run.config.data.scaling), run.objective.outputs
    return _differs(json.dumps(run.config.model, sort_keys=True), encoding, outputs)


@functools.lru_cache(64)
def _differs(model: str, encoding: Encoding, outputs: int) -> bool:
    """Return True if two seeds give a model different variables, including the states of random number generators."""
    try:
        first, second = (_variables(json.loads(model), encoding, outputs, seed) for seed in (0, 1))
    except Exception:
        return True  # Training it raises the same error, where it is handled.
    return not all(map(np.array_equal, first, second))


def _variables(model: dict, encoding: Encoding, outputs: int, seed: int) -> list[np.ndarray]:
    keras.utils.set_random_seed(seed)
    built = model_builder(model, outputs)(encoding.inputs)
    built(np.zeros((2, *encoding.input_shape), np.float32))
    return [variable.numpy() for variable in built.variables]
