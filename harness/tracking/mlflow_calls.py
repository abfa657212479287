"""Turns the records of an outbox into a few idempotent calls to MLflow."""

from __future__ import annotations

import contextlib
import functools
import itertools
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import yaml
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelOutput, Metric, Param, RunTag
from mlflow.models import Model
from mlflow.tracking import MlflowClient

from harness.runtime.state_files import StateError
from harness.tracking._compat_sqlite import Batch, LocalStore, Unsupported
from harness.tracking.outbox import Outbox
from harness.tracking.records import Record
from harness.tracking.stored_points import StoredPoints

METRICS, PARAMS, TAGS = 800, 100, 100
"""Maximum entries per request; MLflow accepts a thousand in total."""

ONE_BY_ONE = ("text", "artifact", "model", "experiment")
"""Kinds of records that need a call each; all others are sent in batches."""

Call = Callable[[], object]


class Delivery(NamedTuple):
    """The calls that deliver some records; each attempt creates new ones."""

    records: list[Record]
    calls: Callable[[], Iterable[Call]]


class MlflowCalls:
    """Delivers records; if possible, writes those for a local store directly to its tables.

    Attributes:
        at_once: Maximum number of concurrent deliveries.
        check: Called before each call to MLflow's client; raises an error if this process may no longer write.
    """

    def __init__(self, client: MlflowClient, local: LocalStore | None, at_once: int = 1) -> None:
        self._client, self._local, self.at_once = client, local, at_once
        self.check: Callable[[], None] = lambda: None

    def start(self, experiment_id: str, runs: Sequence[tuple[str, Mapping[str, str]]], ms: int) -> list[str]:
        """Start runs with these names and tags, and return their ids.

        The last run starts at `ms`, and the others before it, one millisecond apart, which preserves their order.
        """
        if self._local and runs:
            location = self._client.get_experiment(experiment_id).artifact_location
            with contextlib.suppress(Unsupported):
                return self._local.start(experiment_id, location, runs, ms)

        def create(start: int, run: tuple[str, Mapping[str, str]]) -> str:
            self.check()
            return self._client.create_run(experiment_id, start, dict(run[1]), run[0]).info.run_id

        with ThreadPoolExecutor(self.at_once) as pool:
            return [*pool.map(create, range(ms - len(runs) + 1, ms + 1), runs)]

    def make_at_once(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Make deliveries concurrently until one fails; return those that failed or were not tried."""
        failed = [True] * len(deliveries)
        order = iter(range(len(deliveries)))  # Each thread takes the next delivery.
        has_failed = threading.Event()

        def make_some() -> None:
            for index in order:
                if has_failed.is_set():
                    return
                try:
                    for call in deliveries[index].calls():
                        call()
                    failed[index] = False
                except Exception:  # The next attempt handles the error.
                    has_failed.set()

        # Daemon threads, so that a process that gives up does not wait for a hanging server.
        threads = [threading.Thread(target=make_some, daemon=True) for _ in range(self.at_once)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return list(itertools.compress(deliveries, failed))

    def deliveries(self, records: Sequence[Record], outbox: Outbox, *, is_own: bool) -> Iterator[list[Delivery]]:
        """Yield lists of deliveries of `records`; finish each list, in any order, before requesting the next.

        A run's records keep their order, except that its end comes last.

        Args:
            records: Either only records of files and experiments, or only other records.
            outbox: The outbox of the records, which holds their files.
            is_own: Whether this process wrote them.
        """
        batches: dict[str, Batch] = defaultdict(Batch)
        of_run: dict[str, list[Record]] = defaultdict(list)
        single: dict[str, list[Record]] = defaultdict(list)
        for record in records:
            if record["kind"] in ONE_BY_ONE:
                single[record["run"]].append(record)
            else:
                _add(batches[record["run"]], record)
                of_run[record["run"]].append(record)
        if single:
            yield [
                Delivery(some, functools.partial(self._one_by_one, some, outbox, is_own)) for some in single.values()
            ]
        unwritten = dict(batches)
        if self._local and batches:
            together = [record for some in of_run.values() for record in some]
            write = functools.partial(_write, self._local, unwritten)
            yield [Delivery(together, lambda: [write])]
        if unwritten:
            yield [
                Delivery(of_run[run_id], functools.partial(self._requests, run_id, batch))
                for run_id, batch in unwritten.items()
            ]

    def stored_points(self, uri: str) -> StoredPoints:
        """Return an object that leaves out points that the store at `uri` already has."""
        return StoredPoints(self._client, uri)

    def end(self) -> None:
        """Optimize a local store for reading."""
        if self._local:
            self._local.analyze()

    def _requests(self, run_id: str, batch: Batch) -> Iterator[Call]:
        metrics = _slices([Metric(*point) for point in batch.metrics], METRICS)
        params = _slices([Param(*pair) for pair in batch.params.items()], PARAMS)
        tags = _slices([RunTag(*pair) for pair in batch.tags.items()], TAGS)
        for some in itertools.zip_longest(metrics, params, tags, fillvalue=()):
            entries = dict(zip(("metrics", "params", "tags"), some, strict=True))
            yield self._checked(self._client.log_batch, run_id, **entries)
        if batch.inputs:
            yield self._checked(self._client.log_inputs, run_id, datasets=batch.inputs)
        if batch.ending:
            yield self._checked(self._client.set_terminated, run_id, *batch.ending)

    def _checked(self, function: Callable[..., object], *values: object, **named: object) -> Call:
        def call() -> None:
            self.check()
            function(*values, **named)

        return call

    def _one_by_one(self, records: Sequence[Record], outbox: Outbox, is_own: bool) -> Iterator[Call]:
        for record in records:
            yield self._checked(self._deliver, record, outbox, is_own)

    def _deliver(self, record: Record, outbox: Outbox, is_own: bool) -> None:
        run_id = record["run"]
        if record["kind"] == "experiment":
            self._client.set_experiment_tag(record["experiment"], record["key"], record["value"])
            return
        if not is_own:
            self._require_place(run_id)
        match record["kind"]:
            case "text":
                self._client.log_text(run_id, record["text"], record["file"])
            case "artifact":
                self._client.log_artifact(run_id, str(outbox.file_of(record["path"])), record["folder"] or None)
            case "model":
                self._upload_model(run_id, outbox.file_of(record["path"]))

    def _require_place(self, run_id: str) -> None:
        """Raise `StateError` unless a run's artifacts are in its experiment's folder, where MLflow puts them."""
        info = self._client.get_run(run_id).info
        place = self._client.get_experiment(info.experiment_id).artifact_location.rstrip("/")
        if not (info.artifact_uri or "").startswith(f"{place}/") or "/../" in (info.artifact_uri or ""):
            raise StateError(f"The artifacts of run {run_id} are not in the folder of its experiment.")

    def _upload_model(self, run_id: str, folder: Path) -> None:
        """Upload a saved model, or continue an earlier upload."""
        run = self._client.get_run(run_id)
        known = run.outputs.model_outputs if run.outputs else []
        condition = f"source_run_id = '{run_id}'"
        found = self._client.search_logged_models([run.info.experiment_id], condition, max_results=1)
        if found:
            model = found[0]
        else:
            options = {"source_run_id": run_id, "params": run.data.params}
            model = self._client.create_logged_model(run.info.experiment_id, "model", **options)
        # `Model.load` would read the folder's path as part of a URL.
        manifest = Model.from_dict(yaml.safe_load((folder / "MLmodel").read_text()))
        manifest.run_id, manifest.artifact_path = run_id, model.artifact_location
        manifest.model_id = manifest.model_uuid = model.model_id
        manifest.save(str(folder / "MLmodel"))
        self._client.log_model_artifacts(model.model_id, str(folder))
        if model.model_id not in [output.model_id for output in known]:
            self._client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
        self._client.finalize_logged_model(model.model_id, "READY")


def _add(batch: Batch, record: Record) -> None:
    match record["kind"]:
        case "metrics":
            batch.metrics += [(key, value, record["ms"], record["step"]) for key, value in record["values"].items()]
        case "curve":
            batch.metrics += [(record["key"], value, record["ms"], step) for step, value in record["points"]]
        case "params":
            batch.params.update(record["values"])
        case "tags":
            batch.tags.update(record["values"])
        case "dataset":
            batch.inputs += [
                DatasetInput(Dataset(**entry["dataset"]), [InputTag("mlflow.data.context", entry["context"])])
                for entry in record["inputs"]
            ]
        case "end":
            batch.ending = record["status"], record["ms"]


def _slices(things: list, length: int) -> Iterator[list]:
    return (things[start : start + length] for start in range(0, len(things), length))


def _write(store: LocalStore, batches: dict[str, Batch]) -> None:
    """Write all batches at once or, if that fails, one by one; those that need MLflow's client stay in `batches`."""
    try:
        store.write(batches)
        batches.clear()
    except Unsupported:
        for run_id in list(batches):
            with contextlib.suppress(Unsupported):
                store.write({run_id: batches[run_id]})
                del batches[run_id]
