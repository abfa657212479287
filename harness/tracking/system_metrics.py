"""How busy the machine is while a sweep runs, as MLflow's own collectors see it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping

from mlflow.system_metrics.metrics.base_metrics_monitor import BaseMetricsMonitor
from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

SECONDS = 10.0
"""Between samples; a last one is taken at the end."""


class SystemMonitor:
    """Takes samples in a thread of its own; MLflow's own loop would ask the store before each."""

    def __init__(self, log: Callable[[Mapping[str, float]], None], seconds: float = SECONDS) -> None:
        """Start.

        Args:
            log: Called with the metrics of a sample.
            seconds: Between samples.
        """
        self._log, self._seconds = log, seconds
        self._collectors: list[BaseMetricsMonitor] = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
        with contextlib.suppress(Exception):  # There is no GPU, or nothing to ask it with.
            self._collectors.append(GPUMonitor())
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="system metrics", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take the last sample."""
        self._over.set()
        self._thread.join()

    def _work(self) -> None:
        self._sample()  # How busy the cores are is counted since the last time it was asked for.
        while True:
            over = self._over.wait(self._seconds)
            metrics = self._sample()
            self._log({f"system/{key}": value for key, value in metrics.items()})
            if over:
                return

    def _sample(self) -> dict[str, float]:
        metrics: dict[str, float] = {}
        for collector in self._collectors:
            collector.collect_metrics()
            metrics |= collector.aggregate_metrics() or {}
            collector.clear_metrics()
        return metrics
