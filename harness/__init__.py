"""Compare training on chunks with training on the full sample."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # MLflow reads it when it is imported.

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.tracking.frames import Sweep


def train(words: Sequence[str]) -> Sweep:
    """Run `harness train` with these arguments, and return the sweep as `load_sweep` does.

    It can be called repeatedly from scripts and notebooks, and leaves the process unchanged apart from imports.

    Args:
        words: Arguments as on the command line: `["-m", "chunksize=full,100", "epochs=5"]`. Without -m, a single run is
            trained.

    Raises:
        ConfigError: The arguments, a configuration or the data are invalid; nothing was trained.
    """
    from harness.cli.train import train_in_process

    return train_in_process(words)


def load_sweep(sweep: str | None = None, uri: str | None = None, metrics: Sequence[str] | None = None) -> Sweep:
    """Return a sweep's runs and curves for analysis in a notebook; `harness.analysis.figures` plots them.

    Args:
        sweep: Id of a sweep's summary run, or of a single run; None means the newest sweep.
        uri: Tracking URI; None means `MLFLOW_TRACKING_URI`, else `mlflow.db` in the working folder.
        metrics: Metrics whose curves to read; None means all metrics recorded once per epoch. `train/chunk_loss`, the
            loss of every chunk, is read only on request.

    Raises:
        ConfigError: The store or sweep does not exist.
    """
    # MLflow and pandas take seconds to import, and most of the package needs neither.
    from harness.runtime.environment import default_environment, missing_home

    with default_environment(missing_home()):
        from harness.tracking.reader import RunReader
    from harness.tracking.uri import tracking_uri

    ids = [sweep] if sweep else []
    return RunReader(tracking_uri(uri)).load(ids, metrics or (), with_sample=True)
