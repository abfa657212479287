"""A store that is a local file: runs go straight into its tables, many in one transaction.

MLflow makes an object of each metric and asks for a run several times at each call, which takes some thirty times as
long. The tables are MLflow's own definitions; what they do not take is left to its calls, which say why.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlflow.entities import DatasetInput, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.dbmodels.models import (
    SqlDataset,
    SqlInput,
    SqlInputTag,
    SqlLatestMetric,
    SqlMetric,
    SqlParam,
    SqlRun,
    SqlTag,
)
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.tracking import MlflowClient
from mlflow.utils.uri import append_to_uri_path
from mlflow.utils.validation import _validate_dataset_inputs, _validate_param, _validate_tag
from sqlalchemy import Connection, Table, bindparam, select, tuple_, update
from sqlalchemy.dialects.sqlite import insert

_RUNS, _METRICS, _LATEST, _PARAMS, _TAGS, _DATASETS, _INPUTS, _INPUT_TAGS = (
    model.__table__
    for model in (SqlRun, SqlMetric, SqlLatestMetric, SqlParam, SqlTag, SqlDataset, SqlInput, SqlInputTag)
)

_POINTS = (
    f"INSERT INTO {_METRICS.name} (run_uuid, key, value, timestamp, step, is_nan) VALUES (?, ?, ?, ?, ?, 0) "
    "ON CONFLICT DO NOTHING"
)
"""There are so many points that it shows what SQLAlchemy does to each row."""

_ORDER = ("step", "timestamp", "value")
"""Which of a metric's points is the latest, as MLflow has it."""

Point = tuple[str, float, int, int]
"""A metric's name, its value, when it was recorded in milliseconds, and its step."""


@dataclass
class Batch:
    """What a run is to be given at once."""

    metrics: list[Point] = field(default_factory=list)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    inputs: list[DatasetInput] = field(default_factory=list)
    ending: tuple[str, int] | None = None  # status, and when it ended


class LocalStore:
    """Writes to the tables of a store in an SQLite file; what is written again changes nothing."""

    def __init__(self, open_session: Callable[..., Any]) -> None:
        self._open = open_session

    @classmethod
    def of(cls, client: MlflowClient) -> LocalStore | None:
        """Return the store of `client`, if it is one."""
        store = client._tracking_client.store
        if type(store) is SqlAlchemyStore and store.engine.dialect.name == "sqlite":
            return cls(store.ManagedSessionMaker)
        return None

    def start(
        self, experiment_id: str, place: str, runs: Sequence[tuple[str, Mapping[str, str]]], ms: int
    ) -> list[tuple[str, str]]:
        """Start runs.

        Args:
            experiment_id: Theirs.
            place: Where the experiment's artifacts lie.
            runs: Name and tags of each.
            ms: When the last one starts; each starts a millisecond after the one before, so that they stay in order.

        Returns:
            The id of each, and where its artifacts go.
        """
        rows, tags, started = [], [], []
        for number, (name, own) in enumerate(runs):
            run_id = uuid.uuid4().hex
            artifacts = append_to_uri_path(place, run_id, SqlAlchemyStore.ARTIFACTS_FOLDER_NAME)
            rows.append(
                {
                    "run_uuid": run_id,
                    "name": name,
                    "source_type": "UNKNOWN",
                    "source_name": "",
                    "entry_point_name": "",
                    "user_id": own.get("mlflow.user", "unknown"),
                    "status": "RUNNING",
                    "start_time": ms - len(runs) + 1 + number,
                    "source_version": "",
                    "lifecycle_stage": "active",
                    "artifact_uri": artifacts,
                    "experiment_id": int(experiment_id),
                }
            )
            tags += _pairs(run_id, {**own, "mlflow.runName": name})
            started.append((run_id, artifacts))
        with self._open(read_only=False) as session:
            session.connection().execute(insert(_RUNS), rows)
            session.connection().execute(insert(_TAGS), tags)
        return started

    def write(self, batches: Mapping[str, Batch]) -> None:
        """Write what runs are given, all of it or nothing.

        Args:
            batches: By the run's id; of a metric's points at one place only one is kept, as MLflow does.
        """
        metrics, latest, params, tags, endings = [], {}, [], [], []
        for run_id, batch in batches.items():
            for key, value, ms, step in batch.metrics:
                metrics.append((run_id, key, value, ms, step))
                before = latest.get((run_id, key))
                if before is None or (step, ms, value) > before:
                    latest[run_id, key] = step, ms, value
            params += _pairs(run_id, _legal(_validate_param, batch.params))
            tags += _pairs(run_id, _legal(_validate_tag, batch.tags))
            _validate_dataset_inputs(batch.inputs)
            if batch.ending:
                endings.append({"ended": run_id, "status": batch.ending[0], "end_time": batch.ending[1]})
        newest = [
            {"run_uuid": run_id, "key": key, "is_nan": False, **dict(zip(_ORDER, place, strict=True))}
            for (run_id, key), place in latest.items()
        ]
        statements = (
            (insert(_PARAMS).on_conflict_do_nothing(), params),
            (_newest(_LATEST, _ORDER), newest),
            (_newest(_TAGS, ()), tags),
            (update(_RUNS).where(_RUNS.c.run_uuid == bindparam("ended")), endings),
        )
        with self._open(read_only=False) as session:
            connection = session.connection()
            if metrics:
                connection.exec_driver_sql(_POINTS, metrics)
            for statement, rows in statements:
                if rows:
                    connection.execute(statement, rows)
            for run_id, batch in batches.items():
                if batch.inputs:
                    _put_inputs(connection, run_id, batch.inputs)

    def measure(self) -> None:
        """Have the file know how its rows spread, a matter of milliseconds.

        SQLite guesses wrongly without that, and in a store of many runs reads all of a metric to find that of a few,
        for MLflow's pages too.
        """
        with contextlib.suppress(MlflowException), self._open(read_only=False) as session:
            for statement in ("PRAGMA analysis_limit = 400", "ANALYZE"):
                session.connection().exec_driver_sql(statement)


def _put_inputs(connection: Connection, run_id: str, inputs: Sequence[DatasetInput]) -> None:
    """Give a run its datasets; those that its experiment knows by name and digest are taken from there."""
    experiment = connection.execute(select(_RUNS.c.experiment_id).where(_RUNS.c.run_uuid == run_id)).scalar_one()
    for each in inputs:
        data = each.dataset
        key = {"experiment_id": experiment, "name": data.name, "digest": data.digest}
        facts = {f"dataset_{name}": getattr(data, name) for name in ("source_type", "source", "schema", "profile")}
        row = {"dataset_uuid": uuid.uuid4().hex, **key, **facts}
        connection.execute(insert(_DATASETS).on_conflict_do_nothing(), row)
        data_id = connection.execute(select(_DATASETS.c.dataset_uuid).filter_by(**key)).scalar_one()
        edge = {"source_type": "DATASET", "source_id": data_id, "destination_type": "RUN", "destination_id": run_id}
        edge_id = uuid.uuid4().hex
        made = connection.execute(insert(_INPUTS).on_conflict_do_nothing(), {"input_uuid": edge_id, **edge})
        if made.rowcount:  # Else it is there, and its tags with it.
            marks = [{"input_uuid": edge_id, "name": tag.key, "value": tag.value} for tag in each.tags]
            connection.execute(insert(_INPUT_TAGS), marks)


def _newest(table: Table, order: Sequence[str]) -> Any:
    """Return the statement that puts a row in place of the one of its key, unless that is later in `order`."""
    statement = insert(table)
    there, new = table.c, statement.excluded
    return statement.on_conflict_do_update(
        index_elements=[there.key, there.run_uuid],
        set_={column.name: new[column.name] for column in there if not column.primary_key},
        where=tuple_(*(new[name] for name in order)) > tuple_(*(there[name] for name in order)) if order else None,
    )


def _legal(validate: Callable[[str, str], Param | RunTag], values: Mapping[str, str]) -> dict[str, str]:
    """Return params or tags as MLflow takes them: it cuts what is too long."""
    return {thing.key: thing.value for thing in (validate(*pair) for pair in values.items())}


def _pairs(run_id: str, values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"run_uuid": run_id, "key": key, "value": value} for key, value in values.items()]
