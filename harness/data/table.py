"""A source, parsed once and kept on disk as float32 columns; blocks are read from here, any number of times.

A table is a folder: one raw little-endian float32 file a column and part, and `table.json`. It is written aside and
renamed when it is complete, so that what has its final name is whole.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.config import DataConfig, Order, Reader, flatten
from harness.data import synthetic_houses
from harness.data.ingest import Ingested, IngestProgress, ProgressCallback, ingest
from harness.data.sources import find_files, fingerprint, is_stream
from harness.data.statistics import Column
from harness.data.table_writer import Part, column_path
from harness.errors import ConfigError, require
from harness.runtime.memory import release_memory

FORMAT = 2


@dataclass(frozen=True)
class Table:
    """A complete table.

    Attributes:
        folder: Where it lies.
        source: The first file that it was made from.
        columns: Features in the model's order, the target last.
        train_rows: Rows that are trained on.
        holdout_rows: Rows that are held out.
        dropped: Rows left out because a field was empty.
        filled: Fields filled with the training mean, and empty categories.
        drift: What the target's mean does along the rows, in a sentence, if it does anything.
        digest: Of all values, their names and their parts, 32 hexadecimal digits.
        order: How training rows are ordered.
        split_seed: Draws the split, and the order of shuffled rows.
    """

    folder: Path
    source: Path
    columns: tuple[Column, ...]
    train_rows: int
    holdout_rows: int
    dropped: int
    filled: int
    drift: str
    digest: str
    order: Order
    split_seed: int

    def rows(self, part: Part) -> int:
        """Return the number of rows of `part`."""
        return self.train_rows if part == "train" else self.holdout_rows

    @property
    def inputs(self) -> list[str]:
        """Names of a model's inputs: a categorical feature stands there once for each category, and for others."""
        return [name for column in self.columns[:-1] for name in _inputs(column)]

    def read(self, part: Part, start: int, stop: int) -> np.ndarray:
        """Return rows `[start, stop)` of `part`, as they were written, as float32 `[columns, rows]`."""
        out = np.empty((len(self.columns), stop - start), np.float32)
        for index, values in enumerate(out):
            with column_path(self.folder, part, index).open("rb") as file:
                file.seek(start * values.itemsize)
                # Buffered: one bare read stops at 2 GiB.
                got = file.readinto(values.data)
                require(got == values.nbytes, "a table's file expected more rows", file.name, "Remove its folder.")
        return out


def _inputs(column: Column) -> list[str]:
    values = [f"{value:g}" if isinstance(value, float) else value for value in column.categories]
    return [f"{column.name}/{value}" for value in ["other", *values]] if values else [column.name]


def open_table(
    data: DataConfig, cache: Path, progress: ProgressCallback = lambda state: None, reader: Reader = Reader.pandas
) -> Table:
    """Return the table of `data`, made now unless a complete one of the same source lies in `cache`.

    It is in use as long as this process lives; `harness.data.table_cache` leaves it alone until then.

    Args:
        data: Which source, columns, split, order and treatment of empty fields.
        cache: Folder of tables and generated data.
        progress: Called with the state of the work.
        reader: The library that parses CSV.

    Raises:
        ConfigError: The source cannot be used, or the table has no room; the sentence says why, with the line if it is
            a line's fault.
    """
    with room_for(cache):
        files = source_files(data, cache, progress)
        folder = cache / "tables" / _key(files, data)
        while True:
            if not (folder / "table.json").is_file():
                _drain(files)
                with written_aside(folder) as aside:
                    write_table(aside, files, data, reader, progress)
                    # Another process or thread may have been first; its table is as good as ours.
                    with contextlib.suppress(OSError):
                        aside.rename(folder)
            with contextlib.suppress(FileNotFoundError):  # It was cleaned away in between.
                hold(folder)
                return load_table(folder)


@contextlib.contextmanager
def written_aside(folder: Path) -> Iterator[Path]:
    """Give a folder beside `folder`, whose name says which process is at work, and remove it if it is still there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.{threading.get_ident()}")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def write_table(folder: Path, files: list[Path], data: DataConfig, reader: Reader, progress: ProgressCallback) -> None:
    """Write the table of `data`, whose source is `files`, into `folder`."""
    states = [fingerprint(file) for file in files]
    found = ingest(files, data, reader, folder, progress)
    release_memory()
    changed = [str(file) for file, state in zip(files, states, strict=True) if fingerprint(file) != state]
    remedy = "Train when they are complete."
    require(not changed, "data.path expected files that nobody writes to", ", ".join(changed), remedy)
    with (folder / "table.json").open("w") as file:
        json.dump({"files": states, "data": flatten(asdict(data)), **asdict(found)}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())


def load_table(folder: Path) -> Table:
    """Return the complete table in `folder`."""
    manifest: dict[str, Any] = json.loads((folder / "table.json").read_text())
    data, files = manifest.pop("data"), manifest.pop("files")
    columns = [Column(**column | {"categories": tuple(column["categories"])}) for column in manifest.pop("columns")]
    found = Ingested(columns=columns, **manifest)
    return Table(
        folder=folder,
        source=Path(files[0][0]),
        columns=tuple(columns),
        train_rows=found.train_rows,
        holdout_rows=found.holdout_rows,
        dropped=found.dropped,
        filled=found.filled,
        drift=found.drift,
        digest=found.digest,
        order=Order(data["order"]),
        split_seed=data["split_seed"],
    )


def check_streams(sources: Sequence[DataConfig]) -> None:
    """Refuse a stream of which several tables would have to be made.

    Raises:
        ConfigError: It says which.
    """
    wanted: dict[Path, set[str]] = {}
    for data in sources:
        for file in filter(is_stream, find_files(data.path, _remedy(data)) if data.path else []):
            wanted.setdefault(file, set()).add(_key([file], data))
    again = [str(file) for file, keys in wanted.items() if len(keys) > 1]
    require(not again, "data.path expected a file to read more than once", f"{', '.join(again)}, a stream", "Save it.")


def _drain(files: list[Path]) -> None:
    """Note which streams are read now, and refuse those that were: nobody would write to them again."""
    for file in filter(is_stream, files):
        state = tuple(map(str, fingerprint(file)))
        require(
            state not in _drained, "data.path expected a file to read more than once", f"{file}, a stream", "Save it."
        )
        _drained.add(state)


_drained: set[tuple[str, ...]] = set()
_held: dict[Path, int] = {}


def hold(folder: Path) -> None:
    """Keep a shared lock on a table until this process ends, so that it is not cleaned away under its users.

    Raises:
        FileNotFoundError: It was cleaned away just now.
    """
    path = folder / "table.json"
    if folder not in _held or not path.exists():
        if (before := _held.pop(folder, None)) is not None:
            os.close(before)
        file = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(file, fcntl.LOCK_SH)
            path.stat()  # Whoever had the lock may have removed it.
        except OSError:
            os.close(file)
            raise
        _held[folder] = file
    with contextlib.suppress(PermissionError):
        os.utime(path)  # Its time tells when it was last used.


def source_files(data: DataConfig, cache: Path, progress: ProgressCallback) -> list[Path]:
    """Return the files of the source, generated now if it is the built-in data."""
    if data.path is not None:
        return find_files(data.path, _remedy(data))
    require(data.rows is not None, "data.path expected a file", "nothing", _remedy(data) or "Set data.path=FILE.")
    path = cache / "houses" / f"houses-{synthetic_houses.VERSION}-{data.rows}.csv"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with (path.parent / ".lock").open("w") as lock:
            # Whoever comes second must not put another file in the place of the one that is being read.
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                synthetic_houses.generate(
                    path, int(data.rows or 0), progress=lambda rows: progress(IngestProgress("generating", rows))
                )
    return [path]


def _remedy(data: DataConfig) -> str:
    return f"Get it from {data.origin}." if data.origin else ""


def _key(files: list[Path], data: DataConfig) -> str:
    """Hash what a table is made of: the source as it lies there now, and what is read of it."""
    read = {name: value for name, value in flatten(asdict(data)).items() if name not in _NOT_READ}
    read["log_columns"], read["dates"] = sorted(data.log_columns), sorted(data.dates)
    made_of = [FORMAT, [fingerprint(file) for file in files], sorted(read.items())]
    return hashlib.blake2b(json.dumps(made_of).encode(), digest_size=16).hexdigest()


_NOT_READ = ("path", "rows", "origin", "scaling")
"""What of `DataConfig` says nothing about a table's content that the source's fingerprint does not."""


@contextlib.contextmanager
def room_for(cache: Path) -> Iterator[None]:
    """Say in a sentence that there is no room, or no permission, to write to a cache."""
    try:
        yield
    except BrokenPipeError:
        raise  # Of whoever was to read of the progress.
    except OSError as error:
        where = error.filename or cache
        raise ConfigError(
            f"runtime.cache expected a folder with room for the table. Received: {where} ({error.strerror or error}). "
            "`harness data clean` frees what is not needed; runtime.cache=FOLDER names another."
        ) from error
