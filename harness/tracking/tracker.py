"""The only module that writes to MLflow. Records go to a file and a thread delivers them, so training never waits."""

from __future__ import annotations

import contextlib
import functools
import math
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow.entities import RunTag
from mlflow.exceptions import MlflowException

from harness.data.statistics import Column
from harness.errors import ConfigError
from harness.runtime.environment import default_environment
from harness.runtime.secrets import masked, masked_patch, masked_value
from harness.runtime.state_files import require_own_folders
from harness.tracking._compat_sqlite import LocalStore
from harness.tracking.clock import Clock, newest_start
from harness.tracking.connections import REQUESTS_AT_ONCE
from harness.tracking.dataset_record import dataset_inputs
from harness.tracking.lease_session import LeaseSession
from harness.tracking.mlflow_calls import MlflowCalls
from harness.tracking.model_saver import ModelSaver, RawModel
from harness.tracking.outbox import StoreUnreachable, leftover_outboxes, new_outbox
from harness.tracking.own_code import OwnCode
from harness.tracking.point_ledger import PointLedger, Steps
from harness.tracking.record_buffer import RecordBuffer
from harness.tracking.records import Record
from harness.tracking.sender import Sender
from harness.tracking.source_tags import source_tags
from harness.tracking.store import FIRST_CONTACT, open_store
from harness.tracking.store_errors import is_unreachable
from harness.tracking.store_identity import keep_identity
from harness.tracking.uri import sqlite_path

_PATIENCE = FIRST_CONTACT | {"MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
"""Timeouts for a slow or unreachable server; training does not wait for it."""


class Tracker:
    """Writes runs of one MLflow experiment; everything except starting a run happens in the background.

    Attributes:
        uri: MLflow's tracking URI.
        store: Identity of the store, however it is addressed.
        experiment_id: The experiment's id.
        buffer: Passes records on, and can hold them back.
        points: Keeps points from being recorded twice.
        say: Called with messages for the user.
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
        """Connect to the store, and start delivering the records that earlier processes could not deliver.

        Args:
            uri: MLflow's tracking URI; a local store is created if it does not exist.
            experiment: Name of the experiment, created if it does not exist.
            folder: Folder for undelivered records; by default a temporary one.
            wait: Seconds that `flush` and `close` wait for an unreachable store.
            say: Called with a message when the store becomes unreachable, and when it is reachable again.
            use_tables: Whether to write directly to the tables of a local store; if False, use only MLflow's client.

        Raises:
            ConfigError: The store is unreachable, or the experiment was deleted.
        """
        self.uri, self.say = uri, say
        self._models = ModelSaver()
        self._client, self.experiment_id = open_store(uri, experiment)
        with contextlib.ExitStack() as resources:
            resources.enter_context(default_environment(_PATIENCE))
            self._clock = Clock(newest_start(self._client))
            self.store = keep_identity(uri, self._client)
            folder = folder or Path(resources.enter_context(tempfile.TemporaryDirectory()))
            folder.mkdir(parents=True, exist_ok=True)
            require_own_folders("runtime.cache", folder.parent, folder)
            self._outbox = new_outbox(folder, self.store)
            self._resources = resources.pop_all()
        self.buffer = RecordBuffer(self._outbox)
        self.points = PointLedger()
        self._recorded_params: dict[str, set[str]] = {}
        at_once = 1 if sqlite_path(uri) else REQUESTS_AT_ONCE
        self._calls = MlflowCalls(self._client, LocalStore.at(uri) if use_tables else None, at_once)
        find_leftovers = functools.partial(leftover_outboxes, folder, self.store, say)
        self._session: LeaseSession | None = None
        self._recording: list[Callable[[], object]] = []
        self._sender = Sender(self._outbox, find_leftovers, self._calls, uri, wait=wait, say=say)

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, kind: type | None, error: object, traceback: object) -> None:
        if kind is None:
            self.close()
            return
        try:
            self.close(wait=0)
        except StoreUnreachable as unreachable:
            self.say(f"store:  {unreachable}")
        except Exception:  # Report the error that ended the block instead.
            pass

    def stop_first(self, stop: Callable[[], object]) -> None:
        """Call `stop`, which ends a thread that records, before the outbox is closed."""
        self._recording.append(stop)

    def require(self, session: LeaseSession) -> None:
        """From now on, write only while `session` is known not to have been ended."""
        self._session = session
        self._calls.check = session.check

    def check_lease(self) -> None:
        """Check briefly that no other process has taken over; raises `LeaseLost`."""
        if self._session:
            self._session.check_briefly()

    def has_lease(self) -> bool:
        """Return True if no other process has taken over, False while the store cannot be asked; raises `LeaseLost`."""
        try:
            if self._session:
                self._session.check()
        except Exception as error:
            if not is_unreachable(error):
                raise
            return False
        return True

    def start_runs(self, runs: Sequence[tuple[str, Mapping[str, Any], Mapping[str, str]]]) -> list[str]:
        """Start runs, each described by name, params and tags, and return their ids."""
        named = [(masked(name), source_tags() | _masked(tags)) for name, _, tags in runs]
        ids = self._calls.start(self.experiment_id, named, self._clock.after(len(runs)))
        for run_id, (_, params, _) in zip(ids, runs, strict=True):
            self.log_params(run_id, params)
        return ids

    def start_run(self, name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        """Start one run and return its id."""
        return self.start_runs([(name, params, tags)])[0]

    def resume_run(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags of an ended run, then its status back to running.

        Raises:
            ConfigError: The run is not in the store.
            LeaseLost: Another process may have taken over the run.
        """
        self._calls.check()
        try:
            self._client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])
            self._client.update_run(run_id, status="RUNNING")
        except MlflowException as error:
            raise ConfigError(
                f"tracking.uri: {masked(self.uri)} does not contain run {run_id}, which belongs to the sweep in this "
                "folder. Use the store that the sweep started with, or another hydra.sweep.dir."
            ) from error

    def set_recorded(self, run_id: str, params: Mapping[str, str], steps: Steps) -> None:
        """From now on, leave out what the store already has of a resumed run."""
        self._recorded_params[run_id] = set(params)
        self.points.set_stored(run_id, steps)

    def log_params(self, run_id: str, params: Mapping[str, Any]) -> None:
        """Record params; a param cannot be changed later."""
        recorded = self._recorded_params.get(run_id, ())
        self._put("params", run_id, values=_masked({key: params[key] for key in params if key not in recorded}))

    def log(self, run_id: str, metrics: Mapping[str, float], step: int = 0) -> None:
        """Record metrics at one step, except non-finite values, which break MLflow's pages."""
        values = {key: float(value) for key, value in metrics.items() if math.isfinite(value)}
        new = {key: value for key, value in values.items() if self.points.add(run_id, key, [(int(step), value)])}
        if new:
            self._put("metrics", run_id, values=new, step=int(step), ms=self._clock.now())

    def log_curve(self, run_id: str, key: str, steps: Iterable[int], values: Iterable[float]) -> None:
        """Record one metric at many steps."""
        pairs = zip(steps, values, strict=True)
        points = [(int(step), float(value)) for step, value in pairs if math.isfinite(value)]
        if points := self.points.add(run_id, key, points):
            self._put("curve", run_id, key=key, points=points, ms=self._clock.now())

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
        copy = Path(shutil.copy2(path, self._outbox.new_folder()))
        self._put("artifact", run_id, path=self._outbox.own(copy), folder=folder)

    def log_dataset(
        self, run_id: str, name: str, address: str, digest: str, columns: Sequence[Column], rows: Mapping[str, int]
    ) -> None:
        """Record what a run was trained on; `rows` holds the row counts of `training`, `holdout` and `test`."""
        self._put("dataset", run_id, inputs=dataset_inputs(masked(name), masked(address), digest, columns, rows))

    def prepare_models(self) -> None:
        """Start the slow part of the first `log_model` in the background."""
        self._models.prepare()

    def log_model(self, run_id: str, model: RawModel) -> OwnCode:
        """Store a run's model, and return the code that is stored with it."""
        folder = self._outbox.new_folder() / "model"
        code = self._models.save(folder, model)
        self._put("model", run_id, path=self._outbox.own(folder))
        return code

    def end_run(self, run_id: str, status: str) -> None:
        """End a run as `FINISHED`, `FAILED` or `KILLED`."""
        self._put("end", run_id, status=status, ms=self._clock.now())

    def send_again(self, records: Iterable[Record]) -> None:
        """Send the records of a checkpoint, except what the store already has, and wait until they are delivered.

        Another process may have continued the runs since then, with its own timestamps.
        """
        stored = self._calls.stored_points(self.uri)
        stored.read(records)
        self.buffer.release(stored.without(records))
        self.flush()

    def deliver_leftovers(self) -> None:
        """Wait until records left behind by other processes are delivered.

        Raises:
            StoreUnreachable: The store stays unreachable.
        """
        self._sender.deliver_leftovers()

    def flush(self) -> None:
        """Wait until all records added so far are delivered.

        Raises:
            StoreUnreachable: The store stays unreachable.
            RecordRejected: A record could not be delivered for another reason.
        """
        self._sender.flush()

    def close(self, wait: float | None = None) -> None:
        """Deliver the remaining records and end the thread; raises the same errors as `flush`.

        Args:
            wait: Seconds to wait for an unreachable store; by default, the value passed to the constructor.
        """
        with self._resources:
            for stop in self._recording:
                stop()
            self._sender.close(wait)
            self._calls.end()

    def _put(self, kind: str, run_id: str, **values: object) -> None:
        self.buffer.append({"kind": kind, "run": run_id, **values})


def _masked(values: Mapping[str, Any]) -> dict[str, str]:
    return {key: masked_value(key, value) for key, value in values.items()}
