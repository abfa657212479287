"""Samples system metrics of the machine, with the same names and units as in MLflow."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import psutil

SECONDS = 10.0
"""Time between samples."""


class SystemMonitor:
    """Takes samples in a separate thread, and a final one at the end."""

    def __init__(self, log: Callable[[Mapping[str, float]], None], seconds: float = SECONDS) -> None:
        """Start sampling every `seconds`; `log` is called with the metrics of each sample."""
        self._log, self._seconds = log, seconds
        self._network = psutil.net_io_counters()
        self._nvml, self._gpus = _gpus()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="system metrics", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take the last sample."""
        self._over.set()
        self._thread.join()

    def _work(self) -> None:
        psutil.cpu_percent()  # The next call returns the mean since this call.
        is_over = False
        while not is_over:
            is_over = self._over.wait(self._seconds)
            values = {f"system/{key}": value for key, value in self._sample()}
            with contextlib.suppress(OSError):  # If the disk is full, other records fail too, and are reported.
                self._log(values)

    def _sample(self) -> Iterator[tuple[str, float]]:
        memory, disk, network = psutil.virtual_memory(), psutil.disk_usage(os.sep), psutil.net_io_counters()
        yield "cpu_utilization_percentage", round(psutil.cpu_percent(), 1)
        yield "system_memory_usage_megabytes", round(memory.used / 1e6, 1)
        yield "system_memory_usage_percentage", round(memory.used / memory.total * 100, 1)
        yield "disk_usage_percentage", round(disk.percent, 1)
        yield "disk_usage_megabytes", round(disk.used / 1e6, 1)
        yield "disk_available_megabytes", round(disk.free / 1e6, 1)
        yield "network_receive_megabytes", (network.bytes_recv - self._network.bytes_recv) / 1e6
        yield "network_transmit_megabytes", (network.bytes_sent - self._network.bytes_sent) / 1e6
        for number, gpu in enumerate(self._gpus):
            yield from self._gpu_sample(f"gpu_{number}", gpu)

    def _gpu_sample(self, name: str, gpu: Any) -> Iterator[tuple[str, float]]:
        with contextlib.suppress(self._nvml.NVMLError):
            memory = self._nvml.nvmlDeviceGetMemoryInfo(gpu)
            yield f"{name}_memory_usage_percentage", round(memory.used / memory.total * 100, 1)
            yield f"{name}_memory_usage_megabytes", round(memory.used / 1e6, 1)
        with contextlib.suppress(self._nvml.NVMLError):
            yield f"{name}_utilization_percentage", round(self._nvml.nvmlDeviceGetUtilizationRates(gpu).gpu, 1)
        with contextlib.suppress(self._nvml.NVMLError):
            power, most = self._nvml.nvmlDeviceGetPowerUsage(gpu), self._nvml.nvmlDeviceGetEnforcedPowerLimit(gpu)
            yield f"{name}_power_usage_watts", round(power / 1000, 1)
            yield f"{name}_power_usage_percentage", round(power / most * 100, 1)


def _gpus() -> tuple[Any, list[Any]]:
    """Return NVIDIA's management library and its GPU handles, or neither without `nvidia-ml-py`."""
    try:
        import pynvml  # pyright: ignore[reportMissingImports]

        pynvml.nvmlInit()
        return pynvml, [pynvml.nvmlDeviceGetHandleByIndex(number) for number in range(pynvml.nvmlDeviceGetCount())]
    except Exception:  # The library is not installed, or there is no driver.
        return None, []
