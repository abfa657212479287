"""The timestamps of records, by which MLflow orders runs, and a clock that does not stop."""

from __future__ import annotations

import contextlib
import threading
import time

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from harness.tracking.records import LATEST
from harness.tracking.run_pages import experiment_ids


class Clock:
    """Milliseconds since 1970 that never go backwards, even if the system's clock does."""

    def __init__(self, latest: int = 0) -> None:
        """Start with times after `latest`."""
        self._latest = latest
        self._lock = threading.Lock()

    def now(self) -> int:
        """Return the time, never earlier than times returned before."""
        return self.after(0)

    def after(self, milliseconds: int) -> int:
        """Return the time, but at least `milliseconds` later than every time returned before."""
        with self._lock:
            self._latest = min(max(int(time.time() * 1000), self._latest + milliseconds), LATEST)
            return self._latest


def boot_seconds() -> float:
    """Return seconds that also count while the machine is suspended."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def newest_start(client: MlflowClient) -> int:
    """Return the start time of the harness's newest run in a store, in milliseconds since 1970; 0 if unknown.

    Times recorded by other programs are ignored, because they may be in other units.
    """
    newest = 0
    with contextlib.suppress(MlflowException):  # Runs in the wrong order are better than no runs.
        experiments = experiment_ids(client)
        for kind in ("run", "sweep"):
            condition = f"tags.kind = '{kind}' AND attributes.start_time <= {LATEST}"
            order = ["attributes.start_time DESC"]
            found = client.search_runs(experiments, condition, order_by=order, max_results=1)
            newest = max([newest, *(run.info.start_time for run in found)])
    return newest
