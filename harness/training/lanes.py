"""A stack of Keras models and optimizers as plain tensors, and one pure update for all of them.

A lane is one run's weights, layer state and optimizer state. Lanes are stacked along a leading axis of fixed length,
the tile: what a lane computes depends on the tile's length in the last bit, and on its companions not at all.
"""

# The stubs that pyright has for TensorFlow know no static shapes.
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
from harness.models import is_linear, row_losses
from harness.training.encoding import Encoding
from harness.training.optimizers import make_optimizer, make_schedule, pure

SMALL_TILE, SMALL_WEIGHTS = 8, 1000

BATCH_LAYERS = (keras.layers.BatchNormalization,)
"""Layers whose output for one row depends on the other rows of the batch."""


@dataclass(frozen=True)
class Recipe:
    """What all lanes of a stack have in common.

    Attributes:
        identity: Equal recipes have equal identities; nothing else of them is compared.
        build_model: Takes the number of inputs, returns a Keras model `[rows, inputs] -> [rows, 1]`.
        optimizer: `name`, and arguments of the Keras optimizer.
        loss: Of a row.
    """

    identity: str
    build_model: Callable[[int], keras.Model] = field(compare=False)
    optimizer: Mapping[str, Any] = field(compare=False)
    loss: Loss = field(compare=False)


class State(NamedTuple):
    """Lanes as tensors, each `[tile, ...]`.

    Attributes:
        weights: The models' trainable variables.
        extra: Their other variables: random streams, moving statistics.
        optimizer: The optimizers' variables, the learning rate among them.
    """

    weights: list[tf.Tensor]
    extra: list[tf.Tensor]
    optimizer: list[tf.Tensor]


class Stack:
    """Lanes of one recipe."""

    def __init__(self, recipe: Recipe, encoding: Encoding) -> None:
        """Build the model and the optimizer that stand for all lanes.

        Args:
            recipe: Of the lanes.
            encoding: Turns features into the models' inputs.

        Raises:
            ConfigError: The model has not the shape `[rows, inputs] -> [rows, 1]`.
        """
        self.recipe = recipe
        self._encoding = encoding
        self.model = self._build(seed=0)
        self._optimizer = make_optimizer(recipe.optimizer, learning_rate=0.0)
        self._schedule = make_schedule(recipe.optimizer)
        with pure():
            self._optimizer.build(self.model.trainable_variables)
        names = [variable.path.rpartition("/")[-1] for variable in self._optimizer.variables]
        self._rate, self._iteration = names.index("learning_rate"), names.index("iteration")
        self._row_losses = row_losses(recipe.loss)
        # By seed, of which a sweep has few.
        self._first: dict[int, keras.Model] = {}
        # A random layer draws from a variable of its lane, which tf.vectorized_map cannot batch.
        self._draws = any(hasattr(layer, "seed_generator") for layer in self.layers())

    @property
    def suited_tile(self) -> int:
        """Lanes that are best updated by one call: of a small model, the call takes longer than its arithmetic."""
        return SMALL_TILE if self.model.count_params() <= SMALL_WEIGHTS else 1

    @property
    def inputs(self) -> int:
        """Inputs of the models."""
        return self._encoding.inputs

    @property
    def is_least_squares(self) -> bool:
        """Whether the models are one linear layer each, trained with the squared error and nothing else."""
        return self.recipe.loss is Loss.mse and is_linear(self.model)

    def layers(self) -> list[keras.layers.Layer]:
        """Return all layers of the model, nested ones too."""
        return self.model._flatten_layers(include_self=False, recursive=True)

    def start(self, seeds: Sequence[int], learning_rates: Sequence[float]) -> State:
        """Return the state before the first update of lanes with these seeds and rates."""
        models = self._first = {
            seed: self._first[seed] if seed in self._first else self._build(seed) for seed in dict.fromkeys(seeds)
        }
        optimizer = [
            np.float32(learning_rates) if index == self._rate else np.repeat(variable.numpy()[None], len(seeds), axis=0)
            for index, variable in enumerate(self._optimizer.variables)
        ]
        return State(
            _stacked([models[seed].trainable_variables for seed in seeds]),
            _stacked([models[seed].non_trainable_variables for seed in seeds]),
            [tf.constant(values) for values in optimizer],
        )

    def started(self) -> None:
        """Let go of what further lanes would start from."""
        self._first = {}

    def load(self, state: State, lane: int) -> keras.Model:
        """Return the stack's model holding the weights of one lane; it is the same model at each call."""
        for variables, values in (
            (self.model.trainable_variables, state.weights),
            (self.model.non_trainable_variables, state.extra),
        ):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value[lane])
        return self.model

    def update(self, state: State, x: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, State]:
        """Take one optimizer step a lane with the mean loss of one chunk.

        Args:
            state: Of all lanes.
            x: `[rows, features]`.
            y: `[rows, 1]`.

        Returns:
            The loss of each lane before the step, float32 `[tile]`, and the state after it.
        """
        inputs, rows = self.encode(x), x.shape[0]

        def one(lane: State) -> tuple[tf.Tensor, State]:
            total, gradients, extra = self._loss_and_gradients(lane, inputs, y, tf.ones(rows))
            return total / rows, self._step(lane._replace(extra=extra), [gradient / rows for gradient in gradients])

        return self._map(one, state)

    def sums(self, state: State, x: tf.Tensor, y: tf.Tensor, mask: tf.Tensor) -> tuple[tf.Tensor, list, State]:
        """Sum losses and gradients over the rows of one slice where `mask`, float32 `[rows]`, is 1.

        Returns:
            Loss sums `[tile]`, gradient sums `[tile, ...]` for each weight, and the state with its `extra` moved on.
        """
        inputs = self.encode(x)

        def one(lane: State) -> tuple[tf.Tensor, list, State]:
            total, gradients, extra = self._loss_and_gradients(lane, inputs, y, mask)
            return total, gradients, lane._replace(extra=extra)

        return self._map(one, state)

    def step(self, state: State, gradients: list[tf.Tensor]) -> State:
        """Take one optimizer step a lane with the given gradients, each `[tile, ...]`."""
        return self._map(lambda both: self._step(*both), (state, gradients))

    def encode(self, x: tf.Tensor) -> tf.Tensor:
        """Turn features, `[rows, features]`, into the models' inputs, `[rows, inputs]`."""
        return self._encoding(x)

    def predict(self, state: State, x: tf.Tensor) -> tf.Tensor:
        """Return the models' outputs for `x`, `[rows, features]`, as `[tile, rows, 1]`."""
        inputs = self.encode(x)
        return self._map(
            lambda lane: self.model.stateless_call(lane.weights, lane.extra, inputs, training=False)[0], state
        )

    def losses(self, y: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        """Return the loss of each row, `[..., rows]`, for targets `[rows, 1]` and outputs `[..., rows, 1]`."""
        return self._row_losses(tf.broadcast_to(y, tf.shape(outputs)), outputs)

    def _loss_and_gradients(
        self, lane: State, x: tf.Tensor, y: tf.Tensor, mask: tf.Tensor
    ) -> tuple[tf.Tensor, list[tf.Tensor], list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            tape.watch(lane.weights)
            outputs, extra, penalties = self.model.stateless_call(
                lane.weights, lane.extra, x, training=True, return_losses=True
            )
            total = tf.reduce_sum(self._row_losses(y, outputs) * mask)
            # A regularizer's penalty belongs to the mean loss, hence to the sum once a row.
            objective = tf.add_n([total, *(penalty * tf.reduce_sum(mask) for penalty in penalties)])
        # A layer's random stream comes back in another integer type than it has as a variable.
        extra = [tf.cast(after, before.dtype) for before, after in zip(lane.extra, extra, strict=True)]
        gradients = tape.gradient(objective, lane.weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return total, gradients, extra

    def _step(self, lane: State, gradients: list[tf.Tensor]) -> State:
        before = list(lane.optimizer)
        if self._schedule:
            before[self._rate] *= tf.cast(self._schedule(before[self._iteration]), tf.float32)
        with pure():
            weights, after = self._optimizer.stateless_apply(before, gradients, lane.weights)
        after[self._rate] = lane.optimizer[self._rate]
        return lane._replace(weights=weights, optimizer=after)

    def _map(self, function: Callable, elements: Any) -> Any:
        if not self._draws:
            return tf.vectorized_map(function, elements)
        tile = tf.nest.flatten(elements)[0].shape[0]
        results = [function(tf.nest.map_structure(operator.itemgetter(i), elements)) for i in range(tile)]
        return tf.nest.map_structure(lambda *values: tf.stack(values), *results)

    def _build(self, seed: int) -> keras.Model:
        keras.utils.set_random_seed(seed)
        model = self.recipe.build_model(self._encoding.inputs)
        require(isinstance(model, keras.Model), "model._target_ expected to return a Keras model", type(model).__name__)
        shape = tuple(model(np.zeros((2, self._encoding.inputs), np.float32)).shape)
        require(shape == (2, 1), "the model expected an output of shape [rows, 1]", list(shape), "End in one unit.")
        return model


def _stacked(lanes: Sequence[Sequence[Any]]) -> list[tf.Tensor]:
    """Return a tensor `[lanes, ...]` for each of the variables that every lane has."""
    return [tf.stack([variable.numpy() for variable in of_lanes]) for of_lanes in zip(*lanes, strict=True)]
