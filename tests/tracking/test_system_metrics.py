"""Samples of the machine's load."""

from __future__ import annotations

import errno
import threading
import time

import pytest

from harness.tracking.system_metrics import SystemMonitor


def test_samples_are_taken_on_time_and_at_the_end() -> None:
    samples: list[dict] = []
    monitor = SystemMonitor(lambda metrics: samples.append(dict(metrics)), seconds=0.2)
    time.sleep(0.5)
    monitor.stop()
    assert 2 <= len(samples) <= 3
    for metrics in samples:
        assert 0 <= metrics["system/cpu_utilization_percentage"] <= 100
        assert 0 < metrics["system/system_memory_usage_percentage"] < 100
        assert all(key.startswith("system/") for key in metrics)


def test_names_are_those_of_mlflow() -> None:
    samples: list[dict] = []
    SystemMonitor(lambda metrics: samples.append(dict(metrics))).stop()
    assert {key.removeprefix("system/") for key in samples[0] if "gpu" not in key} == {
        "cpu_utilization_percentage",
        "system_memory_usage_megabytes",
        "system_memory_usage_percentage",
        "disk_usage_percentage",
        "disk_usage_megabytes",
        "disk_available_megabytes",
        "network_receive_megabytes",
        "network_transmit_megabytes",
    }


def test_a_short_sweep_has_a_sample_too() -> None:
    samples: list[object] = []
    SystemMonitor(samples.append).stop()
    assert len(samples) == 1


def test_a_full_disk_does_not_end_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise, its traceback would be printed next to the command's own message."""
    failed, ended = threading.Event(), []
    monkeypatch.setattr(threading, "excepthook", ended.append)

    def log(metrics: object) -> None:
        failed.set()
        raise OSError(errno.ENOSPC, "No space left on device")

    monitor = SystemMonitor(log, seconds=0.01)
    assert failed.wait(10)
    monitor.stop()
    assert ended == []
