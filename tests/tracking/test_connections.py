"""Connections to tracking servers are closed after each request, and used concurrently where order allows."""

from __future__ import annotations

import importlib
import threading
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from harness.tracking import connections
from harness.tracking.mlflow_calls import MlflowCalls
from harness.tracking.outbox import new_outbox
from harness.tracking.sender import Sender

RUNS = [f"{number:032x}" for number in range(4)]


def test_the_plugin_closes_connections_of_the_harness_only(monkeypatch: pytest.MonkeyPatch) -> None:
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    module, _, name = project["entry-points"]["mlflow.request_header_provider"]["harness"].partition(":")
    plugin = getattr(importlib.import_module(module), name)()
    monkeypatch.setattr(connections, "_is_in_use", False)
    assert not plugin.in_context()
    connections.close_after_requests()
    assert plugin.in_context()
    assert plugin.request_headers() == {"Connection": "close"}


class FakeClient:
    """Keeps what is delivered; requests for different runs wait for each other, and some fail once."""

    def __init__(self, fails_once: str = "") -> None:
        self.calls: list[tuple[str, str]] = []
        self._together = threading.Barrier(len(RUNS))
        self._fails_once, self._failures = fails_once, Counter()

    def log_text(self, run_id: str, text: str, file: str) -> None:
        if file == "first" and not self._failures:
            self._together.wait(30)
        self._may_fail(run_id)
        self.calls.append((run_id, file))

    def set_terminated(self, run_id: str, status: str, ms: int) -> None:
        self.calls.append((run_id, status))

    def _may_fail(self, run_id: str) -> None:
        if run_id == self._fails_once and not self._failures[run_id]:
            self._failures[run_id] += 1
            raise ConnectionError("for a moment")


@pytest.mark.parametrize("fails_once", ["", RUNS[2]])
def test_runs_are_delivered_at_once_and_each_in_order(fails_once: str, tmp_path: Path) -> None:
    client: Any = FakeClient(fails_once)
    outbox = new_outbox(tmp_path, "store")
    for file in ("first", "second"):
        for run in RUNS:
            outbox.append({"kind": "text", "run": run, "text": "", "file": file})
    for run in RUNS:
        outbox.append({"kind": "end", "run": run, "status": "FINISHED", "ms": 1})
    said: list[str] = []
    calls = MlflowCalls(client, None, at_once=len(RUNS))
    Sender(outbox, lambda: iter(()), calls, "http://server", wait=30, say=said.append).close()
    for run in RUNS:
        own = [what for run_id, what in client.calls if run_id == run]
        # What was delivered before another run's failure may be delivered again.
        assert own[-3:] == ["first", "second", "FINISHED"]
        assert len(own) == 3 or fails_once
    assert said == []
