"""The tables in a cache: what they are, whether they still are what they say, and room for others."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table as View
from rich.text import Text

from harness.config import DataConfig, Missing, Order, Reader, Scaling
from harness.data.ingest import ProgressCallback, digest_of
from harness.data.sources import fingerprint
from harness.data.table import Table, load_table, room_for, write_table, written_aside
from harness.data.table_writer import PARTS, column_path, digest_file
from harness.errors import ConfigError, require
from harness.formatting import millions

NEEDED = "is needed by a sweep that can go on"


@dataclass(frozen=True)
class CachedTable:
    """A table in a cache, or what an ingest that was killed left of one.

    Attributes:
        name: Of its folder; the first eight characters say it.
        table: None for a leftover.
        files: Where its rows came from.
        bytes: On disk.
        used: When it was last opened or made, in seconds since 1970.
        state: `ready`; `stale`, when its source is gone, or is not what it was; or `broken`, for a leftover.
    """

    folder: Path
    table: Table | None
    files: tuple[str, ...]
    bytes: int
    used: float
    state: str

    @property
    def name(self) -> str:
        """What it is called on the command line."""
        return self.folder.name.removeprefix(".")[:8]


def list_tables(cache: Path) -> list[CachedTable]:
    """Return all tables and leftovers in a cache, the one used last first."""
    folders = [folder for folder in (cache / "tables").glob("*") if folder.is_dir()]
    found = [_look(folder) for folder in folders if folder.name[0] != "." or not _is_at_work(folder)]
    return sorted(found, key=lambda shelved: -shelved.used)


def select_tables(cache: Path, names: Sequence[str]) -> list[CachedTable]:
    """Return the tables whose names begin with one of `names`, or whose source is one of them; all for none.

    Raises:
        ConfigError: One of the names fits no table.
    """
    tables = list_tables(cache)
    chosen: list[CachedTable] = []
    for name in names:
        fits = [table for table in tables if table.name.startswith(name) or str(Path(name).absolute()) in table.files]
        known = ", ".join(table.name for table in tables) or "none"
        require(bool(fits), f"TABLES expected names of tables in {cache}", name, f"There: {known}.")
        chosen += [table for table in fits if table not in chosen]
    return chosen if names else tables


def verify_table(shelved: CachedTable, progress: ProgressCallback) -> str:
    """Read a table and its source from end to end; return what is wrong, or nothing if they agree.

    Later uses of a table look at its source's size, times and ends only; this looks at all of it.
    """
    table = shelved.table
    if table is None:
        return "no table of this version: `harness data clean` removes it"
    digests = [
        digest_file(column_path(table.folder, part, index)) for part in PARTS for index in range(len(table.columns))
    ]
    if digest_of(table.columns, digests) != table.digest:
        return "its files are not what they were: remove it, and it is made anew"
    if any(not Path(file).is_file() for file in shelved.files):
        return "its source is not there, or can be read once only"
    with room_for(table.folder), written_aside(table.folder) as again:
        try:
            write_table(again, [Path(file) for file in shelved.files], _data_of(table.folder), Reader.pandas, progress)
        except ConfigError as error:
            return f"its source cannot be read again: {error}"
        found = load_table(again)
    if found.digest != table.digest:
        return "its source has other rows now: remove it, and it is made anew"
    return ""


def free(cache: Path, names: Sequence[str], *, everything: bool, age: float | None) -> Iterator[str]:
    """Remove tables that no process is using, and say what was done, line by line.

    Args:
        cache: Where they lie.
        names: Which ones; none means those that are stale or broken.
        everything: Whether also tables that are ready go, and generated data.
        age: Only those that were not used for so many seconds.
    """
    chosen = [table for table in select_tables(cache, names) if names or everything or table.state != "ready"]
    chosen = [table for table in chosen if age is None or time.time() - table.used >= age]
    tables, sources = needed(cache)
    freed = 0
    for table in chosen:
        if table.folder.name in tables:
            yield f"{table.name} {NEEDED}, and stays"
        elif remove_table(table):
            freed += table.bytes
        else:
            yield f"{table.name} is in use, and stays"
    if everything and age is None and not names:
        for file in generated(cache):
            if str(file.absolute()) not in sources:
                freed += file.stat().st_size
                file.unlink()
    yield f"{millions(freed)}B freed"


def generated(cache: Path) -> list[Path]:
    """Return the files of generated data in a cache."""
    return sorted((cache / "houses").glob("*.csv"))


def needed(cache: Path) -> tuple[set[str], set[str]]:
    """Return the names of the tables, and the files they come from, without which a broken sweep could not go on."""
    tables = {checkpoint.get("table", "") for checkpoint in map(manifest, checkpoints(cache))}
    sources: set[str] = set()
    for name in tables:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            states = json.loads((cache / "tables" / name / "table.json").read_text())["files"]
            sources |= {state[0] for state in states}
    return tables, sources


def checkpoints(cache: Path) -> list[Path]:
    """Return the folders of scans that are not finished."""
    return sorted(folder for folder in (cache / "checkpoints").glob("*") if folder.is_dir())


def manifest(checkpoint: Path) -> dict[str, str]:
    """Return what a scan's folder says of itself; nothing if it cannot be read."""
    try:
        known = json.loads((checkpoint / "manifest.json").read_text())
    except (OSError, ValueError):
        return {}
    return {key: str(value) for key, value in known.items()} if isinstance(known, dict) else {}


def remove_table(shelved: CachedTable) -> bool:
    """Remove a table; return False if a process is using it."""
    if shelved.table:
        try:
            with (shelved.folder / "table.json").open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Without this file, what is left is no table.
                (shelved.folder / "table.json").unlink()
        except BlockingIOError:
            return False
    shutil.rmtree(shelved.folder, ignore_errors=True)
    return True


def render(tables: Sequence[CachedTable]) -> RenderableType:
    """Return a table of `tables`."""
    view = View(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    view.add_column("table")
    view.add_column("state")
    for title in ("rows", "columns", "size"):
        view.add_column(title, justify="right")
    view.add_column("used")
    view.add_column("source", overflow="fold")
    for shelved in tables:
        table = shelved.table
        rows = f"{table.train_rows + table.holdout_rows:,}" if table else ""
        more = f" and {len(shelved.files) - 1} more" if len(shelved.files) > 1 else ""
        source = f"{shelved.files[0]}{more}" if shelved.files else "none: a killed ingest's, or another version's"
        columns = str(len(table.columns)) if table else ""
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(shelved.used))
        view.add_row(shelved.name, shelved.state, rows, columns, f"{millions(shelved.bytes)}B", used, Text(source))
    return Group(view, Text(f"{millions(sum(table.bytes for table in tables))}B in all"))


def _look(folder: Path) -> CachedTable:
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    try:
        states, table = json.loads((folder / "table.json").read_text())["files"], load_table(folder)
    except (OSError, ValueError, KeyError, TypeError):
        # What a killed ingest left, or another version made.
        return CachedTable(folder, None, (), size, folder.stat().st_mtime, "broken")
    try:
        stale = any(fingerprint(Path(state[0])) != state for state in states)
    except (OSError, ConfigError):
        stale = True
    used = (folder / "table.json").stat().st_mtime
    files = tuple(state[0] for state in states)
    return CachedTable(folder, table, files, size, used, "stale" if stale else "ready")


def _is_at_work(folder: Path) -> bool:
    """Say whether the process that writes a folder aside is alive."""
    number = folder.name.split(".")[-2]
    try:
        os.kill(int(number), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        pass
    return True


def _data_of(folder: Path) -> DataConfig:
    """Return the configuration that a table was made with."""
    data: dict[str, Any] = json.loads((folder / "table.json").read_text())["data"]
    kinds = {"scaling": Scaling, "missing": Missing, "order": Order}
    known = {field.name for field in fields(DataConfig)}
    return DataConfig(**{key: kinds.get(key, lambda same: same)(value) for key, value in data.items() if key in known})
