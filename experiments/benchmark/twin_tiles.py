"""Measures how long an update of a tile takes on a device, with the trainer's loops in JAX.

    python -m experiments.benchmark.twin_tiles --models linear,mlp --lanes 8,64 --chunks 100,1000
    python -m experiments.benchmark.twin_tiles --stream 11000000 --lanes 1000 --chunks 1000

Needs only JAX and NumPy. Set XLA's own flags in XLA_FLAGS. docs/gpu.md has results.
"""

# An optional package.
# pyright: reportMissingImports=false
from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.benchmark import jax_twin

FEATURES, IMAGE = 18, (32, 32, 3)
MODELS = {
    "linear": jax_twin.dense(FEATURES),
    "mlp": jax_twin.dense(FEATURES, (64, 64)),
    "mlp100k": jax_twin.dense(FEATURES, (256, 256, 128)),
    "cnn": jax_twin.cnn(IMAGE, (16, 32), 64),
}
PRECISIONS = {"float32": "highest", "tf32": "tensorfloat32"}
ROWS, IMAGES = 200_000, 20_000
BLOCK_ROWS = 200_000
REPEATS = 3
WALL_SECONDS = 0.1
"""Target duration of each repetition."""


@dataclass(frozen=True)
class Point:
    """One tile to measure; `ways` says how its lanes are computed: as one `batch`, or `unrolled`."""

    model: str
    lanes: int
    chunk: int
    precision: str
    ways: str
    is_static: bool

    @property
    def rows(self) -> int:
        """Rows on the device."""
        return max(IMAGES if self.model == "cnn" else ROWS, 4 * self.chunk)

    @property
    def updates(self) -> int:
        """Maximum number of updates that one call can make."""
        return self.rows // self.chunk

    def state(self) -> jax_twin.State:
        """Return a new state."""
        return jax_twin.random_state(MODELS[self.model], self.lanes, is_sliced=self.chunk > jax_twin.SLICE_ROWS)


def values(model: str, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Return random features and targets."""
    random, shape = np.random.default_rng(1), MODELS[model].input_shape
    y = random.standard_normal((rows, 1), np.float32)
    if len(shape) > 1:
        return random.integers(0, 256, (rows, *shape), np.uint8), y
    return random.standard_normal((rows, *shape), np.float32), y


def compiled(point: Point, rows: int) -> tuple[Callable, float]:
    """Return the compiled loop of a tile, and the compile time in seconds."""
    begun = time.perf_counter()
    loop: Any = jax_twin.make_loop(MODELS[point.model], point.chunk, is_unrolled=point.ways == "unrolled")
    shape, kind = MODELS[point.model].input_shape, np.uint8 if point.model == "cnn" else np.float32
    x, y = jax.ShapeDtypeStruct((rows, *shape), kind), jax.ShapeDtypeStruct((rows, 1), np.float32)
    state, number = jax.eval_shape(point.state), jax.ShapeDtypeStruct((), np.int32)
    with jax.default_matmul_precision(PRECISIONS[point.precision]):
        if point.is_static:
            fixed = jax.jit(lambda state, x, y, begin: loop(state, x, y, begin, np.int32(point.updates)))
            made = fixed.lower(state, x, y, number).compile()
            return lambda *arguments: made(*arguments[:4]), time.perf_counter() - begun
        return loop.lower(state, x, y, number, number).compile(), time.perf_counter() - begun


def microseconds(point: Point, loop: Callable, x: Any, y: Any) -> list[float]:
    """Return the microseconds per update, measured several times."""
    state, first = point.state(), np.int32(0)
    steps, took = point.updates if point.is_static else min(point.updates, 4), 0.0
    for _ in range(2):
        begun = time.perf_counter()
        state, losses = loop(state, x, y, first, np.int32(steps))
        jax.block_until_ready(losses)
        took = time.perf_counter() - begun
    if not point.is_static:  # If it is static, the number of updates is compiled into the program.
        steps = int(min(point.updates, max(WALL_SECONDS / (took / steps), 4)))
    found = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        state, losses = loop(state, x, y, first, np.int32(steps))
        jax.block_until_ready(losses)
        found.append((time.perf_counter() - begun) / steps * 1e6)
    return found


def measure(points: Sequence[Point]) -> Iterator[dict[str, Any]]:
    """Compile all tiles in parallel, then yield the figures one tile at a time."""

    def attempt(point: Point) -> tuple[Callable, float] | Exception:
        try:
            return compiled(point, point.rows)
        except Exception as error:
            return error

    with ThreadPoolExecutor(max(os.cpu_count() or 1, 2) - 1) as pool:
        loops = list(pool.map(attempt, points))
    arrays: dict[tuple[str, int], tuple[Any, Any]] = {}
    for point, found in zip(points, loops, strict=True):
        try:
            if isinstance(found, Exception):
                raise found
            kind = ("cnn" if point.model == "cnn" else "rows", point.rows)
            if kind not in arrays:
                arrays[kind] = tuple(map(jax.device_put, values(point.model, point.rows)))  # pyright: ignore
            each = microseconds(point, found[0], *arrays[kind])
            middle = statistics.median(each)
            rate = point.lanes * point.chunk / middle
            yield asdict(point) | {"us": middle, "all_us": each, "compile_s": found[1], "m_lane_rows_s": rate}
        except Exception as error:
            yield asdict(point) | {"error": f"{type(error).__name__}: {error}"[:300]}


def stream(point: Point, rows: int, share: float) -> Iterator[dict[str, Any]]:
    """Time a share of an epoch over `rows` rows, both sent block by block from the host and resident on the device."""
    block = -(-BLOCK_ROWS // point.chunk) * point.chunk
    blocks = max(int(rows * share) // block, 1)
    x, y = values(point.model, rows)
    steps, first = np.int32(block // point.chunk), np.int32(0)

    def send(number: int) -> tuple[Any, Any]:
        part = slice(number * block, (number + 1) * block)
        return jax.device_put(x[part]), jax.device_put(y[part])

    loop, _ = compiled(point, block)
    state, losses = loop(point.state(), *send(0), first, steps)
    jax.block_until_ready(losses)
    begun = time.perf_counter()
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(send, 0)
        for number in range(blocks):
            here = coming.result()
            coming = pool.submit(send, min(number + 1, blocks - 1))
            state, losses = loop(state, *here, first, steps)
            np.asarray(losses)
    seconds = time.perf_counter() - begun
    common, timed = asdict(point) | {"rows": rows}, blocks * block
    yield common | {"what": "streamed", "epoch_s": seconds * rows / timed, "us": seconds * point.chunk / timed * 1e6}

    begun = time.perf_counter()
    held = jax.block_until_ready((jax.device_put(x), jax.device_put(y)))
    sending = time.perf_counter() - begun
    loop, _ = compiled(point, rows)
    state, losses = loop(point.state(), *held, first, np.int32(1))
    jax.block_until_ready(losses)
    begun = time.perf_counter()
    for number in range(blocks):
        state, losses = loop(state, *held, np.int32(number * block), steps)
        np.asarray(losses[:steps])
    seconds = time.perf_counter() - begun
    figures = {"epoch_s": seconds * rows / timed, "us": seconds * point.chunk / timed * 1e6}
    yield common | {"what": "resident"} | figures | {"sending_s": sending, "gb": (x.nbytes + y.nbytes) / 1e9}


def main() -> None:
    """Measure all combinations of the arguments; print a line and write a JSON object per tile."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="linear,mlp")
    parser.add_argument("--lanes", default="1,8,64")
    parser.add_argument("--chunks", default="100,1000,10000")
    parser.add_argument("--precision", default="float32", help="float32, tf32 or both, separated by a comma")
    parser.add_argument("--ways", default="batch", help="batch, unrolled or both")
    parser.add_argument("--static", action="store_true", help="fix the number of updates when compiling")
    parser.add_argument("--stream", type=int, default=0, metavar="ROWS", help="time passes over a table instead")
    parser.add_argument("--share", type=float, default=0.1, help="of an epoch, with --stream")
    parser.add_argument("--out", type=Path, help="file of JSON lines to append to")
    given = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    print(f"JAX {jax.__version__}, {jax.devices()[0].device_kind}, XLA_FLAGS={os.environ.get('XLA_FLAGS', '')}")
    grid = itertools.product(
        *(getattr(given, name).split(",") for name in ("models", "lanes", "chunks", "precision", "ways"))
    )
    points = [Point(m, int(k), int(c), p, w, given.static) for m, k, c, p, w in grid]
    found = (
        itertools.chain.from_iterable(stream(point, given.stream, given.share) for point in points)
        if given.stream
        else measure(points)
    )
    for each in found:
        what = [each[name] for name in ("model", "lanes", "chunk", "precision", "ways")]
        figures = {name: value for name, value in each.items() if name in ("what", "us", "compile_s", "m_lane_rows_s")}
        figures |= {name: value for name, value in each.items() if name in ("epoch_s", "sending_s", "gb", "error")}
        shown = (f"{name}={value:.4g}" if isinstance(value, float) else f"{value}" for name, value in figures.items())
        print(*what, *shown, flush=True)
        if given.out:
            with given.out.open("a") as file:
                print(json.dumps(each | {"xla_flags": os.environ.get("XLA_FLAGS", "")}), file=file)


if __name__ == "__main__":
    main()
