"""Describes what the time of a cohort's updates depends on, so that measurements are used only where they apply."""

from __future__ import annotations

import json

from harness.training.lanes import Recipe, Stack
from harness.training.loops import Loop


def kind_of_updates(stack: Stack, recipe: Recipe, loop: Loop, chunk: int, lanes: int, *, shares_scan: bool) -> str:
    """Return everything, except the device, that the time of a cohort's updates depends on, as JSON.

    Args:
        stack: The cohort's stack.
        recipe: The cohort's recipe.
        loop: The cohort's loop.
        chunk: Rows per update.
        lanes: Number of lanes.
        shares_scan: Whether other cohorts keep the cores busy that this one leaves idle.
    """
    limit = stack.whole_rows
    layers = [
        [type(layer).__name__, layer.dtype_policy.name, [list(weight.shape) for weight in layer.weights]]
        for layer in stack.model.layers
    ]
    facts = {
        "layers": layers,
        "row_bytes": stack.trace.row_bytes,
        "optimizer": recipe.optimizer["name"],
        "objective": type(stack.objective).__name__,
        "gram": loop.gram_source is not None,
        "rows": min(chunk, limit),
        "sliced": chunk > limit,
        "lanes": lanes,
        "shares_scan": shares_scan,
    }
    return json.dumps(facts, sort_keys=True)
