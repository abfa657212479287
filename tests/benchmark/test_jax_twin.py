"""The twin in JAX computes the same updates as the trainer."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from harness.models import cnn, linear, mlp
from harness.training.encoding import Encoding
from harness.training.lanes import Stack
from harness.training.loops import make_loop
from harness.training.slices import DeviceBlock
from tests.helpers import recipe

jax = pytest.importorskip("jax")
from experiments.benchmark import jax_twin  # noqa: E402 (needs JAX)

IMAGE = (8, 8, 1)
TWINS = {
    "linear": (linear, jax_twin.dense(18)),
    "mlp": (mlp, jax_twin.dense(18, (64, 64))),
    "cnn": (cnn, jax_twin.cnn(IMAGE)),
}


@pytest.mark.parametrize(
    ("name", "chunk", "is_unrolled"),
    [
        ("linear", 100, False),
        ("linear", 2500, False),
        *(
            pytest.param(*way, marks=pytest.mark.slow)
            for way in [("mlp", 1024, False), ("mlp", 2500, False), ("cnn", 50, False), ("cnn", 50, True)]
        ),
    ],
)
def test_twin_takes_the_trainers_updates(name: str, chunk: int, is_unrolled: bool) -> None:
    build, model = TWINS[name]
    random = np.random.default_rng(0)
    rows, overlap, rates = 3 * chunk, 1024, [0.001, 0.01]
    scale, is_image = (255, True) if name == "cnn" else (1, False)
    x = np.float32(scale * random.random((overlap + rows, *model.input_shape)))
    y = np.float32(random.normal(size=(overlap + rows, 1)))

    encoding = Encoding((0,), IMAGE, (0.0,), (255.0,)) if is_image else Encoding((0,) * 18)
    stack = Stack(recipe(build), encoding)
    lanes = stack.start([0, 1], rates)
    state, losses = advance(stack, chunk, lanes, x, y, overlap)

    with jax.enable_x64(True):
        weights = [weight.numpy() for weight in lanes.weights]
        begun = jax_twin.start(weights, rates, is_sliced=chunk > jax_twin.SLICE_ROWS)
        loop = jax_twin.make_loop(model, chunk, is_unrolled=is_unrolled)
        twin, twin_losses = loop(begun, x, y, np.int32(overlap), np.int32(3))

    assert [weight.shape[1:] for weight in lanes.weights] == model.shapes
    assert np.asarray(twin_losses)[:3] == pytest.approx(losses, rel=2e-5)
    assert np.asarray(twin.epoch_loss) == pytest.approx(state.epoch_loss.numpy(), rel=2e-5)
    for ours, theirs in zip(state.lanes.weights, twin.weights, strict=True):
        assert np.asarray(theirs) == pytest.approx(ours.numpy(), abs=2e-5)


def advance(stack: Stack, chunk: int, lanes: tuple, x: np.ndarray, y: np.ndarray, overlap: int) -> tuple:
    """Run the trainer's loop over one block."""
    rows = len(x) - overlap
    loop = make_loop(stack, chunk, rows)
    return loop.advance(loop.start(lanes), DeviceBlock(0, rows, overlap, tf.constant(x), tf.constant(y)))


def test_the_command_prints_a_line_for_each_tile(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from experiments.benchmark import twin_tiles

    before = jax.config.jax_enable_x64
    monkeypatch.setattr(twin_tiles, "ROWS", 400)
    monkeypatch.setattr("sys.argv", ["twin_tiles", "--models", "linear", "--lanes", "1,2", "--chunks", "100"])
    try:
        twin_tiles.main()
    finally:
        jax.config.update("jax_enable_x64", before)
    _, *lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:5] for line in lines] == [["linear", lanes, "100", "float32", "batch"] for lanes in "12"]
    assert all(" us=" in line for line in lines)
