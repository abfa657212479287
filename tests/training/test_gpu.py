"""Invariants that hold on a CPU also hold on a GPU; `make gpu` runs these tests on a machine with one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from harness.config import DataConfig, Device, RuntimeConfig, Scaling
from harness.data.scaler import Scaler
from harness.data.tables.builder import open_table
from harness.data.tables.table import Table
from harness.models import mlp
from harness.runtime.device import choose_device, usable_bytes
from tests.helpers import History, lane, make_scan, recipe, train

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
    """5,003 rows with 4,026 training rows: three slices and a remainder."""
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(1)
    frame = pd.DataFrame(random.normal(size=(5003, 3)), columns=["a", "b", "c"])
    frame["y"] = frame @ [1.0, -2.0, 0.5] + random.normal(size=5003) + 3
    frame.to_csv(folder / "some.csv", index=False)
    return open_table(DataConfig(features=["a", "b", "c"], target="y", path=str(folder / "some.csv")), folder)


def trained(table: Table, device: str, rates: tuple[float, ...] = (0.001, 0.01), **options) -> list[History]:
    lanes = [lane(chunk, rate, recipe_=kind) for kind in (recipe(), MLP) for chunk in (100, 4026) for rate in rates]
    return train(lanes, table, Scaler.of(table, Scaling.standard), device=device, **options)


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
    scan = make_scan(lanes, table, Scaler.of(table, Scaling.standard), device=device, device_bytes=10**9)
    assert [cohort.tile for cohort in scan.cohorts] == [24]
    assert usable_bytes(device, None) > 10**9
