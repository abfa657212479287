"""Compare training on chunks with training on the full sample."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # It is read when MLflow is first imported.

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.tracking.frames import Sweep


def load_sweep(sweep: str | None = None, uri: str | None = None, metrics: Sequence[str] | None = None) -> Sweep:
    """Return a sweep's runs and curves for a closer look in a notebook; `harness.analysis.figures` draws them.

    Args:
        sweep: The summary run's id, or a run's; None means the newest sweep.
        uri: Tracking store; None means `MLFLOW_TRACKING_URI`, else `mlflow.db` in the working folder.
        metrics: Whose curves; None means those that are recorded each epoch. `train/chunk_loss` is one more.

    Raises:
        ConfigError: There is no such store, or no such sweep.
    """
    # MLflow and pandas take seconds to import, and most that import this package need neither.
    from harness.config.metrics import EPOCH_METRICS
    from harness.tracking.reader import RunReader
    from harness.tracking.uri import tracking_uri

    ids = [sweep] if sweep else []
    return RunReader(tracking_uri(uri)).load(ids, metrics or EPOCH_METRICS, with_sample=True)
