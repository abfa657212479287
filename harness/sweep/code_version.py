"""Describes the code that a run was trained with: package versions, commits and uncommitted changes."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

from harness.runtime.own_modules import own_modules
from harness.runtime.secret_names import is_secret_file
from harness.runtime.secrets import shown

PACKAGES = ("tensorflow", "keras", "numpy", "pandas", "pyarrow", "mlflow", "hydra-core")
MAX_PATCH = 1 << 20  # Maximum characters kept of a patch; longer patches contain data.

_DIFF = ("diff", "--no-renames", "--no-ext-diff", "--no-textconv", "--no-color", "--src-prefix=a/", "--dst-prefix=b/")


def packages() -> str:
    """Return the versions of Python and the packages that results depend on, one per line."""
    lines = [f"python=={platform.python_version()}", f"harness=={importlib.metadata.version('harness')}"]
    lines += [f"{name}=={importlib.metadata.version(name)}" for name in PACKAGES]
    return "\n".join(lines) + "\n"


def commits(targets: Iterable[str]) -> str:
    """Return the commits of the repositories of the harness and of the models `targets`, one per line."""
    found = {root: _git(root, "rev-parse", "HEAD").strip() for root in _repositories(targets)}
    return "".join(f"{_label(root)}=={commit}\n" for root, commit in found.items() if commit)


def patches(targets: Iterable[str]) -> dict[str, str]:
    """Return the uncommitted changes in the same repositories, by file name.

    Files whose names are those of secrets, such as `.env`, are left out; the first lines of a patch name them.
    """
    found: dict[Path, str] = {}
    for root, sources in _repositories(targets).items():
        changed = _git(root, "diff", "HEAD", "--name-only", "--no-renames", "-z").split("\0")
        paths = [str(source.relative_to(root.resolve())) for source in sources]
        new = [path for path in paths if not _git(root, "ls-files", "--", f":(literal){path}")]
        secret = sorted(path for path in {*changed, *new} if path and is_secret_file(path))
        left_out = [f":(exclude,literal){path}" for path in secret]
        patch = "".join(f"not recorded, as it may contain secrets: {shown(path)}\n" for path in secret)
        patch += _git(root, *_DIFF, "HEAD", "--", ".", *left_out)
        patch += "".join(_git(root, *_DIFF, "--no-index", "/dev/null", path) for path in new if path not in secret)
        found[root] = patch
    return {f"uncommitted-{_label(root)}.patch": patch[:MAX_PATCH] for root, patch in found.items() if patch}


def _label(root: Path) -> str:
    """Return a repository's name in the characters that names of artifacts may have."""
    safe = re.sub(r"[^\w.-]", "_", root.name, flags=re.ASCII)[:100]
    return safe if safe == root.name else f"{safe}-{hashlib.blake2b(os.fsencode(root.name), digest_size=4).hexdigest()}"


def _repositories(targets: Iterable[str]) -> dict[Path, list[Path]]:
    """Return the source files of the harness and of models by repository; ignored files are left out."""
    found: dict[Path, list[Path]] = {}
    own = (path.resolve() for target in targets for path in own_modules(target.rpartition(".")[0]).values())
    for source in dict.fromkeys([Path(__file__), *own]):
        root = _git(source.parent, "rev-parse", "--show-toplevel").strip()
        if root and not _git(source.parent, "check-ignore", source.name):
            found.setdefault(Path(root), []).append(source)
    return found


def _git(folder: Path, *words: str) -> str:
    """Return git's output, or an empty string if there is no git or no repository."""
    try:
        command = ["git", "-C", folder, *words]
        return subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
