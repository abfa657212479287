"""Rejects MLflow environment variables that the harness cannot honor."""

from __future__ import annotations

import os

from harness.errors import require


def check_environment() -> None:
    """Reject variables that select the run or experiment to record in.

    Raises:
        ConfigError: Such a variable is set.
    """
    require(
        not os.environ.get("MLFLOW_RUN_ID"),
        "MLFLOW_RUN_ID is set, but each configuration is recorded as its own run: unset MLFLOW_RUN_ID.",
    )
    require(
        not os.environ.get("MLFLOW_EXPERIMENT_ID"),
        "MLFLOW_EXPERIMENT_ID is set, but experiments are chosen by name: unset it, and set tracking.experiment=NAME.",
    )
