"""Finds the table for a configuration in the cache, or creates it.

A table is written to a staging folder and renamed when complete, so a table under its final name is always complete.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.config import AnyData, DataConfig
from harness.data.ingest import ProgressCallback
from harness.data.inputs import Input, Say, origin_of
from harness.data.kinds import find_input
from harness.data.row_input import RowFiles, local_addresses, only_once
from harness.data.selection import BLOCK_BYTES
from harness.data.storage.local import LocalFile
from harness.data.tables.locks import hold, making, release
from harness.data.tables.manifest import key_of
from harness.data.tables.removal import remove_table
from harness.data.tables.table import Table, load_table, save_table
from harness.errors import ConfigError, require
from harness.runtime.memory import release_memory
from harness.runtime.secrets import masked
from harness.runtime.state_files import StateError, may_pass


def open_table(
    data: AnyData,
    cache: Path,
    progress: ProgressCallback = lambda state: None,
    say: Say = lambda line: None,
    *,
    block_bytes: int = BLOCK_BYTES,
) -> Table:
    """Return the table of `data` from `cache`; create it if its source is new or has changed, or if it is damaged.

    The table is marked as in use, so that it is not removed before this process ends.

    Args:
        data: What to read.
        cache: The folder of the cache.
        progress: Called while a source is being read.
        say: Called with a message if a damaged file is replaced.
        block_bytes: Bytes of a source parsed at once.

    Raises:
        ConfigError: The source is invalid, or the cache cannot be written to or does not return what was written.
    """
    with cache_errors(cache):
        source = find_input(data, cache, progress, say)
        folder, is_new = cache / "tables" / key_of(source.fingerprints(), data), False
        while True:
            # It may also have just been removed, or something else may have its name.
            with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError, StateError):
                hold(folder)
                return load_table(folder)
            with making(cache, folder.name):
                if (fault := _fault(folder)) is None:
                    continue
                require(
                    not (is_new and fault),
                    f"runtime.cache: {fault} It has just been written, so this disk may be faulty: set runtime.cache "
                    f"to a folder on another disk.",
                )
                if doubt := source.doubt():
                    say(doubt)
                source.begin()
                if fault:
                    _check_owner(folder, fault)
                    say(f"{fault} Rebuilding it from its source.")
                # Unusable derived data is not kept, because a table can be as large as its source.
                release(folder)
                remove_table(folder)
                with staging_folder(folder) as staging:
                    write_table(staging, source, data, progress, block_bytes)
                    is_new = True
                    try:
                        staging.rename(folder)
                    except OSError:
                        # Where locks do not work, another process may have created the table first; it is just as good.
                        if not folder.exists():
                            raise


def find_table(
    data: AnyData,
    cache: Path,
    progress: ProgressCallback = lambda state: None,
    say: Say = lambda line: None,
) -> tuple[Path, int]:
    """Return the folder of the table of `data`, which may not exist yet, and the size of its source; 0 if unknown.

    Raises:
        ConfigError: The source cannot be used, or the cache cannot be read.
    """
    with cache_errors(cache):
        source = find_input(data, cache, progress, say)
        return cache / "tables" / key_of(source.fingerprints(), data), source.size()


def replace_table(
    table: Table,
    data: AnyData,
    cache: Path,
    progress: ProgressCallback = lambda state: None,
    say: Say = lambda line: None,
) -> Table:
    """Rebuild a table that was found damaged while being read.

    Raises:
        ConfigError: The source is gone, has changed, or was a stream.
    """
    name = f"Table {table.folder.name[:8]}"
    try:
        with cache_errors(cache):
            source = find_input(data, cache, progress, say)
            is_same = key_of(source.fingerprints(), data) == table.folder.name
            require(is_same, f"{masked(source.addresses[0])} has changed since.")
            with making(cache, table.folder.name):
                if _fault(table.folder, completely=True):  # Another process may have replaced it.
                    source.begin()
                    release(table.folder)
                    remove_table(table.folder)
        again = open_table(data, cache, progress, say)
    except ConfigError as error:
        raise ConfigError(f"{name} is damaged and cannot be rebuilt: {error}") from error
    require(again.digest == table.digest, f"{name} is damaged, and its source has changed since.")
    return again


def _fault(folder: Path, *, completely: bool = False) -> str | None:
    """Return a sentence saying what is wrong with a table: empty if there is no table, None if it is intact.

    Args:
        folder: The table's folder.
        completely: Also read its columns.
    """
    try:
        table = load_table(folder)
        if completely:
            table.check()
    except FileNotFoundError:
        return "" if not folder.exists() else f"{folder} has no manifest."
    except StateError as error:
        return str(error)
    return None


def _check_owner(folder: Path, fault: str) -> None:
    is_own = folder.stat(follow_symlinks=False).st_uid == os.geteuid()
    require(is_own, f"runtime.cache: {fault} It belongs to another user; set runtime.cache to another folder.")


@contextlib.contextmanager
def staging_folder(folder: Path) -> Iterator[Path]:
    """Yield a new folder next to `folder`, and remove it afterwards unless it was renamed."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = folder.with_name(f".{folder.name}.{os.getpid()}.{threading.get_ident()}")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def write_table(
    folder: Path, source: Input, data: AnyData, progress: ProgressCallback, block_bytes: int = BLOCK_BYTES
) -> Table:
    """Write the table of `data`, read from `source`, into `folder`."""
    states = source.fingerprints()
    table = source.ingest(folder, progress, block_bytes)
    release_memory()
    for before, after in zip(states, source.fingerprints(), strict=True):
        require(before == after, f"{before[0]} changed while it was being read. Train again once it is complete.")
    save_table(table, states, data)
    return table


def check_streams(sources: Sequence[AnyData]) -> None:
    """Reject a stream that more than one table would have to read."""
    wanted: dict[str, set[str]] = {}
    for data in sources:
        if not isinstance(data, DataConfig):
            continue
        for address in local_addresses(data.path, origin_of(data)):
            if LocalFile(address).is_stream:
                wanted.setdefault(address, set()).add(key_of(RowFiles([address], data).fingerprints(), data))
    for address, keys in wanted.items():
        require(len(keys) == 1, only_once(address))


@contextlib.contextmanager
def cache_errors(cache: Path) -> Iterator[None]:
    """Turn failures to read or write a cache into a `ConfigError`."""
    try:
        yield
    except BrokenPipeError:
        raise  # The output of the progress display failed, not the cache.
    except OSError as error:
        if may_pass(error):
            raise ConfigError(
                f"runtime.cache: cannot open {error.filename or cache} ({error.strerror}). Run the same command again."
            ) from error
        raise ConfigError(
            f"runtime.cache: cannot write to {error.filename or cache} ({error.strerror or error}). "
            "Free space with `harness data clean`, or set runtime.cache to another folder."
        ) from error
