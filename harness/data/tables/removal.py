"""Removes files and folders from a cache, even if something else has replaced them."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from harness.data.tables.manifest import MANIFEST


def remove(path: Path) -> None:
    """Remove a file, a link or a folder with everything in it, if there is one."""
    with contextlib.suppress(FileNotFoundError):  # Another process may remove it at the same time.
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def remove_table(folder: Path) -> None:
    """Remove a table, or whatever is in its place."""
    if not folder.is_symlink() and folder.is_dir():
        remove(folder / MANIFEST)  # Without the manifest, what remains is not a table.
    remove(folder)
