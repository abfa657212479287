"""Resolves `data.path` (an address, a pattern, or a list of these) to the addresses of files, local or remote."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from harness.data.storage.files import open_file
from harness.data.storage.urls import scheme
from harness.errors import require
from harness.runtime.secrets import masked

_PATTERN = frozenset("*?[")


def find_addresses(path: str | Sequence[str], remedy: str = "") -> list[str]:
    """Return the addresses of the files in `data.path`: lists keep their order, and matches of patterns are sorted.

    Raises:
        ConfigError: A local file does not exist or is a folder, or no file matches a pattern.
    """
    found: list[str] = []
    for name in [path] if isinstance(path, str) else path:
        found += _find_remote(name) if scheme(name) else _find_local(name, remedy)
    return found


def _find_remote(name: str) -> list[str]:
    from harness.data.storage.remote import connect, remote_errors

    require("***" not in name, f"data.path: {name} was recorded without its credentials; set it to the full URL.")
    if scheme(name) in ("http", "https"):
        require("*" not in name, f"data.path: HTTP servers cannot list the files of {masked(name)}; give their URLs.")
        return [name]
    if not _PATTERN & set(name):
        return [name]
    filesystem, path = connect(name)
    with remote_errors(masked(name)):
        # Otherwise, files added since this process last listed the folder would be missing.
        filesystem.invalidate_cache()
        matches = sorted(match for match, info in filesystem.glob(path, detail=True).items() if info["type"] == "file")
    require(bool(matches), f"data.path: no file matches {masked(name)}.")
    return [filesystem.unstrip_protocol(match) for match in matches]


def _find_local(name: str, remedy: str) -> list[str]:
    # Unlike Path.expanduser, this leaves a name unchanged if there is no such user.
    path = Path(name) if Path(name).exists() else Path(os.path.expanduser(name))  # noqa: PTH111
    found = [str(path.absolute())]
    if _PATTERN & set(name) and not path.exists():
        # Skip matching folders: `data/*` means the files in it.
        matches = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207
        found = [str(Path(match).absolute()) for match in matches if not Path(match).is_dir()]
        require(bool(found), f"data.path: no file matches {name}. {remedy}".strip())
    for address in found:
        require(Path(address).exists(), f"data.path: no such file: {address}{f'. {remedy}' if remedy else ''}")
        open_file(address)
    return found
