"""Invariants that hold on a CPU also hold on a GPU; `make gpu` runs these tests on a machine with one."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keras
import pytest
import tensorflow as tf
from mlflow.tracking import MlflowClient

from harness.config import Device, RuntimeConfig, Scaling
from harness.data.scaler import Scaler
from harness.data.tables.table import Table
from harness.models import mlp
from harness.runtime.device import choose_device, usable_bytes
from harness.runtime.keras_settings import dtype_policy
from harness.training.lane import Lane
from harness.training.lanes import Recipe
from tests.helpers import History, lane, make_scan, noisy_table, recipe, sliced_table, train

pytestmark = pytest.mark.gpu

MLP = recipe(mlp)


@pytest.fixture(scope="module")
def device() -> str:
    """Set up the GPU, or skip the test."""
    if not tf.config.list_physical_devices("GPU"):
        pytest.skip("TensorFlow sees no GPU")
    return choose_device(RuntimeConfig(Device.gpu))[0]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    return sliced_table(tmp_path_factory.mktemp("data"))


def trained(table: Table, device: str, rates: tuple[float, ...] = (0.001, 0.01), **options) -> list[History]:
    lanes = [lane(chunk, rate, recipe_=kind) for kind in (recipe(), MLP) for chunk in (100, 4026) for rate in rates]
    return train(lanes, table, device=device, **options)


def test_results_are_those_of_the_cpu(device: str, table: Table) -> None:
    for ours, known in zip(trained(table, device), trained(table, "/CPU:0"), strict=True):
        assert ours.error is None
        assert [end.metrics["val/loss"] for end in ours.epochs] == pytest.approx(
            [end.metrics["val/loss"] for end in known.epochs], rel=1e-4
        )


def test_the_same_scan_has_the_same_bits(device: str, table: Table) -> None:
    first, second = trained(table, device), trained(table, device)
    assert [each.numbers for each in first] == [each.numbers for each in second]


def test_companions_do_not_matter_at_a_given_tile(device: str, table: Table) -> None:
    alone, together = trained(table, device, (0.001,), tile=8), trained(table, device, (0.001, 0.1, 1e9), tile=8)
    assert [each.numbers for each in alone] == [each.numbers for each in together[::3]]


def test_all_lanes_share_a_call(device: str, table: Table) -> None:
    lanes = [lane(100, 0.001 * number, recipe_=MLP) for number in range(1, 21)]
    scan = make_scan(lanes, table, device=device, device_bytes=10**9)
    assert [cohort.tile for cohort in scan.cohorts] == [24]
    assert usable_bytes(device, None) > 10**9


def test_long_chunks_are_those_of_the_cpu(device: str, tmp_path: Path) -> None:
    """A GPU computes longer slices, so that its sums are rounded differently."""
    table = noisy_table(tmp_path, 30_000)
    lanes = [lane(chunk, 0.01, recipe_=MLP) for chunk in (1100, 9000, table.train_rows)]
    for ours, known in zip(train(lanes, table, device=device), train(lanes, table, device="/CPU:0"), strict=True):
        assert len(ours.numbers) == len(known.numbers)
        assert ours.epochs[-1].metrics["val/loss"] == pytest.approx(known.epochs[-1].metrics["val/loss"], rel=1e-4)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_is_close_and_the_same_with_any_companions(device: str, table: Table, precision: str) -> None:
    def build(inputs: int) -> keras.Model:
        with dtype_policy(precision):
            return mlp(inputs)

    def lanes(kind: Recipe, *rates: float) -> list[Lane]:
        return [lane(chunk, rate, recipe_=kind) for chunk in (100, 4026) for rate in rates]

    kind, scale = replace(MLP, identity=precision, build_model=build), Scaler.of(table, Scaling.standard)
    alone = train(lanes(kind, 0.001), table, scale, device=device, tile=8)
    together = train(lanes(kind, 0.001, 0.01), table, scale, device=device, tile=8)
    assert [each.numbers for each in alone] == [each.numbers for each in together[::2]]
    exact = train(lanes(MLP, 0.001), table, scale, device=device, tile=8)
    for ours, known in zip(alone, exact, strict=True):
        assert ours.epochs[-1].metrics["val/loss"] == pytest.approx(known.epochs[-1].metrics["val/loss"], rel=0.03)


def test_a_command_trains_records_and_reproduces_on_the_gpu(device: str, tmp_path: Path) -> None:
    words = ["runtime.device=gpu", "model=mlp", "chunksize=full,1000,100", "learning_rate=0.01,0.001", "epochs=20"]

    def harness(*words: str) -> str:
        command = [sys.executable, "-m", "harness", *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "GPU" in harness("plan", "-m", *words)
    assert "GPU" in harness("train", "-m", *words)
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    everything = [each.experiment_id for each in client.search_experiments()]
    runs = [run for run in client.search_runs(everything) if "tile" in run.data.tags]
    assert len(runs) == 6
    assert {(run.info.status, run.data.tags["tile"], run.data.tags["tf32"]) for run in runs} == {
        ("FINISHED", "2", "off")
    }
    assert all(run.data.tags["device"].startswith("GPU") and run.data.tags["gpu_driver"] for run in runs)
    assert "bit-identical" in harness("reproduce", runs[0].info.run_id)
