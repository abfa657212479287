"""Creates MLflow's default experiment in a folder, whatever its name.

Reason: MLflow inserts the path of the working folder into SQL in Python's notation, which fails for a path that
contains an apostrophe or `/:`, and it has no public setting for another folder. Gain: a store can be created in such a
folder. Test: `tests/tracking/test_places.py` creates stores in such folders. Fallback: if MLflow ignores the variable,
such folders are rejected when the store is created; others work.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.runtime.environment import environment


@contextmanager
def default_artifacts(folder: Path) -> Iterator[None]:
    """Make stores created inside the block keep the default experiment's artifacts in a folder."""
    with environment(_MLFLOW_SERVER_ARTIFACT_ROOT=folder.as_uri()):
        yield
