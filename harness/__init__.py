"""Compare training on chunks with training on the full sample."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # MLflow reads it when it is imported.

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.tracking.frames import Sweep


def train(words: Sequence[str]) -> Sweep:
    """Do what `harness train` does with these words, and return what `load_sweep` returns.

    Works in scripts and notebooks, any number of times; apart from what is imported, the process stays as it was.

    Args:
        words: As on the command line: `["-m", "chunksize=full,100", "epochs=5"]`. Without -m, one run is trained.

    Raises:
        ConfigError: The words, a configuration or the data cannot be used; nothing was trained.
    """
    from harness.cli.train import train_in_process

    return train_in_process(words)


def load_sweep(sweep: str | None = None, uri: str | None = None, metrics: Sequence[str] | None = None) -> Sweep:
    """Return a sweep's runs and curves, to analyse them in a notebook; `harness.analysis.figures` plots them.

    Args:
        sweep: Id of a sweep's summary run, or of a single run; None means the newest sweep.
        uri: Tracking URI; None means `MLFLOW_TRACKING_URI`, else `mlflow.db` in the working folder.
        metrics: Metrics whose curves to read; None means those recorded each epoch. `train/chunk_loss` is another one.

    Raises:
        ConfigError: There is no such store or sweep.
    """
    # MLflow and pandas take seconds to import, and most of the package needs neither.
    from harness.config.metrics import EPOCH_METRICS
    from harness.tracking.reader import RunReader
    from harness.tracking.uri import tracking_uri

    ids = [sweep] if sweep else []
    return RunReader(tracking_uri(uri)).load(ids, metrics or EPOCH_METRICS, with_sample=True)
