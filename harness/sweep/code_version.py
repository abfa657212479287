"""Describes the code that a run was trained with: package versions, commits and uncommitted changes."""

from __future__ import annotations

import functools
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
MAX_PATCH = 1 << 20  # Maximum number of characters to keep of a patch; longer patches contain data.

_DIFF = ("diff", "--no-renames", "--no-ext-diff", "--no-textconv", "--no-color", "--src-prefix=a/", "--dst-prefix=b/")


def files(targets: Iterable[str]) -> dict[str, str]:
    """Return the texts of the files that record the code: packages, commits and uncommitted changes."""
    return {"packages.txt": packages(), "commits.txt": commits(targets), **patches(targets)}


def packages() -> str:
    """Return the versions of Python and of the packages that affect results, one per line."""
    lines = [f"python=={platform.python_version()}", f"harness=={importlib.metadata.version('harness')}"]
    lines += [f"{name}=={importlib.metadata.version(name)}" for name in PACKAGES]
    return "\n".join(lines) + "\n"


@functools.cache
def source_digest(folder: Path) -> str:
    """Return a digest of the Python files in a folder and its subfolders."""
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(folder.rglob("*.py")):
        digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def commits(targets: Iterable[str]) -> str:
    """Return the commits of the repositories of the harness and of the models `targets`, one per line."""
    found = {root: _git(root, "rev-parse", "HEAD").strip() for root in _repositories(targets)}
    return "".join(f"{_label(root)}=={commit}\n" for root, commit in found.items() if commit)


def versions(text: str) -> dict[str, str]:
    """Return the versions in a record of packages or commits, by name."""
    return {name: version for name, _, version in (line.partition("==") for line in text.splitlines()) if version}


def patches(targets: Iterable[str]) -> dict[str, str]:
    """Return the uncommitted changes in the same repositories, by file name.

    Files whose names suggest secrets, such as `.env`, are left out; the first lines of a patch list them.
    """
    found: dict[Path, str] = {}
    for root, sources in _repositories(targets).items():
        changed = _paths(root, "diff", "HEAD", "--name-only", "--no-renames", "-z")
        tracked = _paths(root, "ls-files", "-z", "--", *(f":(literal){source}" for source in sources))
        new = [source for source in sources if source not in tracked]
        secret = sorted(path for path in {*changed, *new} if is_secret_file(path))
        left_out = [f":(exclude,literal){path}" for path in secret]
        patch = "".join(f"not recorded, because it may contain secrets: {shown(path)}\n" for path in secret)
        patch += _git(root, *_DIFF, "HEAD", "--", ".", *left_out)
        patch += "".join(_git(root, *_DIFF, "--no-index", "/dev/null", path) for path in new if path not in secret)
        found[root] = patch
    return {f"uncommitted-{_label(root)}.patch": patch[:MAX_PATCH] for root, patch in found.items() if patch}


def _label(root: Path) -> str:
    """Return a repository's name in characters that are allowed in names of artifacts."""
    safe = re.sub(r"[^\w.-]", "_", root.name, flags=re.ASCII)[:100]
    return safe if safe == root.name else f"{safe}-{hashlib.blake2b(os.fsencode(root.name), digest_size=4).hexdigest()}"


def _repositories(targets: Iterable[str]) -> dict[Path, list[str]]:
    """Return the paths of the source files of the harness and of models, except ignored files, by repository."""
    own = (path.resolve() for target in targets for path in own_modules(target.rpartition(".")[0]).values())
    roots: dict[Path, str] = {}
    found: dict[Path, list[str]] = {}
    for source in dict.fromkeys([Path(__file__).resolve(), *own]):
        folder = source.parent
        if folder not in roots:
            roots[folder] = _git(folder, "rev-parse", "--show-toplevel").rstrip("\n")
        if root := roots[folder]:
            found.setdefault(Path(root), []).append(str(source.relative_to(Path(root).resolve())))
    for root, sources in found.items():
        ignored = _paths(root, "check-ignore", "--stdin", "-z", given=sources)
        sources[:] = [source for source in sources if source not in ignored]
    return {root: sources for root, sources in found.items() if sources}


def _git(folder: Path, *words: str) -> str:
    """Return git's output, or an empty string without git or a repository."""
    return _output(folder, words).decode(errors="replace")


def _paths(folder: Path, *words: str, given: Iterable[str] = ()) -> set[str]:
    """Return the paths that git prints for the `given` paths, with `-z` among the `words`."""
    printed = _output(folder, words, b"".join(os.fsencode(path) + b"\0" for path in given))
    return {os.fsdecode(path) for path in printed.split(b"\0") if path}


def _output(folder: Path, words: Iterable[str], given: bytes = b"") -> bytes:
    try:
        return subprocess.run(["git", "-C", folder, *words], capture_output=True, input=given, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return b""
