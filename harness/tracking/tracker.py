"""The only writer to MLflow. Records go to a file first, and a thread delivers them, so that training never waits."""

from __future__ import annotations

import contextlib
import functools
import json
import math
import posixpath
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.exceptions import MlflowException

from harness.data.files import scheme
from harness.data.statistics import Column
from harness.errors import ConfigError
from harness.runtime.secrets import masked
from harness.tracking.mlflow_calls import MlflowCalls
from harness.tracking.outbox import Undelivered, left_behind, new_outbox
from harness.tracking.record_buffer import RecordBuffer
from harness.tracking.sender import Sender
from harness.tracking.store import FIRST_CONTACT, environment, open_store

PATIENCE = FIRST_CONTACT | {"MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
"""With a server that is slow or gone; training does not wait for it."""


class Tracker:
    """Writes runs of one MLflow experiment; everything but the start of a run happens in the background.

    Attributes:
        uri: MLflow's tracking URI.
        experiment_id: The experiment's.
        held: Where records may be kept back on their way.
    """

    def __init__(
        self,
        uri: str,
        experiment: str,
        folder: Path | None = None,
        *,
        wait: float = 600.0,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Reach the store, making it if it is a local file that is not there, and deliver what it was owed.

        Args:
            uri: MLflow's tracking URI.
            experiment: Name of the experiment, made where there is none.
            folder: Where records are kept until they are delivered; None takes one that ends with the tracker.
            wait: Seconds that `flush` and `close` wait for a store that does not answer.
            say: Called when the store goes away, and when it is back.

        Raises:
            ConfigError: The store does not answer, or the experiment was deleted.
        """
        self.uri, self._say = uri, say
        self._looking: threading.Thread | None = None
        self._resources = contextlib.ExitStack()
        self._client, self.experiment_id = open_store(uri, experiment)
        self._resources.enter_context(environment(PATIENCE))
        place = folder or Path(self._resources.enter_context(tempfile.TemporaryDirectory()))
        self._place = place
        left = list(left_behind(place, uri))
        self._outbox = new_outbox(place, uri)
        self.held = RecordBuffer(self._outbox)
        self._delivery = MlflowCalls(self._client, uri)
        self._courier = Sender(self._outbox, left, self._delivery, uri, wait=wait, say=say)

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, kind: type | None, error: object, traceback: object) -> None:
        if kind is None:
            self.close()
            return
        try:
            self.close(wait=0)
        except Undelivered as kept:
            self._say(f"store:  {kept}")
        except Exception:  # There is one already.
            pass

    def start_runs(self, runs: Sequence[tuple[str, Mapping[str, Any], Mapping[str, str]]]) -> list[str]:
        """Start runs, each of a name, params and tags, and return their ids."""
        named = [(masked(name), _source_tags() | _masked(tags)) for name, _, tags in runs]
        ids = self._delivery.start(self.experiment_id, named)
        for run_id, (_, params, _) in zip(ids, runs, strict=True):
            self.log_params(run_id, params)
        return ids

    def start_run(self, name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        """Start one run and return its id."""
        return self.start_runs([(name, params, tags)])[0]

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
                f"Received: {masked(self.uri)}. Use that store, or another hydra.sweep.dir."
            ) from error

    def log_params(self, run_id: str, params: Mapping[str, Any]) -> None:
        """Record params; those that are there already must be the same."""
        self._put("params", run_id, values=_masked(params))

    def log(self, run_id: str, metrics: Mapping[str, float], step: int = 0) -> None:
        """Record metrics at one step; one that is not finite is left out, since MLflow's pages break on it."""
        values = {_legal(key): float(value) for key, value in metrics.items() if math.isfinite(value)}
        self._put("metrics", run_id, values=values, step=step, ms=_now())

    def log_curve(self, run_id: str, key: str, steps: Iterable[int], values: Iterable[float]) -> None:
        """Record one metric at many steps."""
        pairs = zip(steps, values, strict=True)
        points = [(int(step), float(value)) for step, value in pairs if math.isfinite(value)]
        self._put("curve", run_id, key=key, points=points, ms=_now())

    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags."""
        self._put("tags", run_id, values=_masked(tags))

    def tag_experiment(self, tags: Mapping[str, str]) -> None:
        """Set tags of the experiment."""
        for key, value in tags.items():
            self._put("experiment", "", experiment=self.experiment_id, key=key, value=value)

    def log_text(self, run_id: str, text: str, file: str) -> None:
        """Keep `text` as the run's artifact `file`."""
        self._put("text", run_id, text=masked(text), file=file)

    def log_artifact(self, run_id: str, path: Path, folder: str = "") -> None:
        """Keep a copy of a file as the run's artifact, in a folder among its artifacts."""
        self._put("artifact", run_id, path=str(shutil.copy2(path, self._outbox.room())), folder=folder)

    def log_dataset(
        self, run_id: str, name: str, address: str, digest: str, columns: Sequence[Column], rows: Mapping[str, int]
    ) -> None:
        """Record what a run was trained on: `rows` by context, `training` and `holdout`.

        MLflow keeps one input of a name and digest, hence the context stands in the name too. The columns' statistics
        are the training rows', and are in their profile.
        """
        schema = [
            {"type": "string" if column.is_text else "float", "name": column.name, "required": True}
            for column in columns
        ]
        profiles: dict[str, dict[str, Any]] = {context: {"num_rows": count} for context, count in rows.items() if count}
        profiles["training"]["columns"] = {
            column.name: {"count": column.count, "categories": len(column.categories)}
            if column.categories
            else {
                "count": column.count,
                "log": column.log,
                "mean": column.mean,
                "std": column.std,
                "min": column.min,
                "max": column.max,
            }
            for column in columns
        }
        kind = {"https": "http"}.get(scheme(address), scheme(address))
        inputs = [
            {
                "context": context,
                "dataset": {
                    "name": f"{name} ({context})",
                    "digest": digest,
                    "source_type": kind or "local",
                    "source": json.dumps({"url" if kind == "http" else "uri": address}),
                    "schema": json.dumps({"mlflow_colspec": schema}),
                    "profile": json.dumps(profile),
                },
            }
            for context, profile in profiles.items()
        ]
        self._put("dataset", run_id, inputs=inputs)

    def expect_models(self) -> None:
        """Have MLflow look now, beside all else, at what is installed: for its first model it takes 0.3 s to do so."""
        if self._looking is None:
            self._looking = threading.Thread(target=_look_at_packages, name="packages", daemon=True)
            self._looking.start()

    def log_model(self, run_id: str, model: Any, example: Mapping[str, np.ndarray], target: str) -> None:
        """Keep a Keras model with its signature.

        Args:
            run_id: The run's.
            model: Of one input `[rows, 1]` a feature, by its name.
            example: Rows to try it on, of float64 or text.
            target: The column that it predicts.

        Raises:
            Exception: It cannot be saved.
        """
        if self._looking:
            self._looking.join()
        import keras
        import tensorflow as tf
        from mlflow.models import ModelSignature
        from mlflow.tensorflow import save_model
        from mlflow.types import Schema, TensorSpec

        kinds = {name: np.dtype("str" if values.dtype.kind == "U" else "float64") for name, values in example.items()}
        folder = self._outbox.room() / "model"
        save_model(
            model,
            folder,
            signature=ModelSignature(
                Schema([TensorSpec(kind, (-1, 1), name) for name, kind in kinds.items()]),
                Schema([TensorSpec(np.dtype("float32"), (-1, 1), target)]),
            ),
            input_example=dict(example),
            pip_requirements=[f"tensorflow=={tf.__version__}", f"keras=={keras.__version__}"],
        )
        self._put("model", run_id, path=str(folder))

    def end_run(self, run_id: str, status: str) -> None:
        """End a run as `FINISHED`, `FAILED` or `KILLED`."""
        self._put("end", run_id, status=status, ms=_now())

    def settle(self) -> None:
        """Wait until what processes that are gone have left behind is delivered, for as long as `wait` says.

        Raises:
            Undelivered: The store does not answer.
        """
        self._courier.adopt(left_behind(self._place, self.uri))

    def flush(self) -> None:
        """Wait until all records so far are delivered.

        Raises:
            Undelivered: The store does not answer.
            Exception: What MLflow said to a record that it did not take.
        """
        self._courier.flush()

    def close(self, wait: float | None = None) -> None:
        """Deliver what is left and end the thread; raises as `flush` does.

        Args:
            wait: Seconds to wait for a store that does not answer, if not those of all calls.
        """
        with self._resources:
            self._courier.close(wait)
            self._delivery.end()

    def _put(self, kind: str, run_id: str, **values: object) -> None:
        self.held.append({"kind": kind, "run": run_id, **values})


def _masked(values: Mapping[str, Any]) -> dict[str, str]:
    return {key: masked(str(value)) for key, value in values.items()}


def _look_at_packages() -> None:
    with contextlib.suppress(Exception):  # Then saving will say it, or does without.
        from mlflow.utils.requirements_utils import warn_dependency_requirement_mismatches

        warn_dependency_requirement_mismatches(["mlflow"])  # It keeps the list that it makes for this.


def _now() -> int:
    return int(time.time() * 1000)


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
