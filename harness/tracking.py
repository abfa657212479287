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

from harness.config import ConfigError, masked
from harness.delivery import Call, Delivery
from harness.outbox import Outbox, Undelivered, left_behind, new_outbox
from harness.statistics import Column
from harness.store import FIRST_CONTACT, environment, is_gone, open_store, reason

INTERVAL = 2.0
"""Seconds in which records are gathered, so that requests are few and large."""

PATIENCE = FIRST_CONTACT | {"MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 15.0
POLL = 0.2
GRACE = 5.0
"""Seconds beyond its deadline for which a request that is under way is waited for."""

ATTEMPTS_AT_ERROR = 5
"""Attempts at a record at which a server has an inner error; then it is taken for a refusal."""


class Tracker:
    """Writes runs of one MLflow experiment; everything but the start of a run happens in the background."""

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
        self._uri, self._wait, self._say = uri, wait, say
        self._resources = contextlib.ExitStack()
        self._client, self.experiment_id = open_store(uri, experiment)
        self._resources.enter_context(environment(PATIENCE))
        place = folder or Path(self._resources.enter_context(tempfile.TemporaryDirectory()))
        self._left = list(left_behind(place, uri))
        self._outbox = new_outbox(place, uri)
        self._delivery = Delivery(self._client, uri)
        self._error: Exception | None = None
        self._gone = False  # At the last attempt the store did not answer.
        self._owing = False  # It has answered since, and has not got all yet.
        self._changed = threading.Condition()
        self._asked = False  # Somebody waits for what there is to be delivered.
        self._closing = False
        self._deadline = math.inf
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
        self._thread.start()

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

    def start_run(self, name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        """Start a run and return its id."""
        run = self._client.create_run(self.experiment_id, run_name=masked(name), tags=_source_tags() | _masked(tags))
        run_id = run.info.run_id
        self._delivery.place(run_id, run.info.artifact_uri or "")
        self._put("params", run_id, values=_masked(params))
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
                f"Received: {masked(self._uri)}. Use that store, or another hydra.sweep.dir."
            ) from error

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
        self, run_id: str, name: str, path: Path, digest: str, columns: Sequence[Column], rows: Mapping[str, int]
    ) -> None:
        """Record what a run was trained on: `rows` by context, `training` and `holdout`.

        MLflow keeps one input of a name and digest, hence the context stands in the name too. The columns' statistics
        are the training rows', and are in their profile.
        """
        schema = [{"type": "float", "name": column.name, "required": True} for column in columns]
        profiles: dict[str, dict[str, Any]] = {context: {"num_rows": count} for context, count in rows.items() if count}
        profiles["training"]["columns"] = {
            column.name: {
                "log": column.log,
                "mean": column.mean,
                "std": column.std,
                "min": column.min,
                "max": column.max,
            }
            for column in columns
        }
        inputs = [
            {
                "context": context,
                "dataset": {
                    "name": f"{name} ({context})",
                    "digest": digest,
                    "source_type": "local",
                    "source": json.dumps({"uri": str(path)}),
                    "schema": json.dumps({"mlflow_colspec": schema}),
                    "profile": json.dumps(profile),
                },
            }
            for context, profile in profiles.items()
        ]
        self._put("dataset", run_id, inputs=inputs)

    def log_model(self, run_id: str, model: Any, columns: Sequence[str], example: Mapping[str, Any]) -> None:
        """Keep a Keras model of one input `[rows, 1]` a column, with its signature and rows to try it on.

        Raises:
            Exception: It cannot be saved.
        """
        import keras
        import tensorflow as tf
        from mlflow.models import ModelSignature
        from mlflow.tensorflow import save_model
        from mlflow.types import Schema, TensorSpec

        *features, target = columns
        folder = self._outbox.room() / "model"
        save_model(
            model,
            folder,
            signature=ModelSignature(
                Schema([TensorSpec(np.dtype("float64"), (-1, 1), name) for name in features]),
                Schema([TensorSpec(np.dtype("float32"), (-1, 1), target)]),
            ),
            input_example=dict(example),
            pip_requirements=[f"tensorflow=={tf.__version__}", f"keras=={keras.__version__}"],
        )
        self._put("model", run_id, path=str(folder))

    def end_run(self, run_id: str, status: str) -> None:
        """End a run as `FINISHED`, `FAILED` or `KILLED`."""
        self._put("end", run_id, status=status, ms=_now())

    def flush(self) -> None:
        """Wait until all records so far are delivered.

        Raises:
            Undelivered: The store does not answer.
            Exception: What MLflow said to a record that it did not take.
        """
        deadline = time.monotonic() + self._wait
        with self._changed:
            self._asked = True
            self._changed.notify_all()
            while self._outbox.pending and self._thread.is_alive():
                if self._gone and time.monotonic() >= deadline:
                    raise self._undelivered()
                self._changed.wait(POLL)
        if self._error:
            raise self._error

    def close(self, wait: float | None = None) -> None:
        """Deliver what is left and end the thread; raises as `flush` does."""
        with self._changed:
            self._closing = True
            self._deadline = time.monotonic() + (self._wait if wait is None else wait)
            gone = self._gone and self._thread.is_alive() and self._deadline > time.monotonic()
            self._changed.notify_all()
        if gone:
            seconds = self._wait if wait is None else wait
            self._say(f"store:  waiting up to {seconds:.0f} s for it; Ctrl-C leaves the records where they are")
        while self._thread.is_alive() and not (self._gone and time.monotonic() > self._deadline + GRACE):
            self._thread.join(POLL)
        outboxes = (self._outbox, *self._left)
        kept = any(outbox.pending for outbox in outboxes)
        if not self._thread.is_alive():
            for outbox in outboxes:
                outbox.close(discard=not outbox.pending)
        self._resources.close()
        if kept:
            raise self._undelivered()
        if self._error:
            raise self._error

    def _put(self, kind: str, run_id: str, **values: object) -> None:
        self._outbox.append({"kind": kind, "run": run_id, **values})

    def _work(self) -> None:
        """Deliver what earlier trackers left, and then, now and then, what has come."""
        try:
            for outbox in self._left:
                self._deliver(outbox)
            while True:
                with self._changed:
                    if not self._closing and not self._asked:
                        self._changed.wait(INTERVAL)
                    closing, self._asked = self._closing, False
                self._deliver(self._outbox)
                if closing:
                    return
        except Undelivered:
            pass
        finally:
            with self._changed:
                self._changed.notify_all()

    def _deliver(self, outbox: Outbox) -> None:
        """Deliver all that is in an outbox; what the store refuses is dropped."""
        while outbox.pending and (records := outbox.take()):
            for call in self._delivery.calls(records):
                self._insist(call, outbox)
            with self._changed:
                outbox.delivered()
                self._changed.notify_all()
        if self._owing and outbox is self._outbox:
            self._owing = False
            self._say("store:  it answers again; all records are delivered")

    def _insist(self, call: Call, outbox: Outbox) -> None:
        """Make a call until the store has answered."""
        pause, attempts = FIRST_PAUSE, 0
        while True:
            try:
                call()
                break
            except Exception as error:
                attempts += 1
                inner = "500 error" in reason(error) and attempts >= ATTEMPTS_AT_ERROR
                if not is_gone(error) or inner:
                    if outbox is self._outbox:
                        self._error = self._error or error
                    else:
                        self._say(f"store:  it refuses a record that was left in {outbox.path}: {reason(error)}")
                    break
                self._pause(pause, error)
                pause = min(pause * 2, LONGEST_PAUSE)
        self._owing, self._gone = self._owing or self._gone, False

    def _pause(self, seconds: float, error: Exception) -> None:
        """Wait before the next attempt; the first time, say so, and the last time, give up."""
        if not self._gone:
            self._gone = True
            self._say(f"store:  it does not answer ({reason(error)}); records are kept in {self._outbox.path.parent}")
        with self._changed:
            was_closing = self._closing
            if time.monotonic() >= self._deadline:
                raise self._undelivered()
            until = time.monotonic() + seconds
            while (left := min(until, self._deadline) - time.monotonic()) > 0 and self._closing == was_closing:
                self._changed.wait(left)

    def _undelivered(self) -> Undelivered:
        return Undelivered(
            f"the store {masked(self._uri)} does not answer; what it has not got is kept in {self._outbox.path}, and "
            "the next `harness train` with this store and runtime.cache delivers it"
        )


def _masked(values: Mapping[str, Any]) -> dict[str, str]:
    return {key: masked(str(value)) for key, value in values.items()}


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
