"""The memory of an update includes activations, weights and optimizer state; updates that cannot fit are rejected."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.config import FullSample, RuntimeConfig
from harness.data.tables.table import Table
from harness.errors import ConfigError
from harness.models import mlp
from harness.sweep import executor
from harness.sweep.executor import LanePlan, LocalExecutor, ScanPlan
from harness.training import strategy
from harness.training.call_memory import CallMemory
from harness.training.encoding import Encoding
from harness.training.lanes import Stack
from harness.training.losses import LossPlan
from harness.training.trainer import Scan
from harness.training.update_memory import UpdateMemory
from tests.helpers import recipe
from tests.pixels import pixel_table

ADAM = {"name": "adam"}


def test_an_update_of_rows_counts_values_activations_and_state() -> None:
    memory = UpdateMemory.of(Stack(recipe(mlp), Encoding((0, 0, 0))), targets=1)
    # Three features and a target; two hidden layers and an output; the gradient of the largest of these layers.
    assert memory.row_bytes == 4 * ((3 + 1) + (64 + 64 + 1) + 64)
    weights = (3 + 1) * 64 + (64 + 1) * 64 + (64 + 1)
    # Weights, gradients and Adam's two moments; its step, an int64, and its learning rate.
    assert memory.lane_bytes == 4 * 4 * weights + 8 + 4
    assert memory.of_rows(100) == 100 * memory.row_bytes + memory.lane_bytes


def test_a_call_of_a_multilayer_perceptron_on_a_cpu() -> None:
    """The estimates are those that docs/gpu.md compares with measurements."""
    stack = Stack(recipe(mlp), Encoding((0,) * 18))
    memory = UpdateMemory.of(stack, targets=1)
    call, weights = CallMemory.of(stack, memory, "/CPU:0"), 4 * (19 * 64 + 65 * 64 + 65)
    assert call.state_bytes + weights == call.lane_bytes == memory.lane_bytes
    assert call.of_call(64, 1000, 1024) == call.of_update(64, 1000) == pytest.approx(88.8e6, rel=0.001)
    assert call.of_call(64, 100, 1024) == call.of_evaluation(64, 1024) == 64 * 1024 * 2 * 64 * 4
    sliced = CallMemory.of(stack, memory, "/CPU:0", is_sliced=True)
    assert sliced.state_bytes - call.state_bytes == 2 * weights
    gpu = CallMemory.of(stack, memory, "/GPU:0")
    assert gpu.row_bytes == memory.row_bytes
    assert gpu.of_evaluation(8, 100) == 2**25 + 8 * 100 * 2 * 4 * 64


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    return pixel_table(tmp_path_factory.mktemp("pixels"))


def prepared(
    table: Table,
    monkeypatch: pytest.MonkeyPatch,
    free: int,
    chunk: int,
    build: str = "small_cnn",
    *,
    resident: bool = False,
) -> Scan:
    """Prepare one lane on a device with `free` bytes of memory."""
    monkeypatch.setattr(executor, "load_table", lambda folder: table)
    monkeypatch.setattr(executor, "available_bytes", lambda device, limit: free)
    monkeypatch.setattr(strategy, "SLICE_BYTES", 100_000)
    lanes = [LanePlan(chunk, {"_target_": f"tests.pixels.{build}"}, ADAM, LossPlan("mse"), 0, 0.1, [1])]
    runtime = RuntimeConfig(full_sample=FullSample.resident if resident else FullSample.streamed, workers=1)
    plan = ScanPlan(str(Path()), [0.0, 0.0], [1.0, 1.0], lanes, 0, "none", runtime, curve_points=100, early=False)
    return LocalExecutor("/CPU:0").prepare(plan)


def test_a_resident_full_sample_that_does_not_fit_is_refused(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    sentence = (
        r"^runtime.full_sample=resident: the whole sample in one update takes 6\d\d kB, but this device has 400 kB "
        r"available. Use runtime.full_sample=streamed, which computes the same update in slices\.$"
    )
    with pytest.raises(ConfigError, match=sentence):
        prepared(table, monkeypatch, 400_000, table.train_rows, resident=True)
    streamed = prepared(table, monkeypatch, 400_000, table.train_rows)
    (cohort,) = streamed.cohorts
    assert cohort.memory.of_rows(table.train_rows) > 600_000
    assert streamed.bytes < 500_000
    prepared(table, monkeypatch, 10**6, table.train_rows, resident=True)


def test_a_chunk_that_cannot_be_cut_into_slices_has_to_fit(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"^chunksize=200: an update needs .*B, but this device has .*batch_norm"):
        prepared(table, monkeypatch, 100_000, 200, "with_batch_norm")
    prepared(table, monkeypatch, 10**6, 200, "with_batch_norm")
