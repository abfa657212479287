"""The device that TensorFlow computes on."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import tensorflow as tf

from harness.config import Device, RuntimeConfig
from harness.errors import ConfigError, require


def choose_device(runtime: RuntimeConfig) -> tuple[str, str]:
    """Set TensorFlow up for `runtime`; the first call of a process decides for all of it.

    Returns:
        TensorFlow's name of the device, and a description for a person.

    Raises:
        ConfigError: A GPU is asked for and none is seen, or the process already computes with other threads.
    """
    gpus = tf.config.list_physical_devices("GPU")
    require(
        bool(gpus) or runtime.device is not Device.gpu, "runtime.device=gpu expected a GPU", "none that TensorFlow sees"
    )
    try:
        tf.config.threading.set_intra_op_parallelism_threads(runtime.threads)
        for gpu in gpus:
            _set_memory(gpu, runtime.device_memory_mb)
        if runtime.deterministic:
            tf.config.experimental.enable_op_determinism()
    except RuntimeError:
        raise ConfigError(
            "runtime.threads and runtime.device_memory_mb expected one value in a process. "
            f"Received: {runtime.threads} and {runtime.device_memory_mb} after others."
        ) from None
    if gpus and runtime.device is not Device.cpu:
        return "/GPU:0", f"GPU ({tf.config.experimental.get_device_details(gpus[0]).get('device_name', gpus[0].name)})"
    return "/CPU:0", "CPU" if gpus else "CPU (TensorFlow sees no GPU)"


def _set_memory(gpu: Any, limit_mb: int | None) -> None:
    """Let TensorFlow take memory as it needs it, or at once what it is given, which does not go together."""
    if limit_mb:
        limit: Any = tf.config.LogicalDeviceConfiguration(memory_limit=limit_mb * 1_000_000 / 2**20)
        tf.config.set_logical_device_configuration(gpu, [limit])
    else:
        tf.config.experimental.set_memory_growth(gpu, True)


def available_bytes(device: str, limit_mb: int | None) -> int:
    """Return the bytes of memory that may be used on a device of TensorFlow's, or 0 where that is not known.

    Args:
        device: TensorFlow's name.
        limit_mb: `runtime.device_memory_mb`.
    """
    free = _free_bytes(device)
    limit = (limit_mb or 0) * 1_000_000
    return min(free, limit) if free and limit else free or limit


def _free_bytes(device: str) -> int:
    if "GPU" in device:
        try:
            query = ["nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
            answer = subprocess.run(query, capture_output=True, text=True, check=True, timeout=30).stdout
            return int(answer.split()[0]) << 20
        except (OSError, subprocess.SubprocessError, ValueError, IndexError):
            return 0
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return 0
