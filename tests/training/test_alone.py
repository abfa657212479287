"""Updates are timed on whole chunks or slices, however large their rows are."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import tensorflow as tf

from harness.training import alone
from harness.training.slices import DeviceBlock, Slices

SLICE = 64


class Loop:
    """Computes nothing, but advances a clock by a second for each row that a loop would compute."""

    def __init__(self, stack: Any, chunk: int, rows: int) -> None:
        self._slices = Slices(chunk, rows, chunk if chunk <= stack.whole_rows else SLICE)
        self.now = 0.0

    def start(self, lanes: object) -> None:
        pass

    def compile(self, state: object, block: DeviceBlock) -> None:
        pass

    def advance(self, state: object, block: DeviceBlock) -> None:
        assert block.x is not None
        assert len(block.x) >= block.overlap + block.stop - block.start
        self.now += sum(self._slices.layout(block).inside.tolist()) + 1e-3


@pytest.mark.parametrize("shape", [(2,), (300,), (8, 8, 3)])
@pytest.mark.parametrize("whole_rows", [SLICE, 1024])
def test_timed_updates_are_computed_in_full(
    shape: tuple[int, ...], whole_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    loops: list[Loop] = []

    def make(*arguments: Any) -> Loop:
        loops.append(Loop(*arguments))
        return loops[-1]

    monkeypatch.setattr(alone, "BYTES", 100_000)
    monkeypatch.setattr(alone, "ENOUGH_SECONDS", 1e9)
    monkeypatch.setattr(alone, "make_loop", make)
    monkeypatch.setattr(alone, "time", SimpleNamespace(perf_counter=lambda: loops[-1].now))
    stack: Any = SimpleNamespace(
        whole_rows=whole_rows, strategy=SimpleNamespace(slice_rows=SLICE), start=lambda seeds, rates: None
    )
    empty = DeviceBlock(0, 0, SLICE, tf.zeros([SLICE, *shape]), tf.zeros([SLICE, 1]))
    for chunk in (1, 63, 64, 65, 100, 999, 1000, 5000):
        assert alone.seconds_per_update(stack, chunk, empty) == pytest.approx(chunk, rel=0.02)
