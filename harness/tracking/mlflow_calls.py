"""What the records of an outbox are as calls to MLflow: few, each harmless if it is made once more."""

from __future__ import annotations

import functools
import itertools
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelOutput, Metric, Param, RunTag
from mlflow.models import Model
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient

from harness.tracking._compat_sqlite import Batch, LocalStore
from harness.tracking.outbox import Record
from harness.tracking.store import is_gone

METRICS, PARAMS, TAGS = 800, 100, 100
"""What one request may carry; MLflow takes a thousand things together."""

Call = Callable[[], object]


class MlflowCalls:
    """Turns records into calls."""

    def __init__(self, client: MlflowClient, uri: str) -> None:
        self._client, self._uri = client, uri
        self._local = LocalStore.of(client)
        self._places: dict[str, str] = {}

    def start(self, experiment_id: str, runs: Sequence[tuple[str, Mapping[str, str]]]) -> list[str]:
        """Start runs of the names and with the tags that are given, and return their ids."""
        started = self._start_locally(experiment_id, runs)
        if not started:
            made = [self._client.create_run(experiment_id, run_name=name, tags=dict(tags)) for name, tags in runs]
            started = [(run.info.run_id, run.info.artifact_uri or "") for run in made]
        self._places |= started  # The store need not be asked for them.
        return [run_id for run_id, _ in started]

    def calls(self, records: Sequence[Record]) -> Iterator[Call]:
        """Yield the calls that deliver `records`, each to be made before the next is asked for.

        Those of a run are in its records' order, but its ending is last.
        """
        batches: dict[str, Batch] = defaultdict(Batch)
        for record in records:
            kind, batch = record["kind"], batches[record["run"]]
            if kind == "metrics":
                batch.metrics += [(key, value, record["ms"], record["step"]) for key, value in record["values"].items()]
            elif kind == "curve":
                batch.metrics += [(record["key"], value, record["ms"], step) for step, value in record["points"]]
            elif kind in ("params", "tags"):
                getattr(batch, kind).update(record["values"])
            elif kind == "dataset":
                batch.inputs += [
                    DatasetInput(Dataset(**entry["dataset"]), [InputTag("mlflow.data.context", entry["context"])])
                    for entry in record["inputs"]
                ]
            elif kind == "end":
                batch.ending = record["status"], record["ms"]
            else:
                yield functools.partial(getattr(self, f"_{kind}"), record)
        if self._local:
            refused: list[Exception] = []
            yield functools.partial(_write, self._local, batches, refused)
            if not refused:
                return
        for run_id, batch in batches.items():
            yield from self._batches(run_id, batch)

    def _start_locally(self, experiment_id: str, runs: Sequence[tuple[str, Mapping[str, str]]]) -> list:
        if not self._local or not runs:
            return []
        place = self._client.get_experiment(experiment_id).artifact_location
        try:
            return self._local.start(experiment_id, place, runs, int(time.time() * 1000))
        except Exception as error:
            if is_gone(error):
                raise
            self._local = None  # These are not the tables that we know.
            return []

    def end(self) -> None:
        """Leave the store in good order."""
        if self._local:
            self._local.measure()

    def _batches(self, run_id: str, batch: Batch) -> Iterator[Call]:
        points = [Metric(*point) for point in batch.metrics]
        metrics = _slices(points, METRICS)
        params = _slices([Param(*pair) for pair in batch.params.items()], PARAMS)
        tags = _slices([RunTag(*pair) for pair in batch.tags.items()], TAGS)
        for some in itertools.zip_longest(metrics, params, tags, fillvalue=()):
            yield functools.partial(
                self._client.log_batch, run_id, **dict(zip(("metrics", "params", "tags"), some, strict=True))
            )
        if batch.inputs:
            yield functools.partial(self._client.log_inputs, run_id, datasets=batch.inputs)
        if batch.ending:
            yield functools.partial(self._client.set_terminated, run_id, *batch.ending)

    def _text(self, record: Record) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / record["file"]
            path.write_text(record["text"])
            self._artifacts(record["run"]).log_artifact(str(path))

    def _artifact(self, record: Record) -> None:
        self._artifacts(record["run"]).log_artifact(record["path"], record["folder"])

    def _model(self, record: Record) -> None:
        """Upload a saved model; what an earlier attempt came to is gone on with."""
        run_id, folder = record["run"], Path(record["path"])
        run = self._client.get_run(run_id)
        known = run.outputs.model_outputs if run.outputs else []
        condition = f"source_run_id = '{run_id}'"
        found = self._client.search_logged_models([run.info.experiment_id], condition, max_results=1)
        model = (
            found[0]
            if found
            else self._client.create_logged_model(
                run.info.experiment_id, "model", source_run_id=run_id, params=run.data.params
            )
        )
        manifest = Model.load(str(folder))
        manifest.run_id, manifest.artifact_path = run_id, model.artifact_location
        manifest.model_id = manifest.model_uuid = model.model_id
        manifest.save(str(folder / "MLmodel"))
        self._client.log_model_artifacts(model.model_id, str(folder))
        if model.model_id not in [output.model_id for output in known]:
            self._client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
        self._client.finalize_logged_model(model.model_id, "READY")

    def _experiment(self, record: Record) -> None:
        self._client.set_experiment_tag(record["experiment"], record["key"], record["value"])

    def _artifacts(self, run_id: str) -> Any:
        if run_id not in self._places:
            self._places[run_id] = self._client.get_run(run_id).info.artifact_uri or ""
        return get_artifact_repository(self._places[run_id], self._uri)


def _slices(things: list, length: int) -> Iterator[list]:
    return (things[start : start + length] for start in range(0, len(things), length))


def _write(store: LocalStore, batches: Mapping[str, Batch], refused: list[Exception]) -> None:
    """Write all of a round at once; what is wrong with one of its runs is for MLflow's own calls to say."""
    try:
        store.write(batches)
    except Exception as error:
        if is_gone(error):
            raise
        refused.append(error)
