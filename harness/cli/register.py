"""`harness register`: registers a run's model under a name, and shows how to serve it."""

from __future__ import annotations

import shlex
import tempfile
from pathlib import Path

from harness.analysis.best_run import best_of
from harness.runtime.secrets import masked
from harness.tracking import artifacts
from harness.tracking.frames import SHORT
from harness.tracking.reader import RunReader
from harness.tracking.registry import CHAMPION
from harness.tracking.registry import register as register_model
from harness.tracking.run_tags import sweeps_of

PORT = 5001
"""The port to suggest; 5000 is that of `harness ui`."""


def register(records: RunReader, run_id: str, name: str | None) -> list[str]:
    """Register a run's model, and return a message for the user; raises `ConfigError` if this is not possible."""
    run = records.run(run_id)
    name = name or records.experiment(run)
    newest = sweeps_of(run.data.tags)[-1:]
    is_best = any(best_of(*records.named([sweep])) == run.info.run_id for sweep in newest)
    version = register_model(records, run, name, is_best=is_best)
    alias = f" and alias {CHAMPION}" if is_best else ""
    address = f"models:/{name}@{CHAMPION}" if is_best else f"models:/{name}/{version}"
    serve = f"mlflow models serve -m {shlex.quote(address)} --env-manager local --port {PORT}"
    with tempfile.TemporaryDirectory() as folder:
        request = artifacts.request(records, run_id, Path(folder))
    content = shlex.quote(masked(request))
    ask = f"curl http://127.0.0.1:{PORT}/invocations -H 'Content-Type: application/json' -d {content}"
    return [
        f"Run {run.info.run_id[:SHORT]} is registered as {name}, with version {version}{alias}. To serve it:",
        f"MLFLOW_TRACKING_URI={shlex.quote(masked(records.uri))} {serve}",
        *(["To get a prediction from it, in another terminal:", ask] if request else []),
    ]
