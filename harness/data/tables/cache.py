"""Lists, verifies and removes the tables in a cache."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Group, RenderableType
from rich.table import Table as View
from rich.text import Text

from harness.data.built_in import generated, note_path
from harness.data.ingest import ProgressCallback
from harness.data.kinds import input_at
from harness.data.storage.urls import scheme
from harness.data.tables.builder import cache_errors, staging_folder, write_table
from harness.data.tables.locks import unused
from harness.data.tables.manifest import MANIFEST, Manifest, read_manifest
from harness.data.tables.removal import remove, remove_table
from harness.data.tables.table import Table, load_table
from harness.errors import ConfigError, require
from harness.formatting import data_size
from harness.runtime.secrets import shown
from harness.runtime.state_files import StateError, may_pass

NEEDED = "is needed to resume a sweep"

REMEDY = "remove the table (it is rebuilt when needed)"


@dataclass(frozen=True)
class CachedTable:
    """A table in a cache, usable or not (incomplete, damaged, or from another version).

    Attributes:
        table: None if it cannot be used.
        addresses: Addresses of the source's files.
        used: When it was last opened or created, in seconds since 1970.
        state: `ready`; `stale` if a local source is missing or has changed; or `broken` if it cannot be used.
        fault: Why it cannot be used, as a sentence.
    """

    folder: Path
    table: Table | None
    addresses: tuple[str, ...]
    bytes: int
    used: float
    state: str
    fault: str = ""

    @property
    def name(self) -> str:
        """The table's name on the command line: the first eight characters of its folder's name."""
        return self.folder.name.removeprefix(".")[:8]


def list_tables(cache: Path) -> list[CachedTable]:
    """Return all tables in a cache, including incomplete ones, most recently used first."""
    folders = [folder for folder in (cache / "tables").glob("*") if folder.is_dir()]
    found = [_inspect(folder) for folder in folders if folder.name[0] != "." or not _is_being_written(folder)]
    return sorted(found, key=lambda cached: -cached.used)


def select_tables(cache: Path, names: Sequence[str]) -> list[CachedTable]:
    """Return the tables whose name starts with one of `names` or whose source is one of them; all by default."""
    tables = list_tables(cache)
    chosen: list[CachedTable] = []
    for name in names:
        address = name if scheme(name) else str(Path(name).absolute())
        fits = [table for table in tables if table.name.startswith(name) or address in table.addresses]
        known = ", ".join(table.name for table in tables) or "none"
        require(bool(fits), f"No table {name} in {cache}. Tables there: {known}.")
        chosen += [table for table in fits if table not in chosen]
    return chosen if names else tables


def verify_table(cached: CachedTable, progress: ProgressCallback) -> str:
    """Read a table and its source completely, and return what is wrong; empty if they agree."""
    table = cached.table
    if table is None:
        return f"{cached.fault.removesuffix('.') or 'incomplete'}; {REMEDY}"
    try:
        table.check()
        manifest = read_manifest(table.folder)
    except (StateError, FileNotFoundError) as error:
        return f"{str(error).removesuffix('.')}; {REMEDY}"
    if any(not scheme(name) and not (Path(name).is_file() or Path(name).is_dir()) for name in cached.addresses):
        return "its source is missing, or was a stream"
    with cache_errors(table.folder), staging_folder(table.folder) as again:
        try:
            found = write_table(again, input_at(cached.addresses, manifest.data), manifest.data, progress)
        except ConfigError as error:
            return f"its source cannot be read again: {error}"
    return "" if found.digest == table.digest else f"its source has changed; {REMEDY}"


def free(
    cache: Path, names: Sequence[str], *, everything: bool, age: float | None, needed: Collection[str] = ()
) -> Iterator[str]:
    """Remove tables that no process is using, and yield lines that report the removals.

    Args:
        cache: The cache folder.
        names: The tables to remove; by default, those that are stale or broken.
        everything: Also remove ready tables and generated data.
        age: Remove only tables that have not been used for this many seconds.
        needed: Folder names of tables to keep.
    """
    chosen = [table for table in select_tables(cache, names) if names or everything or table.state != "ready"]
    chosen = [table for table in chosen if age is None or max(time.time() - table.used, 0) >= age]
    freed = 0
    for table in chosen:
        if table.folder.name in needed:
            yield f"{table.name} {NEEDED} and is kept"
        elif remove_unused(table):
            freed += table.bytes
        else:
            yield f"{table.name} is in use and is kept"
    if everything and age is None and not names:
        sources = sources_of(cache, needed)
        for file in generated(cache):
            if str(file.absolute()) not in sources:
                freed += file.stat().st_size
                remove(file)
                remove(note_path(file))
    yield f"{data_size(freed)} freed"


def sources_of(cache: Path, names: Collection[str]) -> set[str]:
    """Return the addresses of the sources of tables, given by their folder names."""
    tables = [cached for cached in list_tables(cache) if cached.folder.name in names]
    return {address for cached in tables for address in cached.addresses}


def remove_unused(cached: CachedTable) -> bool:
    """Remove a table; return False if a process is using it."""
    with unused(cached.folder) as is_unused:
        if is_unused:
            remove_table(cached.folder)
    return is_unused


def render(tables: Sequence[CachedTable]) -> RenderableType:
    """Lay out `tables` for a terminal."""
    view = View(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    for title in ("table", "state", "rows", "columns", "size", "used"):
        view.add_column(title, justify="right" if title in ("rows", "columns", "size") else "left")
    view.add_column("source", overflow="fold")
    for cached in tables:
        table = cached.table
        rows = f"{table.train_rows + table.holdout_rows + table.test_rows:,}" if table else ""
        more = f" and {len(cached.addresses) - 1} more" if len(cached.addresses) > 1 else ""
        source = (
            f"{cached.addresses[0]}{more}"
            if cached.addresses
            else "none: interrupted, damaged, or made by another version"
        )
        columns = str(len(table.columns)) if table else ""
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(cached.used))
        name, source = (Text(shown(words)) for words in (cached.name, source))
        view.add_row(name, cached.state, rows, columns, data_size(cached.bytes), used, source)
    return Group(view, Text(f"{data_size(sum(table.bytes for table in tables))} in total"))


def _inspect(folder: Path) -> CachedTable:
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    manifest: Manifest | None = None
    table, fault = None, ""
    try:
        manifest = read_manifest(folder)
        table = load_table(folder)
    except StateError as error:
        fault = str(error)
    except OSError as error:
        if may_pass(error):
            raise
    addresses = tuple(str(state[0]) for state in manifest.files) if manifest else ()
    if table is None or manifest is None:
        return CachedTable(folder, None, addresses, size, folder.stat().st_mtime, "broken", fault)
    try:
        stale = input_at(addresses, manifest.data).has_changed([list(file) for file in manifest.files])
    except (OSError, ConfigError):
        stale = True
    used = (folder / MANIFEST).stat().st_mtime
    return CachedTable(folder, table, addresses, size, used, "stale" if stale else "ready")


def _is_being_written(folder: Path) -> bool:
    """Return True if the process that writes to a staging folder is still alive."""
    process = folder.name.split(".")[-2]
    return process.isdecimal() and psutil.pid_exists(int(process))
