"""The tags with which MLflow marks where a run comes from: user, command and commit."""

from __future__ import annotations

import functools
import getpass
import os
import re
import subprocess
import sys
from pathlib import Path


@functools.cache
def source_tags() -> dict[str, str]:
    """Return MLflow's own source tags for this process; the commit is that of the harness."""
    tags = {
        "mlflow.user": os.environ.get("MLFLOW_TRACKING_USERNAME") or _user(),
        "mlflow.source.name": sys.argv[0] or "<console>",
        "mlflow.source.type": "LOCAL",
    }
    command = Path(sys.argv[0]).absolute()
    folder = command.parent if command.is_file() else command
    if sys.argv[0] and (commit := _commit(folder)):
        tags |= {
            "mlflow.source.git.commit": commit,
            "mlflow.source.git.branch": _git(folder, "symbolic-ref", "--short", "--quiet", "HEAD"),
            "mlflow.source.git.repoURL": _remote(folder),
        }
    if commit := _commit(Path(__file__).parent):
        tags["mlflow.source.git.commit"] = commit
    return {key: value for key, value in tags.items() if value}


def _user() -> str:
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):
        return "unknown"


def _commit(folder: Path) -> str:
    """Return the commit that is checked out around a folder; empty if git does not track the folder."""
    if not (commit := _git(folder, "rev-parse", "--verify", "--quiet", "HEAD")):
        return ""
    return "" if _git(folder, "check-ignore", str(folder)) else commit


def _remote(folder: Path) -> str:
    """Return the URL of the first remote, without user and password."""
    first = _git(folder, "config", "--get-regexp", r"^remote\..*\.url$").partition("\n")[0]
    return re.sub(r"^(https?://)[^/]*@", r"\1", first.partition(" ")[2])


def _git(folder: Path, *words: str) -> str:
    try:
        answer = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""
