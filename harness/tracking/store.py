"""Reaching a tracking store, opening an experiment in it, and telling a store that is gone from one that refuses."""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import logging
import os
import re
import sqlite3
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import requests
import sqlalchemy.exc
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from harness.errors import ConfigError, require
from harness.runtime.secrets import masked

# A server's store would have two lines printed for each run that ends.
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")

FIRST_CONTACT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
"""MLflow's own patience with a server, of minutes, is for a program that has nothing else to do."""

_SQLITE = "sqlite:///"
_GONE = (
    requests.exceptions.ConnectionError,
    requests.exceptions.Timeout,
    requests.exceptions.RetryError,
    requests.exceptions.ChunkedEncodingError,
    sqlalchemy.exc.OperationalError,
    sqlalchemy.exc.InterfaceError,
    ConnectionError,
    TimeoutError,
)
_EXPERIMENT_TAGS = {
    # The UI shows runs and charts first, not traces.
    "mlflow.experimentKind": "custom_model_development",
    "mlflow.experiment.primaryMetric.name": "val/loss",
    "mlflow.experiment.primaryMetric.greaterIsBetter": "false",
}


def open_store(uri: str, experiment: str) -> tuple[MlflowClient, str]:
    """Reach the store, making it if it is a local file that is not there.

    Args:
        uri: MLflow's tracking URI.
        experiment: Name of the experiment, made where there is none.

    Returns:
        A client, and the experiment's id.

    Raises:
        ConfigError: The store does not answer, or the experiment was deleted.
    """
    require(bool(experiment.strip()), "tracking.experiment expected a name", repr(experiment))
    for name, level in (("mlflow", "WARNING"), ("alembic", "WARNING"), ("mlflow.store.db.utils", "CRITICAL")):
        logging.getLogger(name).setLevel(level)
    try:
        with _first_contact(uri):
            client = MlflowClient(uri)
            return client, _open_experiment(client, uri, experiment)
    except ConfigError:
        raise
    except Exception as error:
        # Whatever MLflow, SQLAlchemy or a driver that is not installed says, there is no store to write to.
        received = f"{masked(uri)} ({reason(error)})"
        raise ConfigError(f"tracking.uri expected a store that answers. Received: {received}.") from error


def close_connections() -> None:
    """Close this process's connections to databases."""
    module = sys.modules.get("mlflow.store.tracking.sqlalchemy_store")
    if module:  # It is not there where all stores are servers.
        for engine in module.SqlAlchemyStore._engine_map.values():
            engine.dispose()


# MLflow closes none, and SQLite keeps a `-wal` and a `-shm` file beside a store with an open connection.
atexit.register(close_connections)


def reason(error: BaseException) -> str:
    """Return the first line of what is at the bottom of an error, without a password."""
    *_, bottom = _chain(error)
    return masked((str(bottom).strip().splitlines() or [type(bottom).__name__])[0].rstrip("."))


def is_gone(error: BaseException) -> bool:
    """Whether an error says that a store does not answer now, so that the same call may succeed later."""
    unavailable = isinstance(error, MlflowException) and error.get_http_status_code() in (408, 429, 502, 503, 504)
    return unavailable or any(isinstance(cause, _GONE) for cause in _chain(error))


def is_clash(error: BaseException) -> bool:
    """Whether an error says that another process has just written what a call wanted to; made again, it finds it."""
    return any(word in reason(error) for word in ("UNIQUE constraint", "duplicate key", "Duplicate entry"))


def is_stuck(error: BaseException) -> bool:
    """Whether an error says that a store cannot write, which waiting alone will not mend."""
    return any(word in reason(error) for word in ("disk is full", "readonly database", "No space left", "Read-only"))


@contextlib.contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set those of the environment's variables that nobody has set, and take them back."""
    mine = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(mine)
    try:
        yield
    finally:
        for name in mine:
            os.environ.pop(name, None)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what caused it, down to the bottom."""
    yield error
    while (cause := error.__cause__ or error.__context__) and not isinstance(cause, KeyError):
        error = cause
        yield error


@contextlib.contextmanager
def _first_contact(uri: str) -> Iterator[None]:
    """Ask a server twice only; make a local store one process at a time, in the mode that lets others read."""
    if not uri.startswith(_SQLITE):
        with environment(FIRST_CONTACT):
            yield
        return
    import fcntl

    path = Path(uri.removeprefix(_SQLITE))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(path.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            _make(path)
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA schema_version")  # It fails at once where MLflow would try for minutes.
        yield


def _folder_name(name: str) -> str:
    """Return a folder's name for an experiment: its own, or a like one where that would lead elsewhere."""
    like = re.sub(r"[^\w .-]", "_", name)
    if like == name and name.strip(". "):
        return name
    return f"{like.strip('. ')[:100]}-{hashlib.blake2b(name.encode(), digest_size=4).hexdigest()}"


def _make(path: Path) -> None:
    """Make a local store whole or not at all: one that MLflow was killed in the making of would never open."""
    aside = path.with_name(path.name + ".new")
    for leftover in path.parent.glob(aside.name + "*"):
        leftover.unlink()
    with contextlib.closing(sqlite3.connect(aside)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    MlflowClient(f"{_SQLITE}{aside}")._tracking_client.store.engine.dispose()
    with contextlib.closing(sqlite3.connect(aside)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    aside.replace(path)


def _open_experiment(client: MlflowClient, uri: str, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is None:
        location = None
        if uri.startswith(_SQLITE):
            location = (Path(uri.removeprefix(_SQLITE)).parent / "mlartifacts" / _folder_name(name)).as_uri()
        experiment_id = client.create_experiment(name, artifact_location=location)
        for key, value in _EXPERIMENT_TAGS.items():
            client.set_experiment_tag(experiment_id, key, value)
        return experiment_id
    if found.lifecycle_stage != "active":
        raise ConfigError(
            f"tracking.experiment expected one that is not deleted. Received: {name!r}. "
            f"Restore it with `mlflow experiments restore -x {found.experiment_id}`, or use another name."
        )
    return found.experiment_id
