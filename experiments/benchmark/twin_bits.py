"""Compares the trainer's loops, in JAX, on a device with the same loops on the CPU, and with themselves.

    python -m experiments.benchmark.twin_bits

For each model and precision, prints how far losses and weights are from the CPU's after 200 updates, whether a second
run is bit-identical, and whether a lane's results depend on the other lanes or on the size of the tile.
"""

# An optional package.
# pyright: reportMissingImports=false
from __future__ import annotations

import functools
import itertools

import jax
import numpy as np

from experiments.benchmark import jax_twin
from experiments.benchmark.twin_tiles import MODELS, PRECISIONS, values

LANES, CHUNK, ROWS, UPDATES = 8, 100, 20_000, 200


@functools.cache
def trained(
    model: str, precision: str, platform: str, lanes: tuple[int, ...], attempt: int = 0
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the losses `[updates, lanes]` and weights of lanes, which are given by number within one random draw."""
    every = jax_twin.random_state(MODELS[model], 64, is_sliced=False)
    weights = [np.asarray(each)[list(lanes)] for each in every.weights]
    with jax.default_device(jax.devices(platform)[0]), jax.default_matmul_precision(PRECISIONS[precision]):
        state = jax_twin.start(weights, np.asarray(every.rate)[list(lanes)].tolist())
        loop = jax_twin.make_loop(MODELS[model], CHUNK)
        state, losses = loop(state, *values(model, ROWS), np.int32(0), np.int32(UPDATES))
        return np.asarray(losses)[:UPDATES], [np.asarray(each) for each in state.weights]


def distance(found: tuple[np.ndarray, list[np.ndarray]], known: tuple[np.ndarray, list[np.ndarray]]) -> str:
    """Return the relative distance of losses and weights from the known values."""
    pairs = [(found[0], known[0]), tuple(np.concatenate([w.ravel() for w in each[1]]) for each in (found, known))]
    parts = (np.linalg.norm(one - other) / np.linalg.norm(other) for one, other in pairs)
    return "losses {:.1e}, weights {:.1e}".format(*parts)


def same_bits(found: tuple[np.ndarray, list[np.ndarray]], known: tuple[np.ndarray, list[np.ndarray]]) -> str:
    """Return whether the first lane's numbers are the same."""
    pairs = zip([found[0].T, *found[1]], [known[0].T, *known[1]], strict=True)
    return (
        "yes" if all(np.array_equal(one[0], other[0]) for one, other in pairs) else f"no ({distance_of(found, known)})"
    )


def distance_of(found: tuple[np.ndarray, list[np.ndarray]], known: tuple[np.ndarray, list[np.ndarray]]) -> str:
    """Return the distance of the first lanes."""
    return distance(*((each[0][:, :1], [w[:1] for w in each[1]]) for each in (found, known)))


def main() -> None:
    """Print the comparisons."""
    jax.config.update("jax_enable_x64", True)
    platform, first = jax.default_backend(), tuple(range(LANES))
    print(f"JAX {jax.__version__}, {jax.devices()[0].device_kind}: {UPDATES} updates of {CHUNK} rows, {LANES} lanes")
    for model, precision in itertools.product(("linear", "mlp"), PRECISIONS):
        known = trained(model, "float32", "cpu", first)
        found = trained(model, precision, platform, first)
        print(f"{model}, {precision}: from the CPU's: {distance(found, known)}")
        print(f"  same bits twice: {same_bits(trained(model, precision, platform, first, 1), found)}")
        others = (0, *range(20, 19 + LANES))
        print(f"  first lane, with other lanes: {same_bits(trained(model, precision, platform, others), found)}")
        alone = trained(model, precision, platform, first[:1])
        print(f"  first lane, in a tile of 1: {same_bits(alone, found)}")
        many = trained(model, precision, platform, tuple(range(64)))
        print(f"  first lane, in a tile of 64: {same_bits(many, found)}", flush=True)


if __name__ == "__main__":
    main()
