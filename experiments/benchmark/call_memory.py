"""Compares the estimated memory of a call (`harness.training.call_memory`) with what a process allocates for it.

    python -m experiments.benchmark.call_memory
    python -m experiments.benchmark.call_memory mlp:64:1000

    python -m experiments.benchmark.call_memory --device gpu

A case is MODEL:TILE:CHUNK. Each is measured in a process of its own: after compilation, the peak is reset and a single
call is made, since later ones reuse its memory. The peak is the kernel's on a CPU, which needs Linux and the GNU C
library, and that of TensorFlow's allocator on a GPU. docs/gpu.md has results.
"""

from __future__ import annotations

import argparse
import ctypes
import functools
import gc
import multiprocessing
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

from experiments.benchmark import gpu
from harness.config import Device, RuntimeConfig, Scaling
from harness.data.scaler import Scaler
from harness.models import mlp
from harness.runtime.device import choose_device
from harness.training.call_memory import CallMemory
from harness.training.encoding import Encoding
from harness.training.lanes import LaneState, Stack
from harness.training.loops import Loop, make_loop
from harness.training.metrics import Evaluation
from harness.training.slices import DeviceBlock
from harness.training.update_memory import UpdateMemory

gpu.MODELS.update(
    wide=functools.partial(mlp, units=(256, 256, 128)),  # About 100,000 weights.
    deep=functools.partial(mlp, units=(64,) * 5),
    gelu=functools.partial(mlp, units=(128, 32), activation="gelu"),
)
CASES = (
    "linear:1024:1000 mlp:8:1000 mlp:64:100 mlp:64:1000 mlp:256:1000 wide:1:10000 wide:8:1000 deep:64:1000 "
    "gelu:64:1000 cnn:1:100 cnn:1:1000 cnn:8:100"
)
SLICE_COUNT = 4


class Prepared(NamedTuple):
    """A case, compiled and called once."""

    stack: Stack
    loop: Loop
    lanes: LaneState
    chunk: int
    x: tf.Tensor
    y: tf.Tensor
    overlap: int


def prepared(model: str, tile: int, chunk: int, folder: Path, device: str) -> Prepared:
    """Return a case with rows for a few calls."""
    table = gpu.generated(folder, 2000)
    is_image = model == "cnn"
    shape = gpu.IMAGE if is_image else (gpu.FEATURES,)
    encoding = Encoding((0,), shape, (0.0,) * 3, (255.0,) * 3) if is_image else Encoding((0,) * gpu.FEATURES)
    stack = Stack(gpu.recipe(model, table), encoding, device)
    overlap, rows = stack.strategy.slice_rows, SLICE_COUNT * max(stack.strategy.slice_rows, chunk)
    rows = -(-rows // overlap) * overlap
    with tf.device(device):
        x = tf.zeros([overlap + rows, *shape], tf.uint8 if is_image else tf.float32)
        y = tf.zeros([overlap + rows, 1])
    lanes = stack.start([0] * tile, [1e-3] * tile)
    return Prepared(stack, make_loop(stack, chunk, SLICE_COUNT * chunk), lanes, chunk, x, y, overlap)


def peak_bytes(work: Callable[[], object], device: str) -> float:
    """Return the bytes by which the process, or on a GPU its memory there, grows at most during `work`."""
    if "GPU" in device:
        memory = tf.config.experimental
        memory.reset_memory_stats(device[1:])
        before = memory.get_memory_info(device[1:])["current"]
        work()
        return memory.get_memory_info(device[1:])["peak"] - before
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # Resets the peak.
    before = _status("VmRSS")
    work()
    return _status("VmHWM") - before


def _status(key: str) -> float:
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return 1024.0 * int(lines[key].split()[0])


def report(case: str, kind: Device, *, evaluates: bool) -> None:
    """Print the line of a case."""
    model, lanes, chunk = case.split(":")
    tile = int(lanes)
    device, _ = choose_device(RuntimeConfig(kind))
    with tempfile.TemporaryDirectory() as name:
        found = prepared(model, tile, int(chunk), Path(name), device)
        table = gpu.generated(Path(name), 2000)
    stack, empty = found.stack, DeviceBlock(0, 0, found.overlap, found.x, found.y)
    rows = min(found.chunk, stack.whole_rows if found.chunk <= stack.whole_rows else stack.strategy.slice_rows)
    call = CallMemory.of(stack, UpdateMemory.of(stack, 1), device, is_sliced=rows < found.chunk)
    if evaluates:
        evaluation = Evaluation(stack, Scaler.of(table, Scaling.standard), tile)
        sums, length = evaluation.start(), stack.strategy.evaluated_rows
        evaluation.add(sums, found.lanes, empty)  # Compiles, but does not use any memory.
        measured = peak_bytes(lambda: evaluation.add(sums, found.lanes, empty._replace(stop=len(found.x))), device)
        estimated, title = call.of_evaluation(tile, length), f"evaluation of {length:,} rows"
    else:
        state = found.loop.start(found.lanes)
        found.loop.compile(state, empty)
        block = empty._replace(stop=SLICE_COUNT * found.chunk)
        measured = peak_bytes(lambda: found.loop.advance(state, block), device)
        estimated, title = call.of_update(tile, rows), "update"
    ratio = estimated / measured
    print(f"{case}: {title} {estimated / 1e6:.1f} MB estimated, {measured / 1e6:.1f} MB measured, ratio {ratio:.2f}")


def main() -> None:
    """Print two lines for each case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=CASES.split())
    parser.add_argument("--device", type=Device, choices=[*Device], default=Device.cpu)
    given = parser.parse_args()
    for case in given.cases:
        for evaluates in (False, True):
            process = multiprocessing.get_context("fork").Process(
                target=report, args=(case, given.device), kwargs={"evaluates": evaluates}
            )
            process.start()
            process.join()


if __name__ == "__main__":
    main()
