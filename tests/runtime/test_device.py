"""Which device TensorFlow computes on, and how it is set up."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf

from harness.config import Device
from harness.errors import ConfigError
from harness.runtime.device import available_bytes, device_name, usable_bytes
from harness.runtime.gpu_facts import gpu_facts

GPU = tf.config.PhysicalDevice("/physical_device:GPU:0", "GPU")

SET_UP = """
import tensorflow as tf
from harness.config import Device, RuntimeConfig
from harness.errors import ConfigError
from harness.runtime.device import choose_device
runtime = RuntimeConfig(Device.cpu, threads=1, deterministic=True)
print(choose_device(runtime))
print(tf.config.threading.get_intra_op_parallelism_threads())
try:
    tf.random.uniform([1])
except RuntimeError as error:
    print("determinism" in str(error))
try:
    choose_device(RuntimeConfig(Device.cpu, threads=2))
except ConfigError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("device", "gpus", "name"),
    [
        (Device.auto, [], "/CPU:0"),
        (Device.auto, [GPU], "/GPU:0"),
        (Device.cpu, [GPU], "/CPU:0"),
        (Device.gpu, [GPU, GPU], "/GPU:0"),
    ],
)
def test_a_gpu_is_used_if_there_is_one_and_it_is_wanted(
    device: Device, gpus: list[tf.config.PhysicalDevice], name: str
) -> None:
    assert device_name(device, gpus) == name


def test_a_missing_gpu_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"runtime\.device=gpu: TensorFlow sees no GPU"):
        device_name(Device.gpu, [])


def test_tensorflow_is_set_up_once_per_process() -> None:
    done = subprocess.run([sys.executable, "-c", SET_UP], capture_output=True, text=True, check=True)
    device, *others = done.stdout.splitlines()
    assert device.startswith("('/CPU:0', 'CPU")
    assert others == [
        "1",
        "True",
        "runtime.threads and runtime.device_memory_mb cannot change within a process. Start a new one.",
    ]


def test_available_memory_is_limited() -> None:
    free = available_bytes("/CPU:0", None)
    assert free > 1_000_000
    assert available_bytes("/CPU:0", 1) == 1_000_000


def test_facts_of_a_gpu_are_read_from_its_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = "case $1 in *driver_version*) echo 580.159.04;; *memory.total*) printf '143771\\n143771\\n';; esac"
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{answers}\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    facts = gpu_facts.__wrapped__()
    assert (facts["gpu_driver"], facts["gpu_memory_mib"], facts["tf32"]) == ("580.159.04", "143771", "off")
    assert facts["cuda"][0].isdigit()
    assert usable_bytes("/GPU:0", None) == 143771 << 20
    assert usable_bytes("/GPU:0", 1000) == 10**9
    monkeypatch.setenv("PATH", "")
    assert "gpu_driver" not in gpu_facts.__wrapped__()
    assert usable_bytes("/GPU:0", None) == 0
