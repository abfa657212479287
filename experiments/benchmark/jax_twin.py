"""The trainer's compiled loops, written in JAX, so that their speed under XLA can be measured without TensorFlow.

JAX and TensorFlow compile with the same XLA. The loops have the same steps, types and order of operations as those of
`harness.training`; this module needs only JAX and NumPy.
"""

# An optional package.
# pyright: reportMissingImports=false, reportReturnType=false
from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

SLICE_ROWS = 1024
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7
LARGE_IMAGE = 32

Array = Any


class Model(NamedTuple):
    """A model as a pure function of its weights and a chunk's features.

    Attributes:
        apply: Takes the weights, in the order of Keras's `trainable_variables`, and features; returns `[rows, 1]`.
        shapes: Shapes of the weights.
        input_shape: Shape of one row's features.
    """

    apply: Callable[[Sequence[Array], Array], Array]
    shapes: list[tuple[int, ...]]
    input_shape: tuple[int, ...]

    @property
    def weights(self) -> int:
        """Number of weights."""
        return sum(int(np.prod(shape)) for shape in self.shapes)


class State(NamedTuple):
    """The state that a loop carries from block to block, stacked over lanes.

    Attributes:
        weights: `[lanes, ...]` each.
        first: Adam's first moments.
        second: Adam's second moments.
        count: Updates so far, `[lanes]`.
        rate: Learning rates, `[lanes]`.
        epoch_loss: Rows times loss, summed over the epoch, float64 `[lanes]`.
        partial: Sums over the rows so far of an unfinished chunk, float64; none if chunks are computed in one step.
    """

    weights: list[Array]
    first: list[Array]
    second: list[Array]
    count: Array
    rate: Array
    epoch_loss: Array
    partial: list[Array]


def dense(inputs: int, units: Sequence[int] = ()) -> Model:
    """Return a multilayer perceptron with one output; without hidden units, a linear model."""
    sizes = list(itertools.pairwise((inputs, *units, 1)))

    def apply(weights: Sequence[Array], x: Array) -> Array:
        return _dense_layers(weights, x)

    return Model(apply, [shape for size in sizes for shape in (size, size[1:])], (inputs,))


def cnn(shape: tuple[int, int, int], filters: Sequence[int] = (16, 32, 64), units: int = 64) -> Model:
    """Return the network of `harness.models.cnn` with one output, for images of 0 to 255, float32 or uint8."""
    stride = 2 if min(shape[:2]) >= LARGE_IMAGE else 1
    height, width, channels = -(-shape[0] // stride), -(-shape[1] // stride), shape[2]
    shapes: list[tuple[int, ...]] = []
    for number, size in enumerate(filters):
        shapes += [(3 if number else 5,) * 2 + (channels, size), (size,)]
        channels = size
        if number:
            height, width = height // 2, width // 2
    flat = height * width * channels
    shapes += [(flat, units), (units,), (units, 1), (1,)]

    def apply(weights: Sequence[Array], x: Array) -> Array:
        x = x.astype(jnp.float32) * np.float32(1 / 255)
        for number in range(len(filters)):
            kernel, bias = weights[2 * number : 2 * number + 2]
            strides = (1, 1) if number else (stride, stride)
            x = jax.lax.conv_general_dilated(x, kernel, strides, "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
            x = jax.nn.relu(x + bias)
            if number:
                x = _max_pooled(x)
        return _dense_layers(weights[2 * len(filters) :], x.reshape(len(x), -1))

    return Model(apply, shapes, shape)


def _dense_layers(weights: Sequence[Array], x: Array) -> Array:
    for kernel, bias in zip(weights[:-2:2], weights[1:-2:2], strict=True):
        x = jax.nn.relu(x @ kernel + bias)
    return x @ weights[-2] + weights[-1]


def _max_pooled(x: Array) -> Array:
    rows, height, width, channels = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2].reshape(rows, height // 2, 2, -1).max(axis=2)
    return x.reshape(rows, height // 2, width // 2, 2, channels).max(axis=3)


def start(weights: Sequence[Array], rates: Sequence[float], *, is_sliced: bool = False) -> State:
    """Return the state before the first row; must be called, like the loops, with 64-bit types enabled.

    Args:
        weights: Initial weights, `[lanes, ...]` each.
        rates: Learning rates.
        is_sliced: Whether the loop is `sliced_chunks`.
    """
    lanes = len(rates)
    stacked = [jnp.asarray(each, jnp.float32) for each in weights]
    first, second = ([jnp.zeros_like(each) for each in stacked] for _ in range(2))
    partial = [jnp.zeros(lanes, jnp.float64), *(jnp.zeros(each.shape, jnp.float64) for each in stacked)]
    counts, rate = jnp.zeros(lanes, jnp.int32), jnp.asarray(rates, jnp.float32)
    return State(stacked, first, second, counts, rate, jnp.zeros(lanes, jnp.float64), partial if is_sliced else [])


def random_state(model: Model, lanes: int, *, is_sliced: bool, seed: int = 0) -> State:
    """Return lanes with random weights, scaled as proposed by Glorot and Bengio (2010)."""
    random = np.random.default_rng(seed)
    fans = [max(int(np.prod(shape[:-1])), 1) + shape[-1] for shape in model.shapes]
    weights = [
        random.normal(0, (2 / fan) ** 0.5 if len(shape) > 1 else 0, (lanes, *shape)).astype(np.float32)
        for fan, shape in zip(fans, model.shapes, strict=True)
    ]
    return start(weights, random.uniform(1e-4, 1e-2, lanes).tolist(), is_sliced=is_sliced)


def _map(function: Callable, is_unrolled: bool) -> Callable:
    """Return `function` applied to lanes as one batch, or one after another."""
    if not is_unrolled:
        return jax.vmap(function)

    def unrolled(*arguments: Any) -> Any:
        lanes = len(jax.tree.leaves(arguments)[0])
        results = [function(*jax.tree.map(lambda each: each[lane], arguments)) for lane in range(lanes)]  # noqa: B023
        return jax.tree.map(lambda *values: jnp.stack(values), *results)

    return unrolled


def _sums(model: Model, state: State, x: Array, y: Array, mask: Array, is_unrolled: bool) -> tuple[Array, list[Array]]:
    """Return each lane's sums of losses and of gradients over the rows where `mask` is 1."""

    def loss(weights: list[Array]) -> Array:
        return jnp.sum(jnp.square(y - model.apply(weights, x))[:, 0] * mask)

    return _map(jax.value_and_grad(loss), is_unrolled)(state.weights)


def _step(state: State, gradients: list[Array], is_unrolled: bool) -> State:
    """Take one step of Adam in each lane, as implemented by Keras."""

    def one(weights: list, first: list, second: list, count: Array, rate: Array, slopes: list) -> tuple:
        step = (count + 1).astype(jnp.float32)
        alpha = rate * jnp.sqrt(1 - jnp.power(np.float32(BETA_2), step)) / (1 - jnp.power(np.float32(BETA_1), step))
        first = [m + (g - m) * (1 - BETA_1) for m, g in zip(first, slopes, strict=True)]
        second = [v + (jnp.square(g) - v) * (1 - BETA_2) for v, g in zip(second, slopes, strict=True)]
        moved = zip(weights, first, second, strict=True)
        return [w - m * alpha / (jnp.sqrt(v) + EPSILON) for w, m, v in moved], first, second, count + 1

    now = state.weights, state.first, state.second, state.count, state.rate, gradients
    weights, first, second, count = _map(one, is_unrolled)(*now)
    return state._replace(weights=weights, first=first, second=second, count=count)


def whole_chunks(model: Model, chunk: int, *, is_unrolled: bool = False) -> Callable:
    """Return the loop over chunks that are computed in one step.

    It takes a state, features `[rows, ...]`, targets `[rows, 1]`, the row to begin at and the number of updates, and
    returns the state after them and their losses, `[rows // chunk + 2, lanes]`.
    """

    def run(state: State, x: Array, y: Array, begin: Array, steps: Array) -> tuple[State, Array]:
        def update(carry: tuple) -> tuple:
            step, row, state, losses = carry
            x_chunk, y_chunk = (jax.lax.dynamic_slice_in_dim(values, row, chunk) for values in (x, y))
            total, slopes = _sums(model, state, x_chunk, y_chunk, jnp.ones(chunk, jnp.float32), is_unrolled)
            after = _step(state, [slope / chunk for slope in slopes], is_unrolled)
            after = after._replace(epoch_loss=state.epoch_loss + (total / chunk).astype(jnp.float64) * chunk)
            return step + 1, row + chunk, after, losses.at[step].set(total / chunk)

        losses = jnp.zeros((len(x) // chunk + 2, len(state.rate)), jnp.float32)
        return jax.lax.while_loop(lambda carry: carry[0] < steps, update, (jnp.int32(0), begin, state, losses))[2:]

    return run


def sliced_chunks(model: Model, chunk: int, *, is_unrolled: bool = False) -> Callable:
    """Return the loop over longer chunks, whose slices are summed in float64 before each step.

    Arguments and results are those of `whole_chunks`.
    """
    per_chunk = -(-chunk // SLICE_ROWS)

    def run(state: State, x: Array, y: Array, begin: Array, steps: Array) -> tuple[State, Array]:
        def add(carry: tuple) -> tuple:
            number, update, state, losses = carry
            piece = number % per_chunk
            # A window has the length of a full slice and ends where its slice ends.
            stop = jnp.minimum((piece + 1) * SLICE_ROWS, chunk)
            window = begin + update * chunk + stop - SLICE_ROWS
            mine = jnp.arange(SLICE_ROWS) >= SLICE_ROWS - (stop - piece * SLICE_ROWS)
            x_slice, y_slice = (_kept(jax.lax.dynamic_slice_in_dim(v, window, SLICE_ROWS), mine) for v in (x, y))
            parts = jax.tree.leaves(_sums(model, state, x_slice, y_slice, mine.astype(jnp.float32), is_unrolled))
            sums = [total + part.astype(jnp.float64) for total, part in zip(state.partial, parts, strict=True)]
            state = state._replace(partial=sums)
            return number + 1, *jax.lax.cond(piece == per_chunk - 1, _finish, lambda *now: now, update, state, losses)

        def _finish(update: Array, state: State, losses: Array) -> tuple:
            loss, *totals = state.partial
            after = _step(state, [(total / chunk).astype(jnp.float32) for total in totals], is_unrolled)
            cleared = [jnp.zeros_like(total) for total in state.partial]
            after = after._replace(epoch_loss=state.epoch_loss + loss, partial=cleared)
            return update + 1, after, losses.at[update].set((loss / chunk).astype(jnp.float32))

        losses = jnp.zeros((len(x) // chunk + 2, len(state.rate)), jnp.float32)
        first = (jnp.int32(0), jnp.int32(0), state, losses)
        return jax.lax.while_loop(lambda carry: carry[0] < steps * per_chunk, add, first)[2:]

    return run


def _kept(values: Array, mine: Array) -> Array:
    return jnp.where(mine.reshape(-1, *[1] * (values.ndim - 1)), values, jnp.zeros_like(values))


def make_loop(model: Model, chunk: int, *, is_unrolled: bool = False) -> Callable:
    """Return the compiled loop for a chunk size; the loop consumes the state that is passed to it."""
    kind = whole_chunks if chunk <= SLICE_ROWS else sliced_chunks
    return functools.partial(jax.jit, donate_argnums=0)(kind(model, chunk, is_unrolled=is_unrolled))
