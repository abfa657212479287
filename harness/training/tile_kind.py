"""Identifies cohorts whose updates take the same time, so that measurements are used only where they apply."""

from __future__ import annotations

import json

from harness.training.lanes import Recipe, Stack
from harness.training.loops import Loop


def kind_of_updates(stack: Stack, recipe: Recipe, loop: Loop, chunk: int, lanes: int, *, shares_scan: bool) -> str:
    """Return, as JSON, everything except the device that affects how long a cohort's updates take.

    Args:
        stack: The cohort's stack.
        recipe: The cohort's recipe, whose identity covers the model, the optimizer, the loss and the precision.
        loop: The cohort's loop.
        chunk: Rows per update.
        lanes: Number of lanes.
        shares_scan: Whether other cohorts use the cores that this one leaves idle.
    """
    facts = {
        "recipe": recipe.identity,
        "features": [stack.encode.sizes, stack.encode.shape],
        "targets": len(stack.objective.targets),
        "outputs": stack.objective.outputs,
        "weighted": stack.objective.is_weighted,
        "gram": loop.gram_source is not None,
        "chunk": chunk,
        "lanes": lanes,
        "shares_scan": shares_scan,
    }
    return json.dumps(facts, sort_keys=True)
