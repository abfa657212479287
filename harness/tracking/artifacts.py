"""Fetches the artifacts of runs: models, configurations and the state of the code."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from mlflow.artifacts import download_artifacts
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from harness.errors import ConfigError, require
from harness.formatting import data_size
from harness.tracking import recorded_yaml
from harness.tracking.reader import RunReader
from harness.tracking.run_tags import REPRODUCES, sweeps_of
from harness.tracking.store_errors import reason
from harness.tracking.uri import mlflow_uri

MOST_BYTES = 64 << 20
"""Maximum size of a recorded text, such as a patch."""

_EXAMPLE = "serving_input_example.json"
_CODE = re.compile(r"packages\.txt|commits\.txt|uncommitted-[\w.\- ]+\.patch")


def model(records: RunReader, run_id: str, folder: Path) -> Path:
    """Download the Keras model of a run into `folder` and return its path.

    Raises:
        ConfigError: The run does not exist or has no model.
    """
    # MLflow would look up a `models:/` address in the process's default store.
    location = records.client.get_logged_model(model_id(records.run(run_id))).artifact_location
    downloaded = download_artifacts(location, dst_path=str(folder), tracking_uri=mlflow_uri(records.uri))
    return next(Path(downloaded).rglob("*.keras"))


def request(records: RunReader, run_id: str, folder: Path) -> str:
    """Return a request for the served model of a run, as JSON, with the first row of its example.

    Empty if the model's example has no columns, since pixels would be too long to read.
    """
    location = records.client.get_logged_model(model_id(records.run(run_id))).artifact_location
    try:
        path = download_artifacts(f"{location}/{_EXAMPLE}", dst_path=str(folder), tracking_uri=mlflow_uri(records.uri))
        example = json.loads(Path(path).read_text(encoding="utf-8"))["dataframe_split"]
        return json.dumps({"dataframe_split": {"columns": example["columns"], "data": example["data"][:1]}})
    except (MlflowException, OSError, ValueError, KeyError, TypeError):
        return ""


def model_id(run: Run) -> str:
    """Return the id of a run's logged model; raises `ConfigError` if it has none."""
    outputs = run.outputs.model_outputs if run.outputs else []
    command = run.data.tags.get("command", "harness train ...")
    original = run.data.tags.get(REPRODUCES)
    remedy = f"Use run {original}, which it reproduces." if original else f"Run `{command} tracking.log_model=all`."
    require(bool(outputs), f"Run {run.info.run_name} has no model. {remedy}")
    return outputs[0].model_id


def described(model: Path) -> dict[str, Any]:
    """Return the metadata saved with a downloaded model; empty if there is none, or if it cannot be read."""
    files = [folder / "MLmodel" for folder in model.parents if (folder / "MLmodel").is_file()]
    try:
        found: Any = recorded_yaml.load(files[0].read_text(encoding="utf-8"), "MLmodel") if files else {}
    except (ConfigError, OSError, UnicodeDecodeError):
        return {}
    metadata = found.get("metadata") if isinstance(found, dict) else None
    return metadata if isinstance(metadata, dict) else {}


def places(metadata: dict[str, Any]) -> dict[str, str]:
    """Return the locations of the user's own layers and functions in a model's metadata: `MODULE:NAME` by key."""
    found = metadata.get("objects")
    known = found if isinstance(found, dict) else {}
    return {key: place for key, place in known.items() if isinstance(key, str) and isinstance(place, str)}


def settings(records: RunReader, run_id: str, folder: Path) -> dict[str, Any]:
    """Download the configuration of a run into `folder` and return it as plain values.

    Raises:
        ConfigError: The run does not exist, or its configuration cannot be read.
    """
    run = records.run(run_id)
    try:
        text = _text(records, run, "config.yaml", folder, recorded_yaml.MOST_BYTES)
        settings: Any = recorded_yaml.load(text, f"config.yaml of run {run_id}")
    except ConfigError:
        raise
    except Exception as error:
        fault = f"{type(error).__name__}: {reason(error)}"
        raise ConfigError(f"config.yaml of run {run_id} cannot be read ({fault}).") from error
    require(isinstance(settings, dict), f"config.yaml of run {run_id} does not contain a configuration.")
    return settings


def code(records: RunReader, run: Run, folder: Path) -> dict[str, str]:
    """Return the records of a run's packages, commits and uncommitted changes, by file name.

    The files belong to the run or its sweep; the result is empty if neither has them.
    """
    for run_id in [run.info.run_id, *sweeps_of(run.data.tags)]:
        try:
            holder = records.client.get_run(run_id)
            names = [file.path for file in records.client.list_artifacts(run_id) if _CODE.fullmatch(file.path)]
            if names:
                return {name: _text(records, holder, name, folder) for name in names}
        except (MlflowException, OSError):
            continue  # The sweep may have been deleted.
    return {}


def _text(records: RunReader, run: Run, name: str, folder: Path, most: int = MOST_BYTES) -> str:
    """Return the text of an artifact of at most `most` bytes."""
    sizes = {file.path: file.file_size or 0 for file in records.client.list_artifacts(run.info.run_id)}
    is_small = sizes.get(name, 0) <= most
    require(is_small, f"{name} of run {run.info.run_id} is larger than {data_size(most)}.")
    uri = f"{run.info.artifact_uri}/{name}"
    path = download_artifacts(uri, dst_path=str(folder), tracking_uri=mlflow_uri(records.uri))
    with Path(path).open(errors="replace") as file:
        return file.read(most + 1)
