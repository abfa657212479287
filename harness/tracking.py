"""The only writer to MLflow. Records are queued and written by a thread of their own, so that training never waits."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import math
import os
import posixpath
import queue
import re
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# A server's store would have two lines printed for each run that ends.
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")

import mlflow
import numpy as np
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from harness.config import ConfigError, require

BATCH = 1000
"""Metrics that one request to MLflow may carry."""

_EXPERIMENT_TAGS = {
    # The UI shows runs and charts first, not traces.
    "mlflow.experimentKind": "custom_model_development",
    "mlflow.experiment.primaryMetric.name": "val/loss",
    "mlflow.experiment.primaryMetric.greaterIsBetter": "false",
}


class Tracker:
    """Writes runs of one MLflow experiment; everything but the start of a run happens in the background."""

    def __init__(self, uri: str, experiment: str) -> None:
        """Reach the store, making it if it is a local file that is not there.

        Args:
            uri: MLflow's tracking URI.
            experiment: Name of the experiment, made where there is none.

        Raises:
            ConfigError: The store does not answer, or the experiment was deleted.
        """
        require(bool(experiment.strip()), "tracking.experiment expected a name", repr(experiment))
        for name, level in (("mlflow", "WARNING"), ("alembic", "WARNING"), ("mlflow.store.db.utils", "CRITICAL")):
            logging.getLogger(name).setLevel(level)
        self._uri = uri
        try:
            with _first_contact(uri):
                self._client = MlflowClient(uri)
                self.experiment_id = self._open_experiment(experiment)
        except ConfigError:
            raise
        except Exception as error:
            # Whatever MLflow, SQLAlchemy or a driver that is not installed says, there is no store to write to.
            received = f"{uri} ({_reason(error)})"
            raise ConfigError(f"tracking.uri expected a store that answers. Received: {received}.") from error
        self._queue: queue.Queue[Callable[[], object] | None] = queue.Queue()
        self._pending: dict[str, list[Metric]] = defaultdict(list)
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._write, name="tracking", daemon=True)
        self._thread.start()

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, kind: type | None, error: object, traceback: object) -> None:
        try:
            self.close()
        except Exception:
            if kind is None:
                raise

    def start_run(self, name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        """Start a run and return its id."""
        run = self._client.create_run(self.experiment_id, run_name=name, tags={**_source_tags(), **tags})
        run_id = run.info.run_id
        entities = [Param(key, str(value)) for key, value in params.items()]
        self._queue.put(lambda: self._client.log_batch(run_id, params=entities))
        return run_id

    def resume_run(self, run_id: str) -> None:
        """Set a run that has ended to running again.

        Raises:
            ConfigError: The store does not know it.
        """
        try:
            self._client.update_run(run_id, status="RUNNING")
        except MlflowException as error:
            raise ConfigError(
                f"tracking.uri expected the store that holds run {run_id}, with which the folder's sweep began. "
                f"Received: {self._uri}. Use that store, or another hydra.sweep.dir."
            ) from error

    def log(self, run_id: str, metrics: Mapping[str, float], step: int = 0) -> None:
        """Record metrics at one step; one that is not finite is left out, since MLflow's pages break on it."""
        now = int(time.time() * 1000)
        rows = [Metric(_legal(key), float(value), now, step) for key, value in metrics.items() if math.isfinite(value)]
        self._queue.put(lambda: self._add(run_id, rows))

    def log_curve(self, run_id: str, key: str, steps: Iterable[int], values: Iterable[float]) -> None:
        """Record one metric at many steps."""
        now = int(time.time() * 1000)
        pairs = zip(steps, values, strict=True)
        rows = [Metric(key, float(value), now, int(step)) for step, value in pairs if math.isfinite(value)]
        self._queue.put(lambda: self._add(run_id, rows))

    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags."""
        entities = [RunTag(key, value) for key, value in tags.items()]
        self._queue.put(lambda: self._client.log_batch(run_id, tags=entities))

    def log_text(self, run_id: str, text: str, file: str) -> None:
        """Keep `text` as the run's artifact `file`."""
        self._queue.put(lambda: self._client.log_text(run_id, text, file))

    def log_artifact(self, run_id: str, path: Path, folder: str = "") -> None:
        """Keep the file at `path`, which must stay until it is written, as the run's artifact in `folder`."""
        self._queue.put(lambda: self._client.log_artifact(run_id, str(path), folder or None))

    def tag_experiment(self, key: str, value: str) -> None:
        """Set a tag of the experiment."""
        self._queue.put(lambda: self._client.set_experiment_tag(self.experiment_id, key, value))

    def log_dataset(
        self, run_id: str, name: str, path: Path, digest: str, columns: Sequence[str], rows: Mapping[str, int]
    ) -> None:
        """Record what a run was trained on: `rows` by context, `training` and `holdout`.

        MLflow keeps one input of a name and digest, hence the context stands in the name too.
        """
        schema = [{"type": "float", "name": column, "required": True} for column in columns]
        inputs = [
            DatasetInput(
                Dataset(
                    f"{name} ({context})",
                    digest,
                    "local",
                    json.dumps({"uri": str(path)}),
                    json.dumps({"mlflow_colspec": schema}),
                    json.dumps({"num_rows": count}),
                ),
                [InputTag("mlflow.data.context", context)],
            )
            for context, count in rows.items()
            if count
        ]
        self._queue.put(lambda: self._client.log_inputs(run_id, datasets=inputs))

    def log_model(self, run_id: str, model: Any, columns: Sequence[str]) -> None:
        """Keep a Keras model of one input `[rows, 1]` a column, with its signature; waits until it is written."""
        import keras
        import tensorflow as tf
        from mlflow.models import ModelSignature
        from mlflow.tensorflow import log_model
        from mlflow.types import Schema, TensorSpec

        *features, target = columns
        signature = ModelSignature(
            Schema([TensorSpec(np.dtype("float64"), (-1, 1), name) for name in features]),
            Schema([TensorSpec(np.dtype("float32"), (-1, 1), target)]),
        )
        self.flush()
        # `mlflow.start_run` would set a run that has ended to running, and to failed if the model cannot be saved.
        params = self._client.get_run(run_id).data.params
        logged = self._client.create_logged_model(self.experiment_id, "model", source_run_id=run_id, params=params)
        with _uri_of_functions(self._uri):
            log_model(
                model,
                run_id=run_id,
                model_id=logged.model_id,
                signature=signature,
                pip_requirements=[f"tensorflow=={tf.__version__}", f"keras=={keras.__version__}"],
            )

    def end_run(self, run_id: str, status: str) -> None:
        """End a run as `FINISHED`, `FAILED` or `KILLED`."""

        def end() -> None:
            self._send(run_id)
            self._client.set_terminated(run_id, status)

        self._queue.put(end)

    def flush(self) -> None:
        """Wait until all records so far are written.

        Raises:
            Exception: What MLflow said to a record that it did not take.
        """
        self._queue.join()
        if self._error:
            raise self._error

    def close(self) -> None:
        """Write what is left and end the thread; raises as `flush` does."""
        self._queue.put(None)
        self._thread.join()
        if self._error:
            raise self._error

    def _open_experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is None:
            location = None
            if self._uri.startswith("sqlite:///"):
                location = (Path(self._uri.removeprefix("sqlite:///")).parent / "mlartifacts" / name).as_uri()
            experiment_id = self._client.create_experiment(name, artifact_location=location)
            for key, value in _EXPERIMENT_TAGS.items():
                self._client.set_experiment_tag(experiment_id, key, value)
            return experiment_id
        if found.lifecycle_stage != "active":
            raise ConfigError(
                f"tracking.experiment expected one that is not deleted. Received: {name!r}. "
                f"Restore it with `mlflow experiments restore -x {found.experiment_id}`, or use another name."
            )
        return found.experiment_id

    def _write(self) -> None:
        while True:
            work = self._queue.get()
            try:
                if work is not None:
                    work()
                if self._queue.empty() or work is None:
                    for run_id in list(self._pending):
                        self._send(run_id)
            except Exception as error:
                self._error = self._error or error
            finally:
                self._queue.task_done()
            if work is None:
                return

    def _add(self, run_id: str, metrics: list[Metric]) -> None:
        self._pending[run_id] += metrics
        if len(self._pending[run_id]) >= BATCH:
            self._send(run_id)

    def _send(self, run_id: str) -> None:
        metrics = self._pending.pop(run_id, [])
        for start in range(0, len(metrics), BATCH):
            self._client.log_batch(run_id, metrics=metrics[start : start + BATCH])


@contextlib.contextmanager
def _uri_of_functions(uri: str) -> Iterator[None]:
    """Set the URI that MLflow's functions go by, which is the whole process's, and set it back."""
    before: Any = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)


@contextlib.contextmanager
def _first_contact(uri: str) -> Iterator[None]:
    """Make a local store one process at a time, in the mode that lets others read while one writes.

    A server is asked twice only; MLflow's own patience, of minutes, is for one that has answered before.
    """
    if not uri.startswith("sqlite:///"):
        brief = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
        brief = {name: value for name, value in brief.items() if name not in os.environ}
        os.environ.update(brief)
        try:
            yield
        finally:
            for name in brief:
                del os.environ[name]
        return
    import fcntl

    path = Path(uri.removeprefix("sqlite:///"))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(path.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        statement = "PRAGMA schema_version" if path.exists() else "PRAGMA journal_mode=WAL"
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute(statement)  # It fails at once where MLflow would try for minutes.
        yield


def _reason(error: BaseException) -> str:
    """Return the first line of what is at the bottom of an error."""
    while (cause := error.__cause__ or error.__context__) and not isinstance(cause, KeyError):
        error = cause
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _legal(key: str) -> str:
    """Return a metric's name as MLflow takes it, since a column of any name may stand in it."""
    key = re.sub(r"[^\w.\-: /]", "_", key)[:250]
    return key if posixpath.normpath(key) == key else key.replace("/", "_")


@functools.cache
def _source_tags() -> dict[str, str]:
    """Return what MLflow knows of this process, and the commit of the harness itself."""
    from mlflow.tracking.context import registry
    from mlflow.utils.git_utils import get_git_commit

    commit = get_git_commit(__file__)
    return registry.resolve_tags() | ({"mlflow.source.git.commit": commit} if commit else {})
