"""Stores a batch's complete state on disk, replacing it atomically. It is only arrays and JSON: loading runs no code.

Each batch has a folder in `<cache>/checkpoints` for as long as it may need to be resumed.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

FOLDER = "checkpoints"
INTERVAL = 1.0  # Minimum seconds between checkpoints.
TIME_SHARE = 0.01  # Maximum share of the run time spent on writing checkpoints.
_STATE, _FACTS = "state.npz", "facts"


@dataclass(frozen=True)
class Saved:
    """A checkpoint's content: JSON values, and arrays by name."""

    facts: dict[str, Any]
    arrays: dict[str, np.ndarray]


class Checkpoint:
    """The checkpoint in one folder, locked by one process at a time."""

    def __init__(self, folder: Path, about: Mapping[str, str]) -> None:
        """Create and lock the folder, and write `about` to `manifest.json` for `harness clean` and for people.

        Raises:
            filelock.Timeout: Another process holds the folder; see `harness.sweep.run_locks` on network file systems.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._lock = FileLock(folder / "lock")
        self._lock.acquire(blocking=False)
        aside = folder / "manifest.aside"
        aside.write_text(json.dumps(dict(about)))
        aside.replace(folder / "manifest.json")
        self._next = time.monotonic() + INTERVAL

    @property
    def due(self) -> bool:
        """True once enough time has passed since the last save."""
        return time.monotonic() >= self._next

    def load(self) -> Saved | None:
        """Return what was saved last, or None if nothing can be read."""
        try:
            with (self._folder / _STATE).open("rb") as file, np.load(file, allow_pickle=False) as saved:
                arrays = {name: saved[name] for name in saved.files}
            return Saved(json.loads(arrays.pop(_FACTS).tobytes()), arrays)
        except (FileNotFoundError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None

    def save(self, saved: Saved) -> None:
        """Replace what was saved before, atomically."""
        start = time.monotonic()
        facts = np.frombuffer(json.dumps(saved.facts).encode(), np.uint8)
        aside = self._folder / "state.aside"
        try:
            with aside.open("wb") as file:
                np.savez(file, allow_pickle=False, **{_FACTS: facts}, **saved.arrays)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(self._folder / _STATE)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        handle = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(handle)  # Sync the folder's entries, too.
        finally:
            os.close(handle)
        now = time.monotonic()
        self._next = now + max(INTERVAL, (now - start) / TIME_SHARE)

    def discard(self) -> None:
        """Delete the folder and release it."""
        shutil.rmtree(self._folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # The parent folder holds other checkpoints.
            self._folder.parent.rmdir()
        self.close()

    def close(self) -> None:
        """Release the folder for other processes."""
        self._lock.release()


def checkpoint_exists(folder: Path) -> bool:
    """Return True if a checkpoint was saved in this folder."""
    return (folder / _STATE).exists()


def checkpoints(cache: Path) -> list[Path]:
    """Return the checkpoints' folders."""
    return sorted(folder for folder in (cache / FOLDER).glob("*") if folder.is_dir())


def manifest(checkpoint: Path) -> dict[str, str]:
    """Return a checkpoint's `about`, or an empty mapping if it cannot be read."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        known = json.loads((checkpoint / "manifest.json").read_text())
        return {key: str(value) for key, value in known.items()}
    return {}


def needed_tables(cache: Path) -> set[str]:
    """Return the folder names of tables that checkpoints need."""
    return {checkpoint.get("table", "") for checkpoint in map(manifest, checkpoints(cache))}
