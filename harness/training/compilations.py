"""Caches stacks and their compiled loops for later scans of the process, such as a search's next generations."""

from __future__ import annotations

import functools
import gc
from collections import OrderedDict
from collections.abc import Hashable

from harness.data.scaler import Scaler
from harness.errors import ConfigError
from harness.runtime.model_values import require_memory
from harness.training.encoding import Encoding
from harness.training.gram import GramSteps
from harness.training.lanes import Recipe, Stack
from harness.training.loops import Loop, make_loop
from harness.training.metrics import Evaluation

KEPT = 16
"""Maximum number of recipes whose stacks are kept."""


class Compilation:
    """A stack, with all of its loops and evaluations, which are compiled when first called with new shapes."""

    def __init__(self, recipe: Recipe, encoding: Encoding, device: str, lanes: int) -> None:
        """Build the model; raises `ConfigError` if the model and the weights of `lanes` runs do not fit into memory."""
        build = functools.partial(recipe.build_model, encoding.inputs)
        require_memory(build, 1 + lanes, "model", "Use smaller layers.", encoding.input_shape)
        self.stack = Stack(recipe, encoding, device)
        self._grams = None if encoding.shape else GramSteps(self.stack)
        self._loops: dict[tuple[int, int, bool], Loop] = {}
        self._evaluations: dict[Hashable, Evaluation] = {}

    def loop(self, chunk: int, rows: int, *, gram: bool) -> Loop:
        """Return the loop for updates of `chunk` rows over a part of `rows` rows; see `make_loop`."""
        key = chunk, rows, gram
        if key not in self._loops:
            self._loops[key] = make_loop(self.stack, chunk, rows, self._grams if gram else None)
        return self._loops[key]

    def evaluation(self, scaler: Scaler, tile: int) -> Evaluation:
        """Return the evaluation of a tile of lanes."""
        statistics = (values.tobytes() for values in (scaler.mean, scaler.std, scaler.offset))
        key = tile, scaler.features, scaler.log_targets, *statistics
        if key not in self._evaluations:
            self._evaluations[key] = Evaluation(self.stack, scaler, tile)
        return self._evaluations[key]


_kept: OrderedDict[Hashable, Compilation] = OrderedDict()


def compilation(recipe: Recipe, encoding: Encoding, device: str, lanes: int) -> Compilation:
    """Return the compilation of a recipe, reusing an earlier scan's if the recipe may be shared.

    Args:
        recipe: What the lanes have in common.
        encoding: How features become inputs.
        device: TensorFlow's name for the device.
        lanes: Runs whose weights must fit into memory.

    Raises:
        ConfigError: The model cannot be built as configured.
    """
    if recipe.shared_as is None:
        return _built(recipe, encoding, device, lanes)
    objective = recipe.objective
    targets = tuple((column.name, column.categories) for column in objective.targets)
    key = recipe.shared_as, targets, objective.is_weighted, objective.class_weights, encoding, device
    if key not in _kept:
        _kept[key] = _built(recipe, encoding, device, lanes)
    _kept.move_to_end(key)
    while len(_kept) > KEPT:
        _kept.popitem(last=False)
    return _kept[key]


def _built(recipe: Recipe, encoding: Encoding, device: str, lanes: int) -> Compilation:
    """Return a new compilation; if it is rejected, drop all others to free memory, and retry."""
    try:
        return Compilation(recipe, encoding, device, lanes)
    except ConfigError:
        if not _kept:
            raise
        _kept.clear()
    gc.collect()  # Keras models are part of reference cycles.
    return Compilation(recipe, encoding, device, lanes)
