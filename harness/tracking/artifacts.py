"""What runs left as files: their models, their configurations, what is known of their code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from harness.errors import ConfigError, require
from harness.tracking.reader import REPRODUCES, RunReader
from harness.tracking.store import reason

_CODE = re.compile(r"packages\.txt|commits\.txt|uncommitted-[\w.-]+\.patch")


def model(records: RunReader, run_id: str, folder: Path) -> Path:
    """Fetch the Keras model of a run into `folder` and return its path.

    Raises:
        ConfigError: There is no such run, or none of its models was kept.
    """
    import mlflow.artifacts

    run = records.run(run_id)
    outputs = run.outputs.model_outputs if run.outputs else []
    command = run.data.tags.get("command", "harness train ...")
    original = run.data.tags.get(REPRODUCES)
    require(
        bool(outputs),
        "RUN_ID expected a run whose model was kept",
        f"{run.info.run_name}, whose was not",
        f"It reproduces {original}." if original else f"Repeat it so that it is: {command} tracking.log_model=all",
    )
    # Not by `models:/`, which MLflow looks up in the process's own store.
    place = records.client.get_logged_model(outputs[0].model_id).artifact_location
    whole = mlflow.artifacts.download_artifacts(place, dst_path=str(folder), tracking_uri=records.uri)
    return next(Path(whole).rglob("*.keras"))


def settings(records: RunReader, run_id: str, folder: Path) -> dict[str, Any]:
    """Fetch the configuration of a run by way of `folder`, as plain values.

    Raises:
        ConfigError: There is no such run, or its configuration is not there or cannot be read.
    """
    import yaml

    run = records.run(run_id)
    try:
        settings = yaml.safe_load(_text(records, run, "config.yaml", folder))
    except Exception as error:
        fault = f"config.yaml ({type(error).__name__}: {reason(error)})"
        raise ConfigError(f"RUN_ID expected a run whose configuration can be read. Received: {fault}.") from error
    require(isinstance(settings, dict), "RUN_ID expected a run whose config.yaml holds a configuration", run_id)
    return settings


def code(records: RunReader, run: Run, folder: Path) -> dict[str, str]:
    """Fetch what is recorded of a run's packages, commits and uncommitted changes, by the file's name.

    It is with the run, or with its sweep; the answer is empty where it is with neither.
    """
    for run_id in [run.info.run_id, *filter(None, run.data.tags.get("sweep", "").split(","))]:
        try:
            holder = records.client.get_run(run_id)
            names = [file.path for file in records.client.list_artifacts(run_id) if _CODE.fullmatch(file.path)]
            if names:
                return {name: _text(records, holder, name, folder) for name in names}
        except (MlflowException, OSError):
            continue  # The sweep may have been deleted.
    return {}


def _text(records: RunReader, run: Run, name: str, folder: Path) -> str:
    import mlflow.artifacts

    place = f"{run.info.artifact_uri}/{name}"
    path = mlflow.artifacts.download_artifacts(place, dst_path=str(folder), tracking_uri=records.uri)
    return Path(path).read_text(errors="replace")
