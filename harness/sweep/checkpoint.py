"""Stores a batch's complete state on disk, as arrays and JSON only, so loading it runs no code.

Each batch has a folder in `<cache>/checkpoints` for as long as it may need to be resumed. The folder holds the last two
checkpoints, in case the last one is damaged.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock
from pydantic import TypeAdapter

from harness.runtime.state_files import (
    StateError,
    moved_aside,
    read_json,
    require_own_folders,
    set_aside,
    set_aside_unless_file,
    write_json,
)
from harness.sweep.checkpoint_facts import FACTS, Facts
from harness.sweep.saved_arrays import read_arrays, write_arrays

FOLDER = "checkpoints"
FORMAT = 6
INTERVAL = 1.0  # Minimum seconds between checkpoints.
TIME_SHARE = 0.01  # Maximum share of the run time spent on writing checkpoints.

_LAST, _BEFORE, _MANIFEST, _LOCK = "state", "state.before", "manifest.json", "lock"
_KIND, _MANIFEST_KIND = f"checkpoint {FORMAT}", "checkpoint manifest 1"
_ABOUT = TypeAdapter(dict[str, str])


@dataclass(frozen=True)
class Saved:
    """A checkpoint's content: JSON values, and arrays by name."""

    facts: Facts
    arrays: dict[str, np.ndarray]


class Checkpoint:
    """The checkpoints in one folder, locked by one process at a time.

    Attributes:
        was_rejected: Whether a checkpoint was set aside.
    """

    def __init__(self, folder: Path, about: Mapping[str, str]) -> None:
        """Create and lock the folder, and write `about` to `manifest.json`, for `harness clean` and for users.

        Raises:
            filelock.Timeout: Another process holds the folder; see `harness.sweep.run_locks` on network file systems.
            ConfigError: Another user can write to the folder.
        """
        folder.mkdir(parents=True, exist_ok=True)
        require_own_folders("runtime.cache", folder.parent.parent, folder.parent, folder)
        self._folder = folder
        set_aside_unless_file(folder / _LOCK)
        self._lock = FileLock(folder / _LOCK)
        self._lock.acquire(blocking=False)
        for left in folder.glob(f".{_LAST}.*"):  # Left by processes that were killed while saving.
            left.unlink(missing_ok=True)
        for name in (_MANIFEST, _LAST, _BEFORE):
            set_aside_unless_file(folder / name)
        write_json(folder / _MANIFEST, _MANIFEST_KIND, dict(about))
        self.was_rejected = False
        self._next = time.monotonic() + INTERVAL

    @property
    def due(self) -> bool:
        """True once enough time has passed since the last save."""
        return time.monotonic() >= self._next

    @property
    def lacks_newest(self) -> bool:
        """True if the newest checkpoint is missing, whichever process has set it aside."""
        return not (self._folder / _LAST).exists()

    def load(self, say: Callable[[str], None]) -> Saved | None:
        """Return the newest usable checkpoint, or None if there is none; `say` reports damaged ones."""
        for path in (self._folder / _LAST, self._folder / _BEFORE):
            try:
                return Saved(*read_arrays(path, _KIND, FACTS))
            except FileNotFoundError:
                continue
            except StateError as error:
                self.was_rejected = True
                say(f"resume: {error} {moved_aside(path)}")
        return None

    def reject(self) -> None:
        """Set aside the checkpoint that `load` has returned."""
        self.was_rejected = True
        for name in (_LAST, _BEFORE):
            if (self._folder / name).exists():
                set_aside(self._folder / name)
                return

    def save(self, saved: Saved, check: Callable[[], object] = lambda: None) -> None:
        """Save a checkpoint; the last one is kept as well, and the one before that is replaced.

        `check` is called once the content is written, before any checkpoint is replaced; if it raises, none is.
        """
        start, waited = time.monotonic(), 0.0

        def keep_last() -> None:
            nonlocal waited
            written = time.monotonic()
            check()
            waited = time.monotonic() - written
            with contextlib.suppress(FileNotFoundError):
                (self._folder / _LAST).replace(self._folder / _BEFORE)

        write_arrays(self._folder / _LAST, _KIND, saved.facts, saved.arrays, before_replacing=keep_last)
        now = time.monotonic()
        self._next = now + max(INTERVAL, (now - start - waited) / TIME_SHARE)

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
    return any((folder / name).exists() for name in (_LAST, _BEFORE))


def checkpoints(cache: Path) -> list[Path]:
    """Return the checkpoints' folders."""
    return sorted(folder for folder in (cache / FOLDER).glob("*") if folder.is_dir())


def manifest(checkpoint: Path) -> dict[str, str]:
    """Return a checkpoint's `about`, or an empty mapping if it cannot be read."""
    with contextlib.suppress(OSError, StateError):
        return read_json(checkpoint / _MANIFEST, _MANIFEST_KIND, _ABOUT)
    return {}


def needed_tables(cache: Path) -> set[str]:
    """Return the folder names of tables that checkpoints need."""
    return {checkpoint.get("table", "") for checkpoint in map(manifest, checkpoints(cache))}
