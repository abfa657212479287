"""CSV in, typed chunks out: the first step of the flow, and the only place that parses text."""

from __future__ import annotations

import codecs
import contextlib
import queue
import re
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from pandas.io.common import get_handle

from harness.config import ConfigError, require

READ_ROWS = 100_000
"""Rows parsed at once. It is fixed, since statistics are merged in this grain."""

T = TypeVar("T")


def prefetch(items: Iterable[T], depth: int = 1) -> Generator[T]:
    """Yield `items`, computed ahead by a thread: `depth` of them wait here, and it holds one more.

    An error in the thread is raised here, in its place; closing the generator ends the thread.
    """
    done = object()
    buffer: queue.Queue = queue.Queue(maxsize=depth)
    closed = threading.Event()

    def put(item: object) -> None:
        while not closed.is_set():
            try:
                buffer.put(item, timeout=0.1)
                return
            except queue.Full:
                continue

    def produce() -> None:
        try:
            for item in items:
                put((item, None))
                if closed.is_set():
                    return
            put((done, None))
        except BaseException as error:
            put((done, error))

    thread = threading.Thread(target=produce, name="prefetch", daemon=True)
    thread.start()
    try:
        while True:
            item, error = buffer.get()
            if error is not None:
                raise error
            if item is done:
                return
            yield item
    finally:
        closed.set()
        thread.join()


def read_header(path: Path) -> list[str]:
    """Return the names of the columns of the CSV at `path`.

    Raises:
        ConfigError: There is no such file, or it has no header that can be read.
    """
    require(path.is_file(), "data.path expected a CSV file", path)
    try:
        return list(pd.read_csv(path, nrows=0))
    except pd.errors.EmptyDataError:
        raise ConfigError(f"data.path expected a CSV with a header line. Received: an empty file, {path}.") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"data.path expected a CSV in UTF-8. Received: {path}, where {_one_line(error)}.") from error
    except pd.errors.ParserError as error:
        raise _malformed(path, error, above=1) from error


def read_chunks(path: Path, columns: Sequence[str]) -> Iterator[np.ndarray]:
    """Stream the numeric `columns` of the CSV at `path`.

    Yields:
        float64 arrays `[rows, columns]`, rows in file order, `READ_ROWS` at a time; an empty field is NaN.

    Raises:
        ConfigError: A column is missing, a field is no finite number, or a row has more fields than the header.
    """
    header = read_header(path)
    missing = [name for name in columns if name not in header]
    require(not missing, "data.features and data.target expected columns of the file", missing, f"It has: {header}.")
    first_row = 0
    try:
        # Only one thread at a time can be in a pandas reader, and the C parser releases the GIL while it is there.
        with _open(path, header, columns, dtype=np.float64) as frames:
            for frame, surplus in frames:
                if surplus.notna().any():
                    raise _too_many_fields(path, first_row + int(surplus.notna().argmax()))
                values = frame.to_numpy()
                _check_finite(values, columns, first_row)
                first_row += len(values)
                yield values
    except pd.errors.ParserError as error:
        raise _malformed(path, error) from error
    except (ValueError, TypeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise _explain(path, header, columns, error) from error


@contextlib.contextmanager
def _open(
    path: Path, header: Sequence[str], columns: Sequence[str], dtype: type, encoding_errors: str = "strict"
) -> Generator[Iterator[tuple[pd.DataFrame, pd.Series]]]:
    """Open a reader of `columns` and of the field after the last one of `header`, which no row should have.

    Where it does not read all columns, pandas passes over surplus fields in silence, and an unquoted `1,000` shifts the
    fields after it. To see them, the file's header is replaced by one that is a column longer.
    """
    wide = ",".join(map(str, range(len(header) + 1))).encode() + b"\n"
    wanted, surplus = [str(header.index(name)) for name in columns], str(len(header))
    with get_handle(path, "rb", compression="infer", is_text=False) as opened:

        def read(size: int = -1) -> bytes:
            nonlocal wide
            if not wide:
                return opened.handle.read(size)
            first, wide = wide, b""
            # The file's header must be the second line: without the empty ones that pandas allows on top.
            return first + opened.handle.read(size).removeprefix(codecs.BOM_UTF8).lstrip()

        source: Any = SimpleNamespace(read=read)
        with pd.read_csv(
            source,
            skiprows=[1],
            usecols=[*wanted, surplus],
            dtype=dtype,
            chunksize=READ_ROWS,
            encoding_errors=encoding_errors,
            engine="c",
        ) as reader:
            yield ((frame[wanted].set_axis(list(columns), axis=1), frame[surplus]) for frame in reader)


def _malformed(path: Path, error: Exception, above: int = 0) -> ConfigError:
    """Name the line that pandas calls by its row, from which the `above` lines before the first row are missing."""
    fault = _one_line(error).removeprefix("Error tokenizing data. C error: ")
    fault = re.sub(r"row (\d+)", lambda found: f"line {int(found[1]) + above}", fault)
    return ConfigError(
        f"data.path expected rows like the header. Received: {path}, {fault}. "
        "Mend the line, or quote the field that holds a comma or a line break."
    )


def _too_many_fields(path: Path, row: int) -> ConfigError:
    return ConfigError(
        f"data.path expected rows like the header. Received: more fields than that in row {row + 1} of {path}. "
        "Mend the row, or quote the field that holds a comma."
    )


def _check_finite(values: np.ndarray, columns: Sequence[str], first_row: int) -> None:
    too_large = np.abs(values) > np.finfo(np.float32).max
    if too_large.any():
        row, column = np.argwhere(too_large)[0]
        raise ConfigError(
            f"{columns[column]} expected numbers that float32 can hold. "
            f"Received: {values[row, column]:g} in row {first_row + row + 1}."
        )


def _explain(path: Path, header: Sequence[str], columns: Sequence[str], error: Exception) -> ConfigError:
    """Find the first field that is no number, reading as text what could not be read as numbers."""
    first_row = 0
    with _open(path, header, columns, dtype=str, encoding_errors="replace") as frames:
        for frame, surplus in frames:
            bad = frame.notna() & frame.apply(pd.to_numeric, errors="coerce").isna()
            faulty = bad.any(axis=1) | surplus.notna()
            if faulty.any():
                row = int(faulty.argmax())
                if pd.notna(surplus.iat[row]):
                    return _too_many_fields(path, first_row + row)
                column = int(bad.iloc[row].argmax())
                return ConfigError(
                    f"{columns[column]} expected numbers. Received: {frame.iat[row, column]!r} "
                    f"in row {first_row + row + 1} of {path}."
                )
            first_row += len(frame)
    return ConfigError(f"{path} expected numbers in {list(columns)}, but {_one_line(error)}.")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
