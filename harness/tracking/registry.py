"""Registers the model of a run under a name, so that MLflow can serve it."""

from __future__ import annotations

from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from harness.errors import ConfigError, require
from harness.tracking.artifacts import model_id
from harness.tracking.reader import RunReader
from harness.tracking.store_errors import reason

CHAMPION = "champion"
"""The alias for the version from the best run of a sweep."""


def register(records: RunReader, run: Run, name: str, *, is_best: bool) -> str:
    """Make a run's model the newest version of the registered model `name`, unless it is already a version.

    Args:
        records: The store.
        run: A run with a logged model.
        name: The registered model, which is created if necessary.
        is_best: Whether to move the alias `champion` to this version.

    Returns:
        The version.

    Raises:
        ConfigError: The run has no model, or the store rejects the name or has no registry.
    """
    require(bool(name) and not set("/:'\"") & set(name), f"NAME must not be empty or contain / : or quotes: {name}")
    client, own_model = records.client, model_id(run)
    try:
        if not client.search_registered_models(f"name = '{name}'", max_results=1):
            client.create_registered_model(name)
        known = [each for each in client.search_model_versions(f"name = '{name}'") if each.run_id == run.info.run_id]
        version = known[0] if known else None
        if version is None:
            location = client.get_logged_model(own_model).artifact_location
            version = client.create_model_version(name, location, run.info.run_id, model_id=own_model)
        if is_best:
            client.set_registered_model_alias(name, CHAMPION, str(version.version))
    except MlflowException as error:
        raise ConfigError(f"Cannot register a model as {name}: {reason(error)}.") from error
    return str(version.version)
