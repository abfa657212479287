"""Finds the table for a configuration in the cache, or makes it.

A table is written to a staging folder and renamed when complete, so a table under its final name is always complete.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.config import DataConfig, flatten
from harness.data import synthetic_houses
from harness.data.addresses import find_addresses
from harness.data.files import open_file
from harness.data.ingest import IngestProgress, ProgressCallback, ingest
from harness.data.local import LocalFile
from harness.data.source import BLOCK_BYTES
from harness.data.table import MANIFEST, Table, load_table, save_table
from harness.data.table_locks import hold, making
from harness.data.urls import scheme
from harness.errors import ConfigError, require
from harness.runtime.memory import release_memory
from harness.runtime.secrets import masked

FORMAT = 2

_NOT_READ = ("path", "rows", "origin", "scaling")
"""Keys of `DataConfig` that do not affect a table, or only through the fingerprint of its source."""

_drained: set[tuple[str, ...]] = set()


def open_table(
    data: DataConfig,
    cache: Path,
    progress: ProgressCallback = lambda state: None,
    *,
    block_bytes: int = BLOCK_BYTES,
) -> Table:
    """Return the table of `data` from `cache`, or make it now if its source is new or has changed.

    The table is marked as in use, so that it is not removed before this process ends.

    Raises:
        ConfigError: The source is invalid, or the cache cannot be written to.
    """
    with cache_errors(cache):
        addresses = source_addresses(data, cache, progress)
        folder = cache / "tables" / _key(addresses, data)
        while True:
            if not (folder / MANIFEST).is_file():
                with making(cache, folder.name):
                    if not (folder / MANIFEST).is_file():
                        _drain(addresses)
                        with staging_folder(folder) as staging:
                            write_table(staging, addresses, data, progress, block_bytes)
                            # Where locks do not work, another process may have been faster; its table is just as good.
                            with contextlib.suppress(OSError):
                                staging.rename(folder)
            with contextlib.suppress(FileNotFoundError):  # Another process has just removed it.
                hold(folder)
                return load_table(folder)


@contextlib.contextmanager
def staging_folder(folder: Path) -> Iterator[Path]:
    """Yield a new folder beside `folder`; remove it afterwards unless it was renamed."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = folder.with_name(f".{folder.name}.{os.getpid()}.{threading.get_ident()}")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def write_table(
    folder: Path, addresses: Sequence[str], data: DataConfig, progress: ProgressCallback, block_bytes: int = BLOCK_BYTES
) -> None:
    """Write the table of `data`, with its source at `addresses`, into `folder`."""
    states = [open_file(address).fingerprint() for address in addresses]
    table = ingest(addresses, data, folder, progress, block_bytes)
    release_memory()
    for address, state in zip(addresses, states, strict=True):
        is_same = open_file(address).fingerprint() == state
        require(is_same, f"{state[0]} changed while it was being read. Train again once it is complete.")
    settings: dict[str, Any] = flatten(asdict(data))
    path = settings["path"]
    settings["path"] = [masked(name) for name in path] if isinstance(path, list) else path and masked(path)
    save_table(table, states, settings)


def check_streams(sources: Sequence[DataConfig]) -> None:
    """Reject a stream that more than one table would have to read."""
    wanted: dict[str, set[str]] = {}
    for data in sources:
        names = [data.path] if isinstance(data.path, str) else data.path or []
        for address in find_addresses([name for name in names if not scheme(name)], _origin(data)):
            if LocalFile(address).is_stream:
                wanted.setdefault(address, set()).add(_key([address], data))
    for address, keys in wanted.items():
        require(len(keys) == 1, _once(address))


def _drain(addresses: Sequence[str]) -> None:
    """Reject streams that this process has read before, and remember these."""
    for address in addresses:
        file = open_file(address)
        if file.is_stream:
            state = tuple(map(str, file.fingerprint()))
            require(state not in _drained, _once(address))
            _drained.add(state)


def _once(address: str) -> str:
    return f"data.path: {address} is a stream and can be read only once; save it to a file first."


def source_addresses(data: DataConfig, cache: Path, progress: ProgressCallback) -> list[str]:
    """Return the addresses of the source, generating the built-in data first if necessary."""
    if data.path is not None:
        return find_addresses(data.path, _origin(data))
    require(data.rows is not None, f"data.path is not set. {_origin(data) or 'Set data.path=FILE.'}")
    path = cache / "houses" / f"houses-{synthetic_houses.VERSION}-{data.rows}.csv"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        # If the file were replaced while another process reads it, that process would report a change.
        with making(cache, path.stem):
            if not path.exists():
                synthetic_houses.generate(
                    path, int(data.rows or 0), progress=lambda rows: progress(IngestProgress("generating", rows))
                )
    return [str(path)]


def _origin(data: DataConfig) -> str:
    return f"Get it from {data.origin}." if data.origin else ""


def _key(addresses: Sequence[str], data: DataConfig) -> str:
    """Hash what determines a table: the current content of its source, and what is read from it."""
    read = {name: value for name, value in flatten(asdict(data)).items() if name not in _NOT_READ}
    read["log_columns"], read["dates"] = sorted(data.log_columns), sorted(data.dates)
    made_of = [FORMAT, [open_file(address).fingerprint() for address in addresses], sorted(read.items())]
    return hashlib.blake2b(json.dumps(made_of).encode(), digest_size=16).hexdigest()


@contextlib.contextmanager
def cache_errors(cache: Path) -> Iterator[None]:
    """Raise a failure to write to a cache as a `ConfigError`."""
    try:
        yield
    except BrokenPipeError:
        raise  # The progress display's output failed, not the cache.
    except OSError as error:
        raise ConfigError(
            f"runtime.cache: cannot write to {error.filename or cache} ({error.strerror or error}). "
            "Free space with `harness data clean`, or set runtime.cache to another folder."
        ) from error
