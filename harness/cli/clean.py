"""Lists what the harness keeps on disk, and removes what is no longer needed."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table as View
from rich.text import Text

from harness.data.built_in import generated, note_path
from harness.data.tables import removal
from harness.data.tables.cache import NEEDED, list_tables, remove_unused, sources_of
from harness.data.tables.locks import try_lock
from harness.errors import require
from harness.formatting import age, count, data_size
from harness.runtime.secrets import masked, shown
from harness.sweep.checkpoint import checkpoint_exists, checkpoints, manifest, needed_tables
from harness.tracking.outbox import lock_of, undelivered
from harness.tracking.uri import file_path, sqlite_path

if TYPE_CHECKING:
    from harness.tracking.reader import RunReader

KINDS = ("checkpoints", "tables", "tiles", "records", "artifacts")
IN_USE, UNDELIVERED = "is in use", "has not been delivered to a store"

_SECONDS = {"h": 3600.0, "d": 86_400.0, "w": 604_800.0}


@dataclass(frozen=True)
class Item:
    """A file or folder that `harness clean` lists."""

    kind: str  # One of `KINDS`; generated data counts as tables.
    name: str
    state: str  # What the item is, or what happened to it.
    bytes: int
    used: float  # When the item was last written or opened, in seconds since 1970.
    kept: str  # Why the item must be kept: `NEEDED`, `UNDELIVERED`, `IN_USE`, or empty.
    remove: Callable[[], bool]  # Removes the item and returns True, or returns False if a process is using it.


def seconds(text: str) -> float:
    """Return an age such as `7d`, `12h` or `2w` in seconds; a plain number means days."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([hdw]?)", text)
    require(bool(found), f"--older-than must be an age such as 7d, 12h or 2w, not {text}.")
    return float(found[1]) * _SECONDS[found[2] or "d"]  # type: ignore[index]


def survey(cache: Path, kinds: Sequence[str] = KINDS, records: RunReader | None = None) -> list[Item]:
    """Return the items of `kinds`, by kind, largest first; artifacts need a reader of a local store."""
    local = {"checkpoints": _checkpoints, "tables": _tables, "tiles": _tiles, "records": _records}
    found = (local[kind](cache) if kind in local else _artifacts(records) for kind in kinds)
    return [item for each in found for item in sorted(each, key=lambda item: -item.bytes)]


def look(cache: Path, kinds: Sequence[str], uri: str, *, is_asked: bool) -> list[Item]:
    """Like `survey`, but include artifacts if the store is a file; otherwise, reject requests for artifacts."""
    records, path = None, sqlite_path(uri)
    remedy = f"Run `mlflow gc` on the server of {masked(uri)}."
    require(path is not None or not is_asked, f"--artifacts needs a local store. {remedy}")
    if "artifacts" in kinds and path and (is_asked or path.is_file()):
        from harness.tracking.reader import RunReader

        records = RunReader(uri)
    return survey(cache, kinds, records)


def free(items: Sequence[Item], *, force: bool, dry_run: bool) -> Iterator[str]:
    """Remove items, and yield a line for each item and for the total; a dry run only reports what would be removed.

    Items in use by a process are kept and, without `force`, so are items that an interrupted sweep needs.
    """
    freed = 0
    for item in items:
        kept = "" if force and item.kept != IN_USE else item.kept
        if not kept and not dry_run and not item.remove():
            kept = IN_USE
        if kept:
            yield f"{item.name} {kept} and is kept{'' if kept == IN_USE else ' (--force removes it)'}"
        else:
            freed += item.bytes
            if dry_run:
                yield f"{item.name}: {data_size(item.bytes)}, {item.state}"
    yield f"{data_size(freed)} {'would be ' if dry_run else ''}freed"


def render(items: Sequence[Item]) -> RenderableType:
    """Return a table of items, and how much each option of `harness clean` would free."""
    view = View(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    view.add_column("kind")
    view.add_column("name", overflow="fold")
    view.add_column("size", justify="right")
    view.add_column("age", justify="right")
    view.add_column("state", overflow="fold")
    for item in items:
        state = ", ".join(filter(None, (item.state, item.kept)))
        name, size = Text(shown(item.name)), data_size(item.bytes)
        view.add_row(item.kind, name, size, age(time.time() - item.used), Text(shown(state)))
    can_go = {kind: sum(item.bytes for item in items if item.kind == kind and not item.kept) for kind in KINDS}
    frees = ", ".join(f"--{kind} {data_size(can_go[kind])}" for kind in KINDS if kind != "records")
    total = data_size(sum(item.bytes for item in items))
    return Group(view, Text(f"{total} in total; can be freed: {frees}, --all {data_size(sum(can_go.values()))}"))


def _checkpoints(cache: Path) -> Iterator[Item]:
    for folder in checkpoints(cache):
        known = manifest(folder)
        lock = folder / "lock"
        is_begun = bool(known) or checkpoint_exists(folder)
        kept = IN_USE if _is_locked(lock) else NEEDED if is_begun else ""
        state = known.get("command", "") if is_begun else "left by a process that was killed while starting"
        yield Item("checkpoints", folder.name, state, _size(folder), _newest(folder), kept, _removal(folder, lock=lock))


def _tables(cache: Path) -> Iterator[Item]:
    tables = needed_tables(cache)
    sources = sources_of(cache, tables)
    for shelved in list_tables(cache):
        kept = NEEDED if shelved.folder.name in tables else ""
        kept = IN_USE if _is_locked(shelved.folder / "table.json") else kept
        state = f"{shelved.state}: {', '.join(shelved.addresses)}".removesuffix(": ")
        remove = lambda shelved=shelved: remove_unused(shelved)  # noqa: E731
        yield Item("tables", shelved.name, state, shelved.bytes, shelved.used, kept, remove)
    for file in generated(cache):
        kept = NEEDED if str(file.absolute()) in sources else ""
        yield Item("tables", file.name, "generated", _size(file), _newest(file), kept, _removal(file, note_path(file)))


def _tiles(cache: Path) -> Iterator[Item]:
    folder = cache / "tiles"
    if folder.is_dir():
        state = f"{count(len(_files(folder)), 'measurement')} of harness tune"
        yield Item("tiles", folder.name, state, _size(folder), _newest(folder), "", _removal(folder))


def _records(cache: Path) -> Iterator[Item]:
    for path in sorted((cache / "outbox").glob("*.jsonl")):
        note, files, lock = path.with_suffix(".delivered"), path.with_suffix(".files"), lock_of(path)
        rejected = path.with_suffix(".rejected")
        with contextlib.suppress(OSError):  # Another process may be delivering it.
            pending = undelivered(path)
            kept = IN_USE if _is_locked(lock) else UNDELIVERED if pending else ""
            state, size = "" if pending else "delivered", _size(path) + _size(files)
            run = _removal(path, note, files, rejected, lock, lock=lock)
            yield Item("records", path.name, state, size, _newest(path), kept, run)
    for path in sorted((cache / "outbox").glob("*.*")):
        is_left = path.suffix == ".rejected" and not path.with_suffix(".jsonl").exists()
        if is_left or path.suffix == ".damaged":
            yield Item("records", path.name, "set aside", _size(path), _newest(path), "", _removal(path))


def _artifacts(records: RunReader | None) -> Iterator[Item]:
    """Yield the files of failed and deleted runs, which are next to the store."""
    if records is None or (root := records.artifacts) is None:
        return
    for run, addresses in records.discarded():
        places = [place for place in map(file_path, addresses) if place]
        places = [place for place in places if place.name == "artifacts" and place.resolve().is_relative_to(root)]
        size = sum(map(_size, places))
        state = "deleted" if run.info.lifecycle_stage == "deleted" else "failed"
        if size:
            name = f"{run.info.run_id[:8]} {run.info.run_name}"
            used = (run.info.end_time or run.info.start_time or 0) / 1000
            yield Item("artifacts", name, state, size, used, "", _removal(*places))


def _removal(*paths: Path, lock: Path | None = None) -> Callable[[], bool]:
    def run() -> bool:
        with contextlib.ExitStack() as held:
            if lock and not try_lock(lock, held):
                return False
            for path in paths:
                removal.remove(path)
        return True

    return run


def _is_locked(path: Path) -> bool:
    with contextlib.ExitStack() as held:
        return not try_lock(path, held)


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file() and not file.is_symlink()]


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in _files(path))


def _newest(path: Path) -> float:
    return max((file.stat().st_mtime for file in [path, *_files(path)]), default=0.0)
