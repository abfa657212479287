"""A copy of the table on a node's own disk, made if it saves a worker more time than it takes."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.data.tables.builder import staging_folder
from harness.data.tables.cache import free
from harness.data.tables.locks import hold, making, release, unused
from harness.data.tables.removal import remove_table
from harness.data.tables.table import Table, load_table
from harness.errors import ConfigError
from harness.formatting import count, data_size, duration
from harness.runtime.host_memory import available_host_bytes
from harness.runtime.state_files import require_own_folders

SAMPLE_BYTES = 64_000_000
"""Number of bytes of the largest file to read, and to write to the disk, to measure both speeds."""

SPARE_BYTES = 1_000_000_000
"""Bytes that a copy leaves free on the disk."""


@dataclass(frozen=True)
class Passes:
    """A worker's passes over its table; the worker reads the next block while it trains on this one.

    Attributes:
        bytes: Size of the table.
        number: How often it is read.
        training: Seconds that a pass takes, not counting reading.
        shared: Bytes per second from the cache.
        disk: Bytes per second from the node's own disk.
        writing: Bytes per second to that disk.
        memory: Bytes available for caching what has been read.
    """

    bytes: float
    number: int
    training: float
    shared: float
    disk: float
    writing: float
    memory: float

    @property
    def scanning(self) -> float:
        """Seconds without a copy."""
        first, later = max(self.training, self.bytes / self.shared), self.training
        return first + (self.number - 1) * (later if self.bytes <= self.memory else first)

    @property
    def copying(self) -> float:
        """Seconds with a copy."""
        copy = self.bytes / min(self.shared, self.writing)
        return copy + self.number * max(self.training, self.bytes / self.disk)

    @property
    def pays(self) -> bool:
        """Whether a copy saves time."""
        return self.copying < self.scanning

    def describe(self) -> str:
        """Return both times, and what they depend on."""
        rates = ", ".join(f"{data_size(rate)}/s" for rate in (self.shared, self.disk))
        read = f"{duration(self.scanning)} if a worker reads {data_size(self.bytes)} {count(self.number, 'time')}"
        return f"{read}, {duration(self.copying)} if it makes a copy first ({rates} from the disk)"


def measured_passes(table: Table, scratch: str, number: int, training: float) -> Passes:
    """Measure how fast a table can be read from its folder and from a disk.

    Raises:
        OSError: The folder `scratch` is missing, or its disk is full.
    """
    files = [path for path in table.folder.iterdir() if path.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    shared, data = _read(largest)
    sample = Path(scratch) / f".harness-{os.getpid()}"
    try:
        start = time.perf_counter()
        with sample.open("wb") as file:
            file.write(data)
            os.fsync(file.fileno())
        writing = len(data) / (time.perf_counter() - start)
        disk, _ = _read(sample)
    finally:
        sample.unlink(missing_ok=True)
    size = sum(path.stat().st_size for path in files)
    return Passes(size, number, training, shared, disk, writing, available_host_bytes())


@contextlib.contextmanager
def local_copy(table: Table, scratch: str, say: Callable[[str], None]) -> Iterator[Table]:
    """Yield the copy of a table on the node's disk, which its workers share; the last one removes it.

    Yields the table itself if it cannot be copied. Copies left by killed workers are removed first. Every page read
    from a copy is compared with its checksum.
    """
    root = Path(scratch) / f"harness-{os.geteuid()}"
    folder = root / "tables" / table.folder.name
    copy = None
    try:
        root.mkdir(mode=0o700, exist_ok=True)
        require_own_folders("hydra.launcher.scratch", root)
        for _ in free(root, (), everything=True, age=None):
            pass
        with making(root, folder.name):
            if not folder.exists():
                _copy(table.folder, folder)
            hold(folder)
        copy = load_table(folder)
    except (OSError, ConfigError) as error:
        reason = f"{error.filename or root}: {error.strerror}" if isinstance(error, OSError) else str(error)
        say(f"the table is not copied to {scratch} ({reason.rstrip('.')})")
    if copy is None:  # Not inside the `except`, which would become the context of errors in training.
        yield table
        return
    try:
        yield copy
    finally:
        release(folder)
        with contextlib.suppress(OSError), unused(folder) as is_unused:
            if is_unused:
                remove_table(folder)


def _copy(source: Path, folder: Path) -> None:
    size = sum(path.stat().st_size for path in source.iterdir())
    folder.parent.mkdir(exist_ok=True)
    if shutil.disk_usage(folder.parent).free < size + SPARE_BYTES:
        raise ConfigError(f"it needs {data_size(size)}")
    with staging_folder(folder) as staging:
        shutil.copytree(source, staging, dirs_exist_ok=True)
        staging.rename(folder)


def _read(path: Path) -> tuple[float, bytes]:
    """Read the start of a file from the disk rather than from memory; return bytes per second, and what was read."""
    with path.open("rb", buffering=0) as file:
        with contextlib.suppress(AttributeError, OSError):  # Not available on every system.
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        start = time.perf_counter()
        data = file.read(SAMPLE_BYTES)
        return max(len(data), 1) / (time.perf_counter() - start), data
