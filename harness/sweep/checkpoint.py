"""A sweep's whole state on disk, written aside and renamed: plain arrays and JSON, nothing that could run.

A folder a sweep, in `<cache>/checkpoints`; it is there only as long as the sweep may have to go on from it.
"""

from __future__ import annotations

import contextlib
import fcntl
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

FOLDER = "checkpoints"
SECONDS = 1.0
"""At least, between two checkpoints."""

SHARE = 0.01
"""Of the time that writing them may take."""

_STATE, _FACTS = "state.npz", "facts"


@dataclass(frozen=True)
class Saved:
    """What a checkpoint holds.

    Attributes:
        facts: As JSON has them.
        arrays: By name.
    """

    facts: dict[str, Any]
    arrays: dict[str, np.ndarray]


class Checkpoint:
    """The place of one sweep's checkpoints; one process at a time has it."""

    def __init__(self, folder: Path, about: Mapping[str, str]) -> None:
        """Take the place.

        Args:
            folder: Its own, made where there is none.
            about: Said in `manifest.json` to whoever looks at the folder.

        Raises:
            BlockingIOError: Another process has it.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._lock = (folder / "lock").open("a")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise
        aside = folder / "manifest.aside"
        aside.write_text(json.dumps(dict(about)))
        aside.replace(folder / "manifest.json")
        self._next = time.monotonic() + SECONDS

    @property
    def due(self) -> bool:
        """Whether it is time for the next one: writing them takes a small part of all time."""
        return time.monotonic() >= self._next

    def load(self) -> Saved | None:
        """Return what was saved last; None if there is nothing, or nothing that can be read."""
        try:
            with (self._folder / _STATE).open("rb") as file, np.load(file, allow_pickle=False) as saved:
                arrays = {name: saved[name] for name in saved.files}
            return Saved(json.loads(arrays.pop(_FACTS).tobytes()), arrays)
        except (FileNotFoundError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None

    def save(self, saved: Saved) -> None:
        """Replace what was saved before, whole or not at all."""
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
        _sync(self._folder)
        now = time.monotonic()
        self._next = now + max(SECONDS, (now - start) / SHARE)

    def discard(self) -> None:
        """Remove the folder: nobody will have to go on from here."""
        shutil.rmtree(self._folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # Other sweeps have theirs there.
            self._folder.parent.rmdir()
        self.close()

    def close(self) -> None:
        """Let others have the place."""
        self._lock.close()


def _sync(folder: Path) -> None:
    """Have a folder's entries reach the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
