"""The only module that writes to MLflow. Records go to a file and a thread delivers them, so training never waits."""

from __future__ import annotations

import contextlib
import math
import posixpath
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.exceptions import MlflowException

from harness.data.statistics import Column
from harness.errors import ConfigError
from harness.runtime.environment import default_environment
from harness.runtime.secrets import masked, masked_patch, masked_value
from harness.tracking._compat_sqlite import LocalStore
from harness.tracking.dataset_record import dataset_inputs
from harness.tracking.mlflow_calls import MlflowCalls
from harness.tracking.model_saver import ModelSaver
from harness.tracking.outbox import StoreUnreachable, leftover_outboxes, new_outbox
from harness.tracking.record_buffer import RecordBuffer
from harness.tracking.sender import Sender
from harness.tracking.source_tags import source_tags
from harness.tracking.store import FIRST_CONTACT, open_store

_PATIENCE = FIRST_CONTACT | {"MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
"""Timeouts for a slow or unreachable server; training does not wait for it."""


class Tracker:
    """Writes runs of one MLflow experiment; everything except starting a run happens in the background.

    Attributes:
        uri: MLflow's tracking URI.
        experiment_id: The experiment's id.
        buffer: Passes records on, and can hold them back.
    """

    def __init__(
        self,
        uri: str,
        experiment: str,
        folder: Path | None = None,
        *,
        wait: float = 600.0,
        say: Callable[[str], None] = lambda line: None,
        use_tables: bool = True,
    ) -> None:
        """Connect to the store, and start delivering the records that earlier processes could not.

        Args:
            uri: MLflow's tracking URI; a local store is created if it does not exist.
            experiment: Name of the experiment, created if it does not exist.
            folder: Folder for undelivered records; by default a temporary one.
            wait: Seconds that `flush` and `close` wait for an unreachable store.
            say: Called with a message when the store becomes unreachable, and when it is back.
            use_tables: Whether to write directly to the tables of a local store; if False, use only MLflow's client.

        Raises:
            ConfigError: The store is unreachable, or the experiment was deleted.
        """
        self.uri, self._say = uri, say
        self._models = ModelSaver()
        self._resources = contextlib.ExitStack()
        self._client, self.experiment_id = open_store(uri, experiment)
        self._resources.enter_context(default_environment(_PATIENCE))
        self._folder = folder or Path(self._resources.enter_context(tempfile.TemporaryDirectory()))
        leftover = list(leftover_outboxes(self._folder, uri))
        self._outbox = new_outbox(self._folder, uri)
        self.buffer = RecordBuffer(self._outbox)
        self._calls = MlflowCalls(self._client, LocalStore.at(uri) if use_tables else None)
        self._sender = Sender(self._outbox, leftover, self._calls, uri, wait=wait, say=say)

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, kind: type | None, error: object, traceback: object) -> None:
        if kind is None:
            self.close()
            return
        try:
            self.close(wait=0)
        except StoreUnreachable as unreachable:
            self._say(f"store:  {unreachable}")
        except Exception:  # The error that ended the block is the one to report.
            pass

    def start_runs(self, runs: Sequence[tuple[str, Mapping[str, Any], Mapping[str, str]]]) -> list[str]:
        """Start runs, each given by name, params and tags, and return their ids."""
        named = [(masked(name), source_tags() | _masked(tags)) for name, _, tags in runs]
        ids = self._calls.start(self.experiment_id, named)
        for run_id, (_, params, _) in zip(ids, runs, strict=True):
            self.log_params(run_id, params)
        return ids

    def start_run(self, name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        """Start one run and return its id."""
        return self.start_runs([(name, params, tags)])[0]

    def resume_run(self, run_id: str) -> None:
        """Set the status of an ended run back to running.

        Raises:
            ConfigError: The run is not in the store.
        """
        try:
            self._client.update_run(run_id, status="RUNNING")
        except MlflowException as error:
            raise ConfigError(
                f"tracking.uri: {masked(self.uri)} does not contain run {run_id}, which belongs to the sweep in this "
                "folder. Use the store that the sweep started with, or another hydra.sweep.dir."
            ) from error

    def log_params(self, run_id: str, params: Mapping[str, Any]) -> None:
        """Record params; a param cannot be changed later."""
        self._put("params", run_id, values=_masked(params))

    def log(self, run_id: str, metrics: Mapping[str, float], step: int = 0) -> None:
        """Record metrics at one step, except non-finite values, which break MLflow's pages."""
        values = {_metric_name(key): float(value) for key, value in metrics.items() if math.isfinite(value)}
        self._put("metrics", run_id, values=values, step=int(step), ms=_now())

    def log_curve(self, run_id: str, key: str, steps: Iterable[int], values: Iterable[float]) -> None:
        """Record one metric at many steps."""
        pairs = zip(steps, values, strict=True)
        points = [(int(step), float(value)) for step, value in pairs if math.isfinite(value)]
        self._put("curve", run_id, key=key, points=points, ms=_now())

    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags of a run."""
        self._put("tags", run_id, values=_masked(tags))

    def tag_experiment(self, tags: Mapping[str, str]) -> None:
        """Set tags of the experiment."""
        for key, value in tags.items():
            self._put("experiment", "", experiment=self.experiment_id, key=key, value=value)

    def log_text(self, run_id: str, text: str, file: str) -> None:
        """Store `text` as the run's artifact `file`."""
        text = masked_patch(text) if file.endswith(".patch") else masked(text)
        self._put("text", run_id, text=text, file=file)

    def log_artifact(self, run_id: str, path: Path, folder: str = "") -> None:
        """Store a copy of a file as an artifact of the run, in a folder of its artifacts."""
        self._put("artifact", run_id, path=str(shutil.copy2(path, self._outbox.new_folder())), folder=folder)

    def log_dataset(
        self, run_id: str, name: str, address: str, digest: str, columns: Sequence[Column], rows: Mapping[str, int]
    ) -> None:
        """Record what a run was trained on; `rows` has the row counts of `training` and `holdout`."""
        self._put("dataset", run_id, inputs=dataset_inputs(masked(name), masked(address), digest, columns, rows))

    def prepare_models(self) -> None:
        """Start the slow part of the first `log_model` in the background."""
        self._models.prepare()

    def log_model(self, run_id: str, model: Any, example: Mapping[str, np.ndarray], target: str) -> None:
        """Store a Keras model; see `ModelSaver.save` for the arguments and errors."""
        folder = self._outbox.new_folder() / "model"
        self._models.save(folder, model, example, target)
        self._put("model", run_id, path=str(folder))

    def end_run(self, run_id: str, status: str) -> None:
        """End a run as `FINISHED`, `FAILED` or `KILLED`."""
        self._put("end", run_id, status=status, ms=_now())

    def deliver_leftovers(self) -> None:
        """Wait until the records that other processes left behind are delivered.

        Raises:
            StoreUnreachable: The store stays unreachable.
        """
        self._sender.deliver(leftover_outboxes(self._folder, self.uri))

    def flush(self) -> None:
        """Wait until all records so far are delivered.

        Raises:
            StoreUnreachable: The store stays unreachable.
            Exception: MLflow's error for a record that it rejected.
        """
        self._sender.flush()

    def close(self, wait: float | None = None) -> None:
        """Deliver what is left and end the thread; raises the same errors as `flush`.

        Args:
            wait: Seconds to wait for an unreachable store; by default, as given at the start.
        """
        with self._resources:
            self._sender.close(wait)
            self._calls.end()

    def _put(self, kind: str, run_id: str, **values: object) -> None:
        self.buffer.append({"kind": kind, "run": run_id, **values})


def _masked(values: Mapping[str, Any]) -> dict[str, str]:
    return {key: masked_value(key, value) for key, value in values.items()}


def _now() -> int:
    return int(time.time() * 1000)


def _metric_name(key: str) -> str:
    """Return a name that MLflow accepts, because metrics are named after columns, which can have any name."""
    key = re.sub(r"[^\w.\-: /]", "_", key)[:250]
    return key if posixpath.normpath(key) == key else key.replace("/", "_")
