"""Which tracking store is in use."""

from __future__ import annotations

import os
from pathlib import Path


def tracking_uri(uri: str | None = None) -> str:
    """Return the tracking URI in force: `uri`, else `MLFLOW_TRACKING_URI`, else `mlflow.db` in the working folder.

    The path of a local file is made absolute, so that it names one store wherever it is used.
    """
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    scheme, found, path = uri.partition(":///")
    return f"sqlite:///{Path(path).absolute()}" if found and scheme == "sqlite" else uri
