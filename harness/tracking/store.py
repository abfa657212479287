"""Opens a tracking store and an experiment in it."""

from __future__ import annotations

import contextlib
import hashlib
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from harness.config.metrics import greater_is_better
from harness.errors import ConfigError, require
from harness.runtime.environment import default_environment
from harness.runtime.secrets import masked
from harness.tracking._compat_default_experiment import default_artifacts
from harness.tracking._compat_server_version import require_new_enough
from harness.tracking.client import client_of
from harness.tracking.store_errors import reason
from harness.tracking.uri import sqlite_path, sqlite_uri

FIRST_CONTACT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
"""Replaces MLflow's default of several minutes, which is too long while a user is waiting."""

LONGEST_FOLDER_NAME = 200
"""In bytes; file systems allow 255."""

_EXPERIMENT_TAGS = {
    # Makes the UI open on runs and charts instead of traces.
    "mlflow.experimentKind": "custom_model_development",
}


def primary_metric(metric: str) -> dict[str, str]:
    """Return the tags of the experiment that tell the UI which metric to judge runs by."""
    return {
        "mlflow.experiment.primaryMetric.name": metric,
        "mlflow.experiment.primaryMetric.greaterIsBetter": str(greater_is_better(metric)).lower(),
    }


def open_store(uri: str, experiment: str) -> tuple[MlflowClient, str]:
    """Connect to the store and open an experiment, creating either if it does not exist.

    Only a local store is created.

    Returns:
        A client, and the experiment's id.

    Raises:
        ConfigError: The store is unreachable, or the experiment was deleted.
    """
    require(bool(experiment.strip()), f"tracking.experiment: {experiment!r} is not a valid name.")
    try:
        with _first_contact(uri):
            client = client_of(uri)
            require_new_enough(uri)
            experiment_id = _open_experiment(client, uri, experiment)
            if sqlite_path(uri) is None:
                _require_permission(client, experiment_id)
            return client, experiment_id
    except ConfigError:
        raise
    except Exception as error:
        # MLflow, SQLAlchemy and database drivers raise many types of errors here.
        raise ConfigError(f"tracking.uri: cannot open the tracking store {masked(uri)} ({reason(error)}).") from error


@contextlib.contextmanager
def _first_contact(uri: str) -> Iterator[None]:
    """Fail fast if a server is unreachable; only one process at a time may create or open a local store."""
    path = sqlite_path(uri)
    if path is None:
        with default_environment(FIRST_CONTACT):
            yield
        return
    above = next(folder for folder in path.parents if folder.exists())
    require(above.is_dir(), f"tracking.uri: {above} is not a folder.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(path.name + ".lock")):
        if not path.exists():
            _create(path)
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA schema_version")  # Fails immediately, whereas MLflow would retry for minutes.
        yield


def _create(path: Path) -> None:
    """Create a local store under another name, then rename it, because MLflow cannot open an incomplete store."""
    draft = path.with_name(path.name + ".new")
    for leftover in path.parent.glob(draft.name + "*"):
        leftover.unlink()
    with contextlib.closing(sqlite3.connect(draft)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")  # Others can read while a run is being written.
    with default_artifacts(path.parent / "mlruns"):
        client_of(sqlite_uri(draft)).search_experiments(max_results=1)
    with contextlib.closing(sqlite3.connect(draft)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # Only the file itself is renamed.
    draft.replace(path)


def _open_experiment(client: MlflowClient, uri: str, name: str) -> str:
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        path = sqlite_path(uri)
        location = (path.parent / "mlartifacts" / _folder_name(name)).as_uri() if path else None
        try:
            experiment_id = client.create_experiment(name, artifact_location=location)
        except MlflowException:
            if client.get_experiment_by_name(name):  # Another process has just created it on the same server.
                return _open_experiment(client, uri, name)
            raise
        for key, value in {**_EXPERIMENT_TAGS, **primary_metric("val/loss")}.items():
            client.set_experiment_tag(experiment_id, key, value)
        return experiment_id
    require(
        experiment.lifecycle_stage == "active",
        f"tracking.experiment: {name!r} was deleted. Restore it with "
        f"`mlflow experiments restore -x {experiment.experiment_id}`, or use another name.",
    )
    return experiment.experiment_id


def _require_permission(client: MlflowClient, experiment_id: str) -> None:
    """Set a tag of the experiment to its current value, which a user with read-only access cannot do."""
    tags = client.get_experiment(experiment_id).tags
    for key, value in _EXPERIMENT_TAGS.items():
        client.set_experiment_tag(experiment_id, key, tags.get(key, value))


def _folder_name(name: str) -> str:
    """Return `name`, or a similar name if `name` is too long or would lead outside its parent folder."""
    safe = re.sub(r"[^\w .-]", "_", name)
    if safe == name and name.strip(". ") and len(name.encode()) <= LONGEST_FOLDER_NAME:
        return name
    return f"{safe.strip('. ')[:40]}-{hashlib.blake2b(name.encode(), digest_size=8).hexdigest()}"
