"""The address of a store: which one is in force, and how it may be shown."""

from __future__ import annotations

import os
import re
from pathlib import Path


def tracking_uri(uri: str | None = None) -> str:
    """Return the tracking URI in force: `uri`, else `MLFLOW_TRACKING_URI`, else `mlflow.db` in the working folder.

    The path of a local file is made absolute, so that it names one store wherever it is used.
    """
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    scheme, found, path = uri.partition(":///")
    return f"sqlite:///{Path(path).absolute()}" if found and scheme == "sqlite" else uri


def masked(text: str) -> str:
    """Return `text` with `***` for each password in an address."""
    text = re.sub(r"(://[^\s:/@]*:)(?:[^\s/]*|[^\s@]*)@", r"\1***@", text)
    return re.sub(r"([?&](?:\w*password|token|secret)=)[^&\s'\"]*", r"\1***", text)
