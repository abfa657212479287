"""JAX as an expert would write it.

Polars reads, everything stays in memory, all configurations of a chunk size are stacked by `vmap` in one compiled
`scan` with donated buffers, and chunk sizes run side by side. Runs that differ in epochs only are one lane.
"""

# An optional package.
# pyright: reportCallIssue=false, reportMissingImports=false
from __future__ import annotations

import itertools
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from jax.flatten_util import ravel_pytree

from experiments.benchmark.task import Fit, Outcome, Task

ELEMENTWISE_LANES = range(2, 17)
"""For one feature and this many lanes an elementwise product is faster than a matrix product, as measured."""
SLICE_ROWS = 8192
"""Longer chunks are summed slice by slice, so that the arrays of one slice stay in the caches."""


def train(task: Task) -> Outcome:
    """Train all configurations."""
    start = time.perf_counter()
    x, y = _read(task)
    read = time.perf_counter() - start
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        start = time.perf_counter()
        scans = list(pool.map(lambda chunk: _Scan(task, chunk, x, y), task.chunks))
        compiling = time.perf_counter() - start
        start = time.perf_counter()
        fits = list(pool.map(lambda scan: scan.run(), scans))
        seconds = time.perf_counter() - start
    return Outcome(
        task.rows,
        compile=compiling,
        read=read,
        laps=[seconds],
        lap_epochs=task.passes,
        fits=[fit for some in fits for fit in some],
    )


def train_and_record(task: Task) -> Outcome:
    """Train all configurations and record a run of each in MLflow: its params, final loss and final weights."""
    start = time.perf_counter()
    import mlflow
    from mlflow.entities import Metric, Param

    with tempfile.TemporaryDirectory() as folder:
        client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
        experiment = client.create_experiment("jax", f"{folder}/artifacts")
        contact = time.perf_counter() - start
        outcome = train(task)
        start = time.perf_counter()
        for fit in outcome.fits:
            run_id = client.create_run(experiment).info.run_id
            measures = {"loss": fit.loss or 0.0} | {f"weight/{index}": each for index, each in enumerate(fit.weights)}
            metrics = [Metric(key, value, int(time.time() * 1000), fit.epochs) for key, value in measures.items()]
            settings = {"chunksize": fit.chunk, "learning_rate": fit.rate, "epochs": fit.epochs}
            params = [Param(key, str(value)) for key, value in settings.items()]
            client.log_batch(run_id, metrics=metrics, params=params)
            client.set_terminated(run_id)
        recording = time.perf_counter() - start
    return replace(outcome, startup=contact, laps=[lap + recording for lap in outcome.laps])


def _read(task: Task) -> tuple[np.ndarray, np.ndarray]:
    frame = (
        pl.scan_csv(task.path, schema_overrides=dict.fromkeys(task.columns, pl.Float32), n_rows=task.rows)
        .select((pl.col(name) - mean) / std for name, mean, std in zip(task.columns, task.mean, task.std, strict=True))
        .collect()
    )
    return frame.select(task.features).to_numpy(order="c"), frame[task.target].to_numpy()


class _Scan:
    """The lanes of one chunk size, stacked and compiled."""

    def __init__(self, task: Task, chunk: int | str, x: np.ndarray, y: np.ndarray) -> None:
        self._task, self._chunk = task, chunk
        size = task.size(chunk)
        whole = task.rows // size * size
        self._rates = jnp.asarray(np.array(task.rates, np.float32))
        initial, unravel = ravel_pytree(_initial(task))
        lanes = np.tile(initial, (len(task.rates), 1))
        self._state = (*(jnp.asarray(each) for each in (lanes, 0 * lanes, 0 * lanes)), jnp.float32(0))
        epoch = jax.jit(_epoch(_loss(task, unravel)), donate_argnums=0)
        parts = [(x[:whole].reshape(-1, size, x.shape[1]), y[:whole].reshape(-1, size))]
        if whole < task.rows:
            parts.append((x[None, whole:], y[None, whole:]))
        self._parts = [tuple(map(jnp.asarray, part)) for part in parts]
        self._passes = [epoch.lower(self._state, self._rates, *part).compile() for part in self._parts]

    def run(self) -> list[Fit]:
        """Train, and return the lanes' results at each stop."""
        state, task = self._state, self._task
        fits: list[Fit] = []
        for number in range(1, task.passes + 1):
            losses = []
            for part, one_pass in zip(self._parts, self._passes, strict=True):
                state, loss = one_pass(state, self._rates, *part)
                losses.append(loss)
            if number in task.stops:
                means, lanes = np.sum(losses, axis=0) / task.rows, np.asarray(state[0])
                for rate, loss, lane in zip(task.rates, means, lanes, strict=True):
                    weights = [] if task.units else list(map(float, lane))
                    fits.append(Fit(self._chunk, rate, number, weights, float(loss)))
        jax.block_until_ready(state)
        return fits


def _initial(task: Task) -> list:
    """Return the initial bias and kernel of each layer; a linear model starts at 0.1."""
    if not task.units:
        return [np.float32(0.1), np.full(len(task.features), 0.1, np.float32)]
    widths = [len(task.features), *task.units, 1]
    keys = jax.random.split(jax.random.key(0), len(widths) - 1)
    glorot = jax.nn.initializers.glorot_uniform()
    layers = zip(keys, itertools.pairwise(widths), strict=True)
    return [(jnp.zeros(shape[1]), glorot(key, shape)) for key, shape in layers]


def _loss(task: Task, unravel: Callable) -> Callable:
    """Return a function of flat weights and a chunk that computes the mean squared error."""
    elementwise = len(task.features) == 1 and len(task.rates) in ELEMENTWISE_LANES

    def linear(weights: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
        product = x[:, 0] * weights[1] if elementwise else x @ weights[1:]
        return jnp.mean((weights[0] + product - y) ** 2)

    def perceptron(weights: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
        *hidden, (bias, kernel) = unravel(weights)
        for before, weight in hidden:
            x = jax.nn.relu(x @ weight + before)
        return jnp.mean(((x @ kernel)[:, 0] + bias[0] - y) ** 2)

    return perceptron if task.units else linear


def _epoch(loss: Callable) -> Callable:
    """Return a function that makes one epoch: it returns the new state and each lane's loss summed over the rows."""
    measure = jax.value_and_grad(loss)

    def whole(weights: jax.Array, x: jax.Array, y: jax.Array) -> tuple:
        """Return the loss and gradient of a chunk, slice by slice if it is long."""
        rows, sliced = len(y), len(y) // SLICE_ROWS * SLICE_ROWS
        if sliced == 0:
            return measure(weights, x, y)

        def add(sums: tuple, part: tuple) -> tuple:
            share = len(part[1]) / rows
            return tuple(total + share * each for total, each in zip(sums, measure(weights, *part), strict=True)), None

        parts = (x[:sliced].reshape(-1, SLICE_ROWS, x.shape[1]), y[:sliced].reshape(-1, SLICE_ROWS))
        sums, _ = jax.lax.scan(add, (jnp.float32(0), jnp.zeros_like(weights)), parts)
        return add(sums, (x[sliced:], y[sliced:]))[0] if sliced < rows else sums

    def update(state: tuple, x: jax.Array, y: jax.Array, rate: jax.Array) -> tuple:
        weights, first, second, count = state
        value, gradient = whole(weights, x, y)
        count = count + 1
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        step = rate * jnp.sqrt(1 - 0.999**count) / (1 - 0.9**count)
        return (weights - step * first / (jnp.sqrt(second) + 1e-7), first, second, count), value

    axes = (0, 0, 0, None)
    stacked = jax.vmap(update, in_axes=(axes, None, None, 0), out_axes=(axes, 0))

    def epoch(state: tuple, rates: jax.Array, x: jax.Array, y: jax.Array) -> tuple:
        def body(carry: tuple, chunk: tuple) -> tuple:
            state, losses = stacked(carry[0], *chunk, rates)
            return (state, carry[1] + losses), None

        state, losses = jax.lax.scan(body, (state, jnp.zeros(len(rates))), (x, y))[0]
        return state, losses * y.shape[1]

    return epoch
