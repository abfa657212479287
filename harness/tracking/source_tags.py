"""MLflow's tags for the origin of a run: user, command and commit."""

from __future__ import annotations

import functools
import getpass
import os
import subprocess
import sys
from pathlib import Path


@functools.cache
def source_tags() -> dict[str, str]:
    """Return MLflow's source tags for this process; the commit is that of the harness."""
    tags = {
        "mlflow.user": os.environ.get("MLFLOW_TRACKING_USERNAME") or _user(),
        "mlflow.source.name": sys.argv[0] or "<console>",
        "mlflow.source.type": "LOCAL",
    }
    folder = Path(__file__).parent
    # An installed harness may be in a folder that the user's own repository ignores.
    if (commit := _git(folder, "rev-parse", "HEAD")) and not _git(folder, "check-ignore", str(folder)):
        tags["mlflow.source.git.commit"] = commit
    return tags


def _user() -> str:
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):
        return "unknown"


def _git(folder: Path, *words: str) -> str:
    try:
        answer = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""
