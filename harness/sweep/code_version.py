"""What of the code a run was made with that a commit alone does not tell."""

from __future__ import annotations

import contextlib
import importlib.metadata
import inspect
import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path

from harness.runtime.imports import find_target

PACKAGES = ("tensorflow", "keras", "numpy", "pandas", "pyarrow", "polars", "mlflow", "hydra-core")
PATCH_BYTES = 1 << 20
"""A patch that is longer is data, and is cut."""


def packages() -> str:
    """Return the versions of Python and of all packages that numbers come from, a line each."""
    lines = [f"python=={platform.python_version()}", f"harness=={importlib.metadata.version('harness')}"]
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # polars is an extra.
            lines.append(f"{name}=={importlib.metadata.version(name)}")
    return "\n".join(lines) + "\n"


def commits(targets: Iterable[str]) -> str:
    """Return the commits of the harness and of the repositories of models, a line each.

    Args:
        targets: Dotted names of the models' functions.
    """
    found = {root: _git(root, "rev-parse", "HEAD").strip() for root in _sources(targets)}
    return "".join(f"{root.name}=={commit}\n" for root, commit in found.items() if commit)


def patches(targets: Iterable[str]) -> dict[str, str]:
    """Return what is not committed of the harness and of the repositories of models, by the name of a file for it.

    Args:
        targets: Dotted names of the models' functions.
    """
    found: dict[Path, str] = {}
    for root, sources in _sources(targets).items():
        found[root] = _git(root, "diff", "HEAD")
        for source in sources:
            if not _git(source.parent, "ls-files", source.name):
                path = source.relative_to(root.resolve())
                found[root] += _git(root, "diff", "--no-index", "/dev/null", str(path))
    return {f"uncommitted-{root.name}.patch": patch[:PATCH_BYTES] for root, patch in found.items() if patch}


def _sources(targets: Iterable[str]) -> dict[Path, list[Path]]:
    """Return this file and those of models by the repository that they are in, without those that it ignores."""
    found: dict[Path, list[Path]] = {}
    for source in dict.fromkeys([Path(__file__), *filter(None, map(_file, targets))]):
        root = _git(source.parent, "rev-parse", "--show-toplevel").strip()
        if root and not _git(source.parent, "check-ignore", source.name):
            found.setdefault(Path(root), []).append(source)
    return found


def _file(target: str) -> Path | None:
    """Return where a model's function is written."""
    try:
        return Path(inspect.getfile(find_target(target))).resolve()
    except (OSError, TypeError):
        return None


def _git(folder: Path, *words: str) -> str:
    """Return what git says, which is nothing where there is no git, or no repository."""
    try:
        answer = subprocess.run(
            ["git", "-C", folder, *words], capture_output=True, text=True, errors="replace", timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout
