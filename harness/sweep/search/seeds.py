"""Finds trials whose results do not depend on the seed, so retraining them would confirm nothing."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Sequence

import keras
import numpy as np

from harness.config import Order
from harness.sweep.executor import model_builder
from harness.sweep.plan import Run
from harness.training.encoding import Encoding
from harness.training.model_size import require_memory


def describe_unseeded(runs: Sequence[Run]) -> str:
    """Return a sentence about the models whose results in `runs` do not depend on the seed, or an empty string."""
    by_target: dict[str, list[Run]] = {}
    for run in runs:
        by_target.setdefault(run.config.model["_target_"], []).append(run)
    # Each check builds a model, so stop at the first run that depends on the seed.
    targets = [target for target, some in by_target.items() if not any(map(is_seeded, some))]
    if not targets:
        return ""
    models = ", ".join(target.removeprefix("harness.models.") for target in targets)
    return (
        f"trials are not confirmed, since other seeds would give the same results: model={models} starts from "
        "constants, and data.order=file"
    )


def is_seeded(run: Run) -> bool:
    """Return True if another seed could change a run's result."""
    if run.table.order is Order.shuffled:
        return True
    encoding, outputs = Encoding.of(run.table, run.config.data.scaling), run.objective.outputs
    return _differs(json.dumps(run.config.model, sort_keys=True), encoding, outputs)


@functools.lru_cache(1024)
def _differs(model: str, encoding: Encoding, outputs: int) -> bool:
    """Return True if two seeds give a model different variables, including the states of random number generators."""
    try:
        require_memory(model_builder(json.loads(model), outputs), encoding, lanes=2)
        first, second = (_digests(json.loads(model), encoding, outputs, seed) for seed in (0, 1))
    except Exception:
        return True  # Training raises the same error, or there is not enough memory.
    return first != second


def _digests(model: dict, encoding: Encoding, outputs: int, seed: int) -> list[bytes]:
    """Return digests of the variables of a new model, which need less memory than their values."""
    keras.utils.set_random_seed(seed)
    built = model_builder(model, outputs)(encoding.inputs)
    built(np.zeros((2, *encoding.input_shape), np.float32))
    return [hashlib.sha256(variable.numpy().tobytes()).digest() for variable in built.variables]
