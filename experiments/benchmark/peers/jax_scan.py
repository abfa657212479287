"""JAX as an expert would write it.

Polars reads the CSV, and everything stays in memory. All configurations with the same chunk size are stacked by `vmap`
in one compiled `scan` with donated buffers, and chunk sizes run in parallel. Runs that differ only in epochs share a
lane.
"""

# Optional packages.
# pyright: reportCallIssue=false, reportMissingImports=false
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

ELEMENTWISE_LANES = range(2, 17)  # For these, an elementwise product is faster than a matrix product (measured).
SLICE_ROWS = 8192  # Longer chunks are summed slice by slice, so that the arrays of one slice stay in the caches.


def train(task: Task) -> Outcome:
    """Train all configurations."""
    start = time.perf_counter()
    numbers = dict.fromkeys(task.columns, pl.Float32)
    scaled = [(pl.col(name) - mean) / std for name, mean, std in zip(task.columns, task.mean, task.std, strict=True)]
    frame = pl.scan_csv(task.path, schema_overrides=numbers, n_rows=task.rows).select(scaled).collect()
    x, y = frame.select(task.columns[:-1]).to_numpy(order="c"), frame[task.columns[-1]].to_numpy()
    read = time.perf_counter() - start
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        start = time.perf_counter()
        runs = list(pool.map(lambda chunk: _compile(task, chunk, x, y), task.chunks))
        compiling = time.perf_counter() - start
        start = time.perf_counter()
        fits = [fit for fits in pool.map(lambda run: run(), runs) for fit in fits]
        seconds = time.perf_counter() - start
    return Outcome(task.rows, [seconds], fits, compiling, read, task.stops[-1])


def train_and_record(task: Task) -> Outcome:
    """Train all configurations, and record a run for each in MLflow, with params, final loss and final weights."""
    start = time.perf_counter()
    import mlflow
    from mlflow.entities import Metric, Param

    with tempfile.TemporaryDirectory() as folder:
        client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
        experiment = client.create_experiment("jax", f"{folder}/artifacts")
        startup = time.perf_counter() - start
        outcome = train(task)
        start = time.perf_counter()
        for fit in outcome.fits:
            run_id, now = client.create_run(experiment).info.run_id, int(time.time() * 1000)
            measured = zip(("intercept", "slope", "loss"), (*fit.weights, fit.loss), strict=True)
            metrics = [Metric(key, value, now, fit.epochs) for key, value in measured]
            settings = zip(("chunksize", "learning_rate", "epochs"), fit, strict=False)
            client.log_batch(run_id, metrics, [Param(key, str(value)) for key, value in settings])
            client.set_terminated(run_id)
        recording = time.perf_counter() - start
    return replace(outcome, startup=startup, laps=[outcome.laps[0] + recording])


def _compile(task: Task, chunk: int | str, x: np.ndarray, y: np.ndarray) -> Callable[[], list[Fit]]:
    """Compile an epoch of all lanes of one chunk size; return a function that trains them."""
    size, rates = task.size(chunk), jnp.asarray(np.array(task.rates, np.float32))
    whole = task.rows // size * size
    parts = [(x[:whole].reshape(-1, size, x.shape[1]), y[:whole].reshape(-1, size))]
    if whole < task.rows:
        parts.append((x[None, whole:], y[None, whole:]))
    parts = [tuple(map(jnp.asarray, part)) for part in parts]
    loss, start = (_perceptron if task.units else _linear)(task)
    lanes = np.tile(start, (len(task.rates), 1))
    initial = (*(jnp.asarray(each) for each in (lanes, 0 * lanes, 0 * lanes)), jnp.float32(0))
    epoch = jax.jit(_epoch(loss), donate_argnums=0)
    passes = [epoch.lower(initial, rates, *part).compile() for part in parts]

    def run() -> list[Fit]:
        state, fits = initial, []
        for number in range(1, task.stops[-1] + 1):
            losses = []
            for part, one_pass in zip(parts, passes, strict=True):
                state, loss = one_pass(state, rates, *part)
                losses.append(loss)
            if number in task.stops:
                results = zip(task.rates, np.asarray(state[0]), np.sum(losses, axis=0) / task.rows, strict=True)
                for rate, lane, loss in results:
                    fits.append(Fit(chunk, rate, number, [] if task.units else lane.tolist(), float(loss)))
        jax.block_until_ready(state)
        return fits

    return run


def _linear(task: Task) -> tuple[Callable, np.ndarray]:
    """Return the loss of a line, and its initial weights: intercept and slope."""

    def loss(weights: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
        product = x[:, 0] * weights[1] if len(task.rates) in ELEMENTWISE_LANES else x @ weights[1:]
        return jnp.mean((weights[0] + product - y) ** 2)

    return loss, np.full(2, 0.1, np.float32)


def _perceptron(task: Task) -> tuple[Callable, np.ndarray]:
    """Return the loss of a multilayer perceptron's flat weights, and their initial values."""
    shapes = list(itertools.pairwise((len(task.columns) - 1, *task.units, 1)))
    kernel, keys = jax.nn.initializers.glorot_uniform(), jax.random.split(jax.random.key(0), len(shapes))
    layers = [(kernel(key, shape), jnp.zeros(shape[1])) for key, shape in zip(keys, shapes, strict=True)]
    start, unravel = ravel_pytree(layers)

    def loss(weights: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
        *hidden, (kernel, bias) = unravel(weights)
        for before, shift in hidden:
            x = jax.nn.relu(x @ before + shift)
        return jnp.mean(((x @ kernel + bias)[:, 0] - y) ** 2)

    return loss, np.asarray(start)


def _epoch(loss: Callable) -> Callable:
    """Return a function that runs one epoch and returns the new state and each lane's loss summed over the rows."""

    def gradient(weights: jax.Array, x: jax.Array, y: jax.Array) -> tuple:
        """Return the loss and gradient of a chunk, slice by slice if it is long."""
        rows, sliced = len(y), len(y) // SLICE_ROWS * SLICE_ROWS
        if sliced == 0:
            return jax.value_and_grad(loss)(weights, x, y)

        def add(sums: tuple, part: tuple) -> tuple:
            share, found = len(part[1]) / rows, jax.value_and_grad(loss)(weights, *part)
            return tuple(total + share * each for total, each in zip(sums, found, strict=True)), None

        parts = (x[:sliced].reshape(-1, SLICE_ROWS, x.shape[1]), y[:sliced].reshape(-1, SLICE_ROWS))
        sums, _ = jax.lax.scan(add, (jnp.float32(0), jnp.zeros_like(weights)), parts)
        return add(sums, (x[sliced:], y[sliced:]))[0] if sliced < rows else sums

    def update(state: tuple, x: jax.Array, y: jax.Array, rate: jax.Array) -> tuple:
        weights, first, second, count = state
        value, slope = gradient(weights, x, y)
        count = count + 1
        first = 0.9 * first + 0.1 * slope
        second = 0.999 * second + 0.001 * slope**2
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
