"""Keras models and optimizers stacked as plain tensors, with one pure update for all of them.

A lane is one run's weights, layer state and optimizer state. Lanes are stacked along a leading axis of fixed length,
the tile. A lane's results depend on the tile's length in the last bit, and not at all on the other lanes.
"""

# The TensorFlow stubs know no static shapes.
# pyright: reportArgumentType=false, reportOperatorIssue=false, reportOptionalOperand=false, reportReturnType=false
# pyright: reportAssignmentType=false, reportOptionalIterable=false
from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from harness.config import Loss
from harness.errors import require
from harness.training.encoding import Encoding
from harness.training.objective import OBJECTIVES
from harness.training.optimizers import make_optimizer, make_schedule

SMALL_TILE, SMALL_WEIGHTS = 8, 1000

BATCH_LAYERS = (keras.layers.BatchNormalization,)
"""Layers whose output for one row depends on the other rows of the batch."""


@dataclass(frozen=True)
class Recipe:
    """What all lanes of a stack have in common.

    Attributes:
        identity: Recipes are compared by this alone.
        build_model: Takes the number of inputs, returns a Keras model `[rows, inputs] -> [rows, outputs]`.
        optimizer: `name`, and arguments of the Keras optimizer.
        loss: Selects the objective.
    """

    identity: str
    build_model: Callable[[int], keras.Model] = field(compare=False)
    optimizer: Mapping[str, Any] = field(compare=False)
    loss: Loss = field(compare=False)


class LaneState(NamedTuple):
    """Lanes as tensors, each `[tile, ...]`.

    Attributes:
        weights: The models' trainable variables.
        extra: Their other variables: random streams, moving statistics.
        optimizer: The optimizers' variables, including the learning rate.
    """

    weights: list[tf.Tensor]
    extra: list[tf.Tensor]
    optimizer: list[tf.Tensor]


class Stack:
    """Lanes of one recipe.

    Attributes:
        recipe: The recipe.
        objective: The recipe's objective.
        model: The model that stands for all lanes.
    """

    def __init__(self, recipe: Recipe, encoding: Encoding) -> None:
        """Build the model and the optimizer that stand for all lanes.

        Args:
            recipe: Of the lanes.
            encoding: Turns features into the models' inputs.

        Raises:
            ConfigError: The model does not have the shape `[rows, inputs] -> [rows, outputs]`.
        """
        self.recipe, self.objective = recipe, OBJECTIVES[recipe.loss]
        self._encoding = encoding
        self.model = self._build(seed=0)
        self._optimizer = make_optimizer(recipe.optimizer, learning_rate=0.0)
        self._schedule = make_schedule(recipe.optimizer)
        self._optimizer.build(self.model.trainable_variables)
        names = [variable.path.rpartition("/")[-1] for variable in self._optimizer.variables]
        self._rate, self._iteration = names.index("learning_rate"), names.index("iteration")
        self._initial_models: dict[int, keras.Model] = {}  # By seed; a sweep has few.
        # Random layers draw from a variable of their lane, which tf.vectorized_map cannot batch.
        paths = [variable.path for variable in self.model.non_trainable_variables]
        self._is_random = any(path.endswith("seed_generator_state") for path in paths)

    @property
    def default_tile(self) -> int:
        """Lanes per call: several for small models, where a call takes longer than its arithmetic."""
        return SMALL_TILE if self.model.count_params() <= SMALL_WEIGHTS else 1

    @property
    def inputs(self) -> int:
        """Inputs of the models."""
        return self._encoding.inputs

    def layers(self) -> list[keras.layers.Layer]:
        """Return all layers of the model, including nested ones."""
        found: dict[int, keras.layers.Layer] = {}
        waiting: list[Any] = [self.model]
        while waiting:
            item = waiting.pop()
            if isinstance(item, keras.layers.Layer) and id(item) not in found:
                found[id(item)] = item
                # Custom layers hold others in attributes of any name.
                waiting += [*getattr(item, "layers", []), *vars(item).values()]
            elif isinstance(item, list | tuple):
                waiting += item
            elif isinstance(item, dict):
                waiting += item.values()
        return list(found.values())

    def start(self, seeds: Sequence[int], learning_rates: Sequence[float]) -> LaneState:
        """Return the state before the first update of lanes with these seeds and learning rates."""
        models = self._initial_models = {
            seed: self._initial_models[seed] if seed in self._initial_models else self._build(seed)
            for seed in dict.fromkeys(seeds)
        }
        optimizer = [
            np.float32(learning_rates) if index == self._rate else np.repeat(variable.numpy()[None], len(seeds), axis=0)
            for index, variable in enumerate(self._optimizer.variables)
        ]
        return LaneState(
            _stacked([models[seed].trainable_variables for seed in seeds]),
            _stacked([models[seed].non_trainable_variables for seed in seeds]),
            [tf.constant(values) for values in optimizer],
        )

    def drop_initial_models(self) -> None:
        """Free the models that lanes start from."""
        self._initial_models = {}

    def load(self, state: LaneState, lane: int) -> keras.Model:
        """Return the stack's model with the weights of one lane; every call returns the same model."""
        for variables, values in (
            (self.model.trainable_variables, state.weights),
            (self.model.non_trainable_variables, state.extra),
        ):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value[lane])
        return self.model

    def update(self, state: LaneState, x: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, LaneState]:
        """Take one optimizer step per lane with the mean loss of one chunk.

        Args:
            state: Of all lanes.
            x: `[rows, features]`.
            y: `[rows, 1]`.

        Returns:
            Each lane's loss before the step, float32 `[tile]`, and the state after it.
        """
        inputs, rows = self.encode(x), x.shape[0]

        def one(lane: LaneState) -> tuple[tf.Tensor, LaneState]:
            total, gradients, extra = self._loss_and_gradients(lane, inputs, y, tf.ones(rows))
            return total / rows, self._step(lane._replace(extra=extra), [gradient / rows for gradient in gradients])

        return self._map(one, state)

    def sums(self, state: LaneState, x: tf.Tensor, y: tf.Tensor, mask: tf.Tensor) -> tuple[tf.Tensor, list, LaneState]:
        """Sum losses and gradients over the rows of one slice where `mask`, float32 `[rows]`, is 1.

        Returns:
            Loss sums `[tile]`, gradient sums `[tile, ...]` for each weight, and the state with `extra` updated.
        """
        inputs = self.encode(x)

        def one(lane: LaneState) -> tuple[tf.Tensor, list, LaneState]:
            total, gradients, extra = self._loss_and_gradients(lane, inputs, y, mask)
            return total, gradients, lane._replace(extra=extra)

        return self._map(one, state)

    def step(self, state: LaneState, gradients: list[tf.Tensor]) -> LaneState:
        """Take one optimizer step per lane with the given gradients, each `[tile, ...]`."""
        return self._map(lambda both: self._step(*both), (state, gradients))

    def encode(self, x: tf.Tensor) -> tf.Tensor:
        """Turn features, `[rows, features]`, into the models' inputs, `[rows, inputs]`."""
        return self._encoding(x)

    def predict(self, state: LaneState, x: tf.Tensor) -> tf.Tensor:
        """Return the models' outputs for `x`, `[rows, features]`, as `[tile, rows, outputs]`."""
        inputs = self.encode(x)
        return self._map(
            lambda lane: self.model.stateless_call(lane.weights, lane.extra, inputs, training=False)[0], state
        )

    def losses(self, y: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        """Return the loss of each row, `[..., rows]`, for targets `[rows, 1]` and outputs `[..., rows, 1]`."""
        return self.objective.row_losses(tf.broadcast_to(y, tf.shape(outputs)), outputs)

    def _loss_and_gradients(
        self, lane: LaneState, x: tf.Tensor, y: tf.Tensor, mask: tf.Tensor
    ) -> tuple[tf.Tensor, list[tf.Tensor], list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            tape.watch(lane.weights)
            outputs, extra, penalties = self.model.stateless_call(
                lane.weights, lane.extra, x, training=True, return_losses=True
            )
            total = tf.reduce_sum(self.objective.row_losses(y, outputs) * mask)
            # Regularizers add to the mean loss, hence once per row to the sum.
            penalized = tf.add_n([total, *(penalty * tf.reduce_sum(mask) for penalty in penalties)])
        # Keras returns a random stream in another integer type than its variable has.
        extra = [tf.cast(after, before.dtype) for before, after in zip(lane.extra, extra, strict=True)]
        gradients = tape.gradient(penalized, lane.weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return total, gradients, extra

    def _step(self, lane: LaneState, gradients: list[tf.Tensor]) -> LaneState:
        before = list(lane.optimizer)
        if self._schedule:
            before[self._rate] *= tf.cast(self._schedule(before[self._iteration]), tf.float32)
        weights, after = self._optimizer.stateless_apply(before, gradients, lane.weights)
        after[self._rate] = lane.optimizer[self._rate]
        return lane._replace(weights=weights, optimizer=after)

    def _map(self, function: Callable, elements: Any) -> Any:
        if not self._is_random:
            return tf.vectorized_map(function, elements)
        tile = tf.nest.flatten(elements)[0].shape[0]
        results = [function(tf.nest.map_structure(operator.itemgetter(i), elements)) for i in range(tile)]
        return tf.nest.map_structure(lambda *values: tf.stack(values), *results)

    def _build(self, seed: int) -> keras.Model:
        keras.utils.set_random_seed(seed)
        model = self.recipe.build_model(self.inputs)
        require(
            isinstance(model, keras.Model),
            f"model._target_ must return a Keras model, not {type(model).__name__}.",
        )
        shape = list(model(np.zeros((2, self.inputs), np.float32)).shape)
        outputs = self.objective.outputs
        require(
            shape == [2, outputs],
            f"The model maps 2 rows to the shape {shape} instead of [2, {outputs}]. "
            f"Its last layer must have {outputs} unit{'s' * (outputs > 1)}.",
        )
        return model


def _stacked(lanes: Sequence[Sequence[Any]]) -> list[tf.Tensor]:
    """Return a tensor `[lanes, ...]` for each variable of the lanes."""
    return [tf.stack([variable.numpy() for variable in of_lanes]) for of_lanes in zip(*lanes, strict=True)]
