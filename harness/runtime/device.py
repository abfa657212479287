"""The device that TensorFlow computes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psutil
import tensorflow as tf

from harness.config import Device, RuntimeConfig
from harness.errors import ConfigError, require
from harness.formatting import count
from harness.runtime.gpu_facts import query
from harness.runtime.host_memory import available_host_bytes


def choose_device(runtime: RuntimeConfig) -> tuple[str, str]:
    """Set up TensorFlow for `runtime`; the settings of the first call apply to the whole process.

    Returns:
        TensorFlow's name for the device, and a description of the device.

    Raises:
        ConfigError: A GPU was requested but there is none, or the process already uses other settings.
    """
    gpus = tf.config.list_physical_devices("GPU")
    numbers = runtime.devices or [0]
    name = f"{device_name(runtime.device, gpus)[:-1]}{numbers[0]}"
    if "GPU" in name:
        there = f"TensorFlow sees {count(len(gpus), 'GPU')}, numbered from 0"
        require(max(numbers) < len(gpus), f"runtime.devices={numbers}: {there}.")
    elif runtime.devices:
        _divide_cpu(max(numbers) + 1)
    try:
        tf.config.threading.set_intra_op_parallelism_threads(runtime.threads)
        if gpus:
            # Otherwise, TensorFlow rounds the factors of products to 10 bits on GPUs, and weights differ visibly from
            # those on a CPU.
            tf.config.experimental.enable_tensor_float_32_execution(False)
        for gpu in gpus:
            # With a limit, all memory is allocated up front; without one, allocation grows as needed. TensorFlow cannot
            # combine the two.
            if limit_mb := runtime.device_memory_mb:
                limit: Any = tf.config.LogicalDeviceConfiguration(memory_limit=limit_mb * 1_000_000 / 2**20)
                tf.config.set_logical_device_configuration(gpu, [limit])
            else:
                tf.config.experimental.set_memory_growth(gpu, True)
        if runtime.deterministic:
            tf.config.experimental.enable_op_determinism()
    except RuntimeError:
        raise ConfigError(
            "runtime.threads and runtime.device_memory_mb cannot change within a process. Start a new one."
        ) from None
    if "GPU" in name:
        gpu = gpus[numbers[0]]
        return name, f"GPU ({tf.config.experimental.get_device_details(gpu).get('device_name', gpu.name)})"
    return name, "CPU" if gpus else "CPU (TensorFlow sees no GPU)"


def other_devices(runtime: RuntimeConfig) -> tuple[str, ...]:
    """Return TensorFlow's names for the devices set up by `choose_device`, except the first."""
    name = device_name(runtime.device, tf.config.list_physical_devices("GPU"))
    return tuple(f"{name[:-1]}{number}" for number in (runtime.devices or [])[1:])


def device_name(device: Device, gpus: Sequence[Any]) -> str:
    """Return TensorFlow's name for the device to use, given this machine's GPUs.

    Raises:
        ConfigError: A GPU was requested but there is none.
    """
    require(bool(gpus) or device is not Device.gpu, "runtime.device=gpu: TensorFlow sees no GPU.")
    return "/GPU:0" if gpus and device is not Device.cpu else "/CPU:0"


def _divide_cpu(parts: int) -> None:
    """Make TensorFlow divide the CPU into logical devices, which share its threads."""
    (cpu,) = tf.config.list_physical_devices("CPU")
    try:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * parts)
    except RuntimeError:
        there = len(tf.config.list_logical_devices("CPU"))
        require(parts <= there, "runtime.devices of a CPU cannot change within a process. Start a new one.")


def available_bytes(device: str, limit_mb: int | None) -> int:
    """Return the free memory of a device in bytes, at most `runtime.device_memory_mb`; 0 if unknown."""
    return _limited(_gpu_bytes("free") if "GPU" in device else available_host_bytes(), limit_mb)


def usable_bytes(device: str, limit_mb: int | None) -> int:
    """Return a device's total memory in bytes, limited to `runtime.device_memory_mb`; 0 if unknown."""
    return _limited(total_bytes(device), limit_mb)


def total_bytes(device: str) -> int:
    """Return a device's total memory in bytes; 0 if unknown."""
    return _gpu_bytes("total") if "GPU" in device else psutil.virtual_memory().total


def _limited(known: int, limit_mb: int | None) -> int:
    """Return the smaller of two sizes, of which either may be unknown."""
    limit = (limit_mb or 0) * 1_000_000
    return min(known, limit) if known and limit else known or limit


def _gpu_bytes(kind: str) -> int:
    answer = query(f"memory.{kind}")
    return int(answer) << 20 if answer.isdecimal() else 0
