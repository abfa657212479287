"""What the records of an outbox are as calls to MLflow: few, each harmless if it is made once more."""

from __future__ import annotations

import functools
import itertools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelOutput, Metric, Param, RunTag
from mlflow.models import Model
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient

from harness.outbox import Record

METRICS, PARAMS, TAGS = 800, 100, 100
"""What one request may carry; MLflow takes a thousand things together."""

Call = Callable[[], object]


@dataclass
class _Batch:
    """What a run's records of a round add up to."""

    metrics: list[Metric] = field(default_factory=list)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


class Delivery:
    """Turns records into calls."""

    def __init__(self, client: MlflowClient, uri: str) -> None:
        self._client, self._uri = client, uri
        self._places: dict[str, str] = {}

    def place(self, run_id: str, artifact_uri: str) -> None:
        """Tell where a run's artifacts go, so that the store need not be asked."""
        self._places[run_id] = artifact_uri

    def calls(self, records: Sequence[Record]) -> Iterator[Call]:
        """Yield the calls that deliver `records`; those of a run are in its records' order, and its ending is last."""
        batches: dict[str, _Batch] = {}
        for record in records:
            kind, run_id = record["kind"], record["run"]
            batch = batches.setdefault(run_id, _Batch())
            if kind == "metrics":
                for key, value in record["values"].items():
                    batch.metrics.append(Metric(key, value, record["ms"], record["step"]))
            elif kind == "curve":
                key, time = record["key"], record["ms"]
                batch.metrics += [Metric(key, value, time, step) for step, value in record["points"]]
            elif kind in ("params", "tags"):
                getattr(batch, kind).update(record["values"])
            else:
                if kind == "end":
                    yield from self._batches(run_id, batches.pop(run_id))
                yield functools.partial(getattr(self, f"_{kind}"), record)
        for run_id, batch in batches.items():
            yield from self._batches(run_id, batch)

    def _batches(self, run_id: str, batch: _Batch) -> Iterator[Call]:
        metrics = _slices(batch.metrics, METRICS)
        params = _slices([Param(*pair) for pair in batch.params.items()], PARAMS)
        tags = _slices([RunTag(*pair) for pair in batch.tags.items()], TAGS)
        for some in itertools.zip_longest(metrics, params, tags, fillvalue=()):
            yield functools.partial(
                self._client.log_batch, run_id, **dict(zip(("metrics", "params", "tags"), some, strict=True))
            )

    def _text(self, record: Record) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / record["file"]
            path.write_text(record["text"])
            self._artifacts(record["run"]).log_artifact(str(path))

    def _artifact(self, record: Record) -> None:
        self._artifacts(record["run"]).log_artifact(record["path"], record["folder"])

    def _dataset(self, record: Record) -> None:
        inputs = [
            DatasetInput(Dataset(**entry["dataset"]), [InputTag("mlflow.data.context", entry["context"])])
            for entry in record["inputs"]
        ]
        self._client.log_inputs(record["run"], datasets=inputs)

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

    def _end(self, record: Record) -> None:
        self._client.set_terminated(record["run"], record["status"], record["ms"])

    def _artifacts(self, run_id: str) -> Any:
        if run_id not in self._places:
            self._places[run_id] = self._client.get_run(run_id).info.artifact_uri or ""
        return get_artifact_repository(self._places[run_id], self._uri)


def _slices(things: list, length: int) -> Iterator[list]:
    return (things[start : start + length] for start in range(0, len(things), length))
