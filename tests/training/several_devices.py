"""Trains on one, two and three parts of the CPU; `test_devices.py` runs it, since TensorFlow divides the CPU once."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import tensorflow as tf

from harness.config import DataConfig, Device, RuntimeConfig
from harness.data.blocks import Block
from harness.data.tables.builder import open_table
from harness.data.tables.table import Table
from harness.models import linear, mlp
from harness.runtime.device import choose_device, other_devices
from harness.training import feed
from harness.training.events import Progress
from harness.training.gram import GramChunks
from harness.training.lane import Lane
from harness.training.slices import DeviceBlock
from tests.helpers import History, finish, make_scan, note, recipe

RUNTIME = RuntimeConfig(Device.cpu, devices=[0, 1, 2])
KINDS = recipe(linear), recipe(lambda inputs: mlp(inputs, units=[3]))
LANES = [
    Lane(chunk, kind, 0, rate, (3,)) for kind in KINDS for chunk in (20, 1203) for rate in np.linspace(0.001, 0.05, 9)
]


def made(folder: Path) -> Table:
    """Return a table of 1,203 rows."""
    random = np.random.default_rng(1)
    frame = pd.DataFrame(random.normal(size=(1203, 3)), columns=["a", "b", "y"])
    frame.to_csv(folder / "some.csv", index=False)
    return open_table(DataConfig(features=["a", "b"], target="y", path=str(folder / "some.csv")), folder)


def trained(table: Table, others: Sequence[str], resumed_on: Sequence[str] | None = None) -> list[History]:
    """Return the results of the lanes; with `resumed_on`, these devices take over in the second epoch."""
    found = [History() for _ in LANES]

    def scan(devices: Sequence[str]):
        return make_scan(LANES, table, block_rows=1024, other_devices=devices)

    first = scan(others)
    for event in first.run():
        note(found, event)
        if resumed_on is not None and isinstance(event, Progress) and event.epoch == 2:
            return finish(scan(resumed_on), found, first.state())
    return found


def main() -> None:
    """Compare all variants; raises `AssertionError` if one differs."""
    assert choose_device(RUNTIME)[0] == "/CPU:0"
    others = other_devices(RUNTIME)
    assert others == ("/CPU:1", "/CPU:2")
    with tempfile.TemporaryDirectory() as folder:
        table = made(Path(folder))
        known = [each.numbers for each in trained(table, [])]
        for devices, resumed_on in ((others[:1], None), (others, None), (others, []), ([], others[:1])):
            assert [each.numbers for each in trained(table, devices, resumed_on)] == known, (devices, resumed_on)

        ended = [lanes_ended_with(device, table, others, known) for device in ("/CPU:0", "/CPU:1")]
    print("same bits on", 1 + len(others), "devices;", *ended, "of", len(known), "lanes ended with a device")


def lanes_ended_with(device: str, table: Table, others: Sequence[str], known: Sequence[Any]) -> int:
    """Let a device fail after compilation: neither rows nor calls reach it. Only lanes trained there may end."""
    sent, reduce = feed._sent, GramChunks.reduce
    gone = tf.errors.InternalError(None, None, "the device is gone")

    def sends(block: Block, to: str) -> Any:
        if to == device and block.stop > block.start:
            raise gone
        return sent(block, to)

    def reduces(loop: GramChunks, block: DeviceBlock) -> Any:
        is_there = tf.zeros([]).device.endswith(device[1:])
        return gone if is_there and block.stop > block.start else reduce(loop, block)

    with mock.patch.object(feed, "_sent", sends), mock.patch.object(GramChunks, "reduce", reduces):
        found = trained(table, others)
    ended = [index for index, each in enumerate(found) if each.error]
    assert 0 < len(ended) < len(found)
    assert all("the device is gone" in str(found[index].error) for index in ended)
    assert all(found[index].numbers == known[index] for index in range(len(found)) if index not in ended)
    return len(ended)


if __name__ == "__main__":
    main()
