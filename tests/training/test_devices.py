"""Lanes that are divided among devices have the results of one device, even when resumed on other devices."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import tensorflow as tf

from harness.config import Device, RuntimeConfig
from harness.data.tables.table import Table
from harness.errors import ConfigError
from harness.training.devices import Devices
from harness.training.events import Progress
from harness.training.trainer import Scan
from tests.helpers import History, finish, lane, make_scan, note


@pytest.mark.slow
def test_results_do_not_depend_on_the_devices() -> None:
    command = [sys.executable, "-m", "tests.training.several_devices"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=540)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith("same bits on 3 devices; ")


@pytest.mark.parametrize("numbers", [[], [0, 0], [-1], [1.5], [64]])
def test_devices_are_different_numbers(numbers: list) -> None:
    with pytest.raises(ConfigError, match=r"runtime\.devices"):
        RuntimeConfig(Device.cpu, devices=numbers)


def test_devices_get_about_the_same_number_of_updates() -> None:
    tiles: list[Any] = [SimpleNamespace(loop=SimpleNamespace(updates=updates)) for updates in (90, 50, 30, 10, 1)]
    Devices(["/GPU:0", "/GPU:1"], None).place(tiles)
    assert [tile.device for tile in tiles] == ["/GPU:0", "/GPU:1", "/GPU:1", "/GPU:1", "/GPU:0"]


def test_a_gpu_takes_one_call_at_a_time() -> None:
    assert Devices(["/GPU:0", "/GPU:1"], None).workers == 2
    assert Devices(["/GPU:0"], 3).workers == 3
    assert Devices(["/CPU:0", "/CPU:1"], None).workers == os.cpu_count()


class Gone:
    """Stands in for a tensor whose device has failed."""

    def __init__(self, tensor: tf.Tensor) -> None:
        self.shape: Any = tensor.shape

    def __len__(self) -> int:
        return self.shape[0]

    def fails(self, *_: Any) -> Any:
        raise tf.errors.InternalError(None, None, "the device is gone")

    numpy = __getitem__ = __mul__ = __truediv__ = fails


def lose(tile: Any) -> None:
    """Let the device of a tile fail."""
    tile._state = tf.nest.map_structure(Gone, tile._state)


@pytest.mark.parametrize("epochs", [0, 1])
def test_a_device_that_is_gone_ends_only_its_lanes_and_leaves_a_usable_checkpoint(
    make_table: Callable[..., Table], epochs: int
) -> None:
    """The device fails before the results of the first epoch are read, or before the next checkpoint is written."""
    table = make_table("a,y\n1,2\n2,4\n3,6\n4,9\n5,9\n")

    def made() -> Scan:
        return make_scan([lane(2), lane(4)], table, gram=False)

    known, found, resumed = ([History(), History()] for _ in range(3))
    finish(made(), known)
    scan, state = made(), {}
    after_an_epoch = (event for event in scan.run() if note(found, event) or event == Progress(scan.rows, 1))
    for number, _ in enumerate(after_an_epoch):  # Before and after the epoch's results.
        if number == epochs:
            lose(scan._arranged.tiles[0])
        if number == 1:
            state = scan.state()
    finish(made(), resumed, state)

    assert "the device is gone" in str(found[0].error)
    assert len(found[0].epochs) == epochs
    assert found[1].numbers == known[1].numbers
    assert (resumed[0].error is not None, resumed[0].epochs) == (epochs == 1, [])  # Otherwise, it was reported earlier.
    assert [end.loss for end in resumed[1].epochs] == [end.loss for end in known[1].epochs[1:]]
    assert resumed[1].weights[2][0].tolist() == known[1].weights[2][0].tolist()


def test_lanes_are_not_moved_from_or_to_a_device_that_is_gone(make_table: Callable[..., Table]) -> None:
    table = make_table("a,y\n1,2\n2,4\n3,6\n4,9\n")
    scan = make_scan([lane(2, seed=seed) for seed in range(3)], table, tile=2)
    full, other = scan._arranged.tiles
    del full.positions[0]
    lose(other)
    full.take([(other, 2)], 1)
    assert (full.positions, other.positions) == ({1: 1}, {2: 0})
    assert [str(event.reason) for event in other.fail()] == ["InternalError: the device is gone"]
    other.error = None
    other.take([(full, 1)], 1)
    assert full.positions == {1: 1}
    assert other.error
    assert full.error is None
