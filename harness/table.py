"""A source, parsed once and kept on disk as float32 columns; blocks are read from here, any number of times.

A table is a folder: one raw little-endian float32 file a column and part, rows in file order, and `table.json`. It is
written aside and renamed when it is complete, so that what has its final name is whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from harness import houses
from harness.config import DataConfig, require
from harness.ingest import Ingested, Part, Progress, column_path, ingest
from harness.statistics import Column

FORMAT = 1
EDGE_BYTES = 1 << 20


@dataclass(frozen=True)
class Table:
    """A complete table.

    Attributes:
        folder: Where it lies.
        source: The file that it was made from.
        columns: Features in the model's order, the target last.
        train_rows: Rows that are trained on.
        holdout_rows: Rows that are held out.
        dropped: Rows left out because a field was empty.
        filled: Fields filled with the training mean.
        digest: Of all values, their names and their parts, 32 hexadecimal digits.
    """

    folder: Path
    source: Path
    columns: tuple[Column, ...]
    train_rows: int
    holdout_rows: int
    dropped: int
    filled: int
    digest: str

    def rows(self, part: Part) -> int:
        """Return the number of rows of `part`."""
        return self.train_rows if part == "train" else self.holdout_rows

    def read(self, part: Part, start: int, stop: int) -> np.ndarray:
        """Return rows `[start, stop)` of `part` as float32 `[columns, rows]`."""
        out = np.empty((len(self.columns), stop - start), np.float32)
        for index, values in enumerate(out):
            with column_path(self.folder, part, index).open("rb") as file:
                file.seek(start * values.itemsize)
                # Buffered: one bare read stops at 2 GiB.
                got = file.readinto(values.data)
                require(got == values.nbytes, "a table's file expected more rows", file.name, "Remove its folder.")
        return out


def open_table(data: DataConfig, cache: Path, progress: Progress = lambda what, rows: None) -> Table:
    """Return the table of `data`, made now unless a complete one of the same source lies in `cache`.

    Args:
        data: Which source, columns, split and treatment of empty fields.
        cache: Folder of tables and generated data.
        progress: Called with what is being done and the rows done so far.

    Raises:
        ConfigError: The source cannot be used; the sentence says why, with the row where it is a row.
    """
    source = _source(data, cache, progress)
    folder = cache / "tables" / _key(source, data)
    if not (folder / "table.json").is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = folder.with_name(f".{folder.name}.{os.getpid()}.{threading.get_ident()}")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        try:
            _save(aside, source, ingest(source, data, aside, progress))
            # Another process or thread may have been first; its table is as good as ours.
            with contextlib.suppress(OSError):
                aside.rename(folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return _load(folder)


def _source(data: DataConfig, cache: Path, progress: Progress) -> Path:
    """Return the path of the source, generated now if it is the built-in data."""
    if data.path is None:
        require(
            data.rows is not None,
            "data.path expected a CSV file",
            "nothing",
            f"Get it from {data.origin}." if data.origin else "Set data.path=FILE.",
        )
        path = cache / "houses" / f"houses-{data.rows}.csv"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            houses.generate(path, int(data.rows or 0), progress=lambda rows: progress("generating", rows))
        return path
    path = Path(data.path).expanduser().absolute()
    remedy = f"Get it from {data.origin}." if data.origin else ""
    require(path.is_file(), "data.path expected a CSV file", path, remedy)
    return path


def _key(source: Path, data: DataConfig) -> str:
    """Hash what a table is made of: the source as it lies there now, and what is read of it."""
    status = source.stat()
    with source.open("rb") as file:
        head = file.read(EDGE_BYTES)
        file.seek(max(0, status.st_size - EDGE_BYTES))
        edges = hashlib.blake2b(head + file.read(EDGE_BYTES)).hexdigest()
    made_of = [
        FORMAT,
        [str(source), status.st_size, status.st_mtime_ns, status.st_ino, edges],
        [data.columns, sorted(data.log_columns), data.holdout, data.split_seed, data.missing.value],
    ]
    return hashlib.blake2b(json.dumps(made_of).encode(), digest_size=16).hexdigest()


def _save(folder: Path, source: Path, found: Ingested) -> None:
    with (folder / "table.json").open("w") as file:
        json.dump({"source": str(source), **asdict(found)}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())


def _load(folder: Path) -> Table:
    manifest = json.loads((folder / "table.json").read_text())
    columns = tuple(Column(**column) for column in manifest.pop("columns"))
    return Table(folder=folder, source=Path(manifest.pop("source")), columns=columns, **manifest)
