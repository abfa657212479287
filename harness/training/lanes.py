"""Keras models and optimizers stacked as plain tensors, with one pure update function for all of them.

Lanes are stacked along a leading axis of fixed length, the tile. The length of the tile affects the last bits of a
lane's results, but the other lanes do not affect them.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from harness.data.blocks import SLICE_ROWS
from harness.errors import require
from harness.training import loss_scaling
from harness.training.encoding import Encoding
from harness.training.model_trace import trace_model
from harness.training.objective import Objective
from harness.training.optimizers import make_optimizer, make_schedule
from harness.training.strategy import choose_strategy

INITIAL_MODELS = 8
"""Maximum number of initial models kept, by seed, while tiles are built; a sweep has few seeds."""

_OUTPUTS = ", a number that model._target_ gets as its second argument if it takes `outputs`"


@dataclass(frozen=True)
class Recipe:
    """The properties shared by all lanes of a stack.

    Attributes:
        identity: The only field used to compare recipes.
        build_model: Takes the number of inputs, or the shape of one row's input, and returns a Keras model
            `[rows, inputs]` or `[rows, *shape] -> [rows, outputs]`.
        optimizer: `name` and the other arguments of the Keras optimizer.
        objective: The objective to minimize.
        shared_as: If not None, everything that `build_model`, `optimizer` and the objective's loss depend on; later
            scans of the process use the same compiled loops if it is equal.
    """

    identity: str
    build_model: Callable[[Any], keras.Model] = field(compare=False)
    optimizer: Mapping[str, Any] = field(compare=False)
    objective: Objective = field(compare=False)
    shared_as: Hashable = field(default=None, compare=False)


class LaneState(NamedTuple):
    """Lanes as tensors, each `[tile, ...]`.

    Attributes:
        weights: The models' trainable variables.
        extra: The models' other variables, such as random seeds and moving statistics.
        optimizer: The optimizers' variables, including the learning rate, followed by the state of loss scaling.
    """

    weights: list[tf.Tensor]
    extra: list[tf.Tensor]
    optimizer: list[tf.Tensor]


class Stack:
    """Lanes of one recipe.

    Attributes:
        objective: The recipe's objective.
        encode: Turns features, `[rows, features]` or `[rows, *shape]`, into the models' inputs.
        model: The model shared by all lanes.
        trace: The properties found by tracing an update of the model.
        strategy: How its updates are compiled and divided into slices.
        scales_loss: Whether it needs loss scaling, because some of its layers compute in float16.
        alone: Seconds per update of a lane that has the machine to itself, by chunk, if known.
    """

    def __init__(self, recipe: Recipe, encoding: Encoding, device: str = "/CPU:0") -> None:
        """Build the model and the optimizer that all lanes share.

        Raises:
            ConfigError: The model does not map its inputs to `[rows, outputs]`.
        """
        self._recipe, self.objective, self.encode = recipe, recipe.objective, encoding
        self.alone: dict[int, float] = {}
        self.model = self._build(seed=0)
        self._optimizer = make_optimizer(recipe.optimizer, learning_rate=0.0)
        self._schedule = make_schedule(recipe.optimizer)
        self._optimizer.build(self.model.trainable_variables)
        names = [variable.path.rpartition("/")[-1] for variable in self._optimizer.variables]
        self._rate, self._iteration = names.index("learning_rate"), names.index("iteration")
        self._initial_model = functools.lru_cache(INITIAL_MODELS)(self._build)
        variables = [*self.model.trainable_variables, *self.model.non_trainable_variables]
        # Indices of the variables in the order of `keras.Model.get_weights`.
        self._order = [next(n for n, one in enumerate(variables) if one is other) for other in self.model.weights]
        paths = [variable.path for variable in self.model.non_trainable_variables]
        self._own = len(self._optimizer.variables)  # Followed by the state of loss scaling, if any.
        is_random = any(path.endswith("seed_generator_state") for path in paths)
        self.trace = trace_model(self.model, encoding.input_shape)
        self.scales_loss = self.trace.uses_float16 and self.model.dtype_policy.name == "mixed_float16"
        self.strategy = choose_strategy(self.trace, device, is_image=len(encoding.shape) > 1, is_random=is_random)

    @property
    def whole_rows(self) -> int:
        """Rows of the longest chunk computed in one step, even if this needs more memory than a slice."""
        return SLICE_ROWS if self.batch_layers() else self.strategy.slice_rows

    @property
    def update_bytes(self) -> int:
        """Size in bytes of a lane's weights, their gradients, its other variables and its optimizer's state."""
        weights, extra = self.model.trainable_variables, self.model.non_trainable_variables
        variables = [*weights, *weights, *extra, *self._optimizer.variables]
        return sum(math.prod(variable.shape) * tf.as_dtype(variable.dtype).size for variable in variables)

    def batch_layers(self) -> list[str]:
        """Return the names of the layers whose output for one row depends on the other rows of the batch."""
        paths = [variable.path.split("/") for variable in self.model.non_trainable_variables]
        return [path[-2] for path in paths if path[-1] == "moving_mean"]

    def start(self, seeds: Sequence[int], learning_rates: Sequence[float]) -> LaneState:
        """Return the initial state of lanes with these seeds and learning rates."""
        models = [self._initial_model(seed) for seed in seeds]
        optimizer = [
            np.array(learning_rates, np.float32) if index == self._rate else np.stack([variable.numpy()] * len(seeds))
            for index, variable in enumerate(self._optimizer.variables)
        ]
        if self.scales_loss:
            optimizer += loss_scaling.start(len(seeds))
        return LaneState(
            _stacked([model.trainable_variables for model in models]),
            _stacked([model.non_trainable_variables for model in models]),
            [tf.constant(values) for values in optimizer],
        )

    def drop_initial_models(self) -> None:
        """Free the models from which the lanes' initial weights were taken."""
        self._initial_model.cache_clear()

    def weights(self, state: LaneState, lane: int) -> list[np.ndarray]:
        """Return the weights of one lane, in the order of `keras.Model.get_weights`."""
        values = [_of_lane(each, lane) for each in (*state.weights, *state.extra)]
        return [values[index] for index in self._order]

    def with_weights(self, state: LaneState, weights: Sequence[np.ndarray]) -> LaneState:
        """Return the state with `weights`, in the order of `keras.Model.get_weights`, in all lanes."""
        tile: Any = state.optimizer[0].shape[0]
        placed = dict(zip(self._order, weights, strict=True))
        stacked = [tf.constant(np.stack([placed[index]] * tile)) for index in range(len(placed))]
        count = len(state.weights)
        return state._replace(weights=stacked[:count], extra=stacked[count:])

    def update(self, state: LaneState, x: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, LaneState]:
        """Take one optimizer step per lane on the mean loss of a chunk, given features `x` and `y [rows, columns]`.

        Returns:
            Each lane's loss before the step, float32 `[tile]`, and the state after it.
        """
        rows: Any = x.shape[0]
        total, gradients, state = self.sums(state, x, y, tf.ones(rows))
        return total / rows, self.step(state, [gradient / rows for gradient in gradients])

    def sums(self, state: LaneState, x: tf.Tensor, y: tf.Tensor, mask: tf.Tensor) -> tuple[tf.Tensor, list, LaneState]:
        """Sum losses and gradients over the rows of a slice where `mask`, float32 `[rows]`, is 1.

        Returns:
            Loss sums `[tile]`, gradient sums `[tile, ...]` for each weight, and the state with `extra` updated.
        """
        inputs = self.encode(x)
        rows: Any = x.shape[0]

        def one(lane: LaneState) -> tuple[tf.Tensor, list, LaneState]:
            factor = loss_scaling.factor(lane.optimizer[self._own :], rows) if self.scales_loss else None
            with tf.GradientTape() as tape:
                tape.watch(lane.weights)
                found: Any = self.model.stateless_call(
                    lane.weights, lane.extra, inputs, training=True, return_losses=True
                )
                outputs, extra, penalties = found
                total = tf.reduce_sum(self.objective.row_losses(y, _float32(outputs)) * mask)
                # Regularizers add to the mean loss, so they are added to the sum once per row.
                penalized = tf.add_n([total, *(_float32(penalty) * tf.reduce_sum(mask) for penalty in penalties)])
                scaled = penalized if factor is None else penalized * factor
            # Keras returns random seeds with a different integer type than their variable's.
            extra = [tf.cast(after, before.dtype) for before, after in zip(lane.extra, extra, strict=True)]
            gradients: Any = tape.gradient(scaled, lane.weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
            if factor is not None:
                gradients = [gradient / factor for gradient in gradients]
            return total, gradients, lane._replace(extra=extra)

        return self._map(one, state)

    def step(self, state: LaneState, gradients: list[tf.Tensor]) -> LaneState:
        """Take one optimizer step per lane with the given gradients, each `[tile, ...]`."""

        def one(lane_and_gradients: tuple[LaneState, list[tf.Tensor]]) -> LaneState:
            lane, of_lane = lane_and_gradients
            before, scaling = list(lane.optimizer[: self._own]), lane.optimizer[self._own :]
            if self._schedule:
                before[self._rate] *= tf.cast(self._schedule(before[self._iteration]), tf.float32)
            weights, after = self._optimizer.stateless_apply(before, of_lane, lane.weights)
            after[self._rate] = lane.optimizer[self._rate]
            if not self.scales_loss:
                return lane._replace(weights=weights, optimizer=after)
            tensors = [*lane.weights, *lane.optimizer[: self._own]]
            found, following = loss_scaling.select(scaling, of_lane, tensors, [*weights, *after])
            count = len(weights)
            return lane._replace(weights=found[:count], optimizer=[*found[count:], *following])

        return self._map(one, (state, gradients))

    def predict(self, state: LaneState, x: tf.Tensor) -> tf.Tensor:
        """Return the models' outputs for features `x` as `[tile, rows, outputs]`."""
        inputs = self.encode(x)
        return self._map(
            lambda lane: _float32(self.model.stateless_call(lane.weights, lane.extra, inputs, training=False)[0]), state
        )

    def losses(self, y: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        """Return the loss of each row, `[tile, rows]`, for `y [rows, columns]` and outputs `[tile, rows, outputs]`."""
        return self.objective.row_losses(tf.broadcast_to(y, [outputs.shape[0], *y.shape]), outputs)

    def _map(self, function: Callable, elements: Any) -> Any:
        if not self.strategy.is_unrolled:
            return tf.vectorized_map(function, elements)
        tile = tf.nest.flatten(elements)[0].shape[0]
        results = [function(tf.nest.map_structure(operator.itemgetter(i), elements)) for i in range(tile)]
        return tf.nest.map_structure(lambda *values: tf.stack(values), *results)

    def _build(self, seed: int) -> keras.Model:
        keras.utils.set_random_seed(seed)
        outputs = self.objective.outputs
        model = self._recipe.build_model(self.encode.inputs)
        is_model = isinstance(model, keras.Model)
        require(is_model, f"model._target_ must return a Keras model, not {type(model).__name__}.")
        shape = list(model(np.zeros((2, *self.encode.input_shape), np.float32)).shape)
        require(
            shape == [2, outputs],
            f"The model maps 2 rows to the shape {shape} instead of [2, {outputs}]. Its last layer must have "
            f"units={outputs}{_OUTPUTS if outputs > 1 else ''}.",
        )
        return model


def _of_lane(values: tf.Tensor, lane: int) -> np.ndarray:
    """Return a lane's part of a stacked tensor, taken on the tensor's own device: others may have failed."""
    with tf.device(values.device):
        return values[lane].numpy()


def _float32(values: Any) -> tf.Tensor:
    """Return a value that layers computed in any precision as float32."""
    return tf.cast(values, tf.float32)


def _stacked(lanes: Sequence[Sequence[Any]]) -> list[tf.Tensor]:
    """Return a tensor `[lanes, ...]` for each variable of the lanes."""
    return [tf.stack([variable.numpy() for variable in across]) for across in zip(*lanes, strict=True)]
