"""CSV in, typed chunks out: the first step of the flow, and the only place that parses text."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from harness.config import ConfigError, require

READ_ROWS = 100_000
"""Rows parsed at once. It is fixed, since statistics are merged in this grain."""

T = TypeVar("T")


def prefetch(items: Iterable[T], depth: int = 1) -> Generator[T]:
    """Yield `items`, computed by a thread that runs `depth` items ahead.

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
    except (UnicodeDecodeError, pd.errors.ParserError) as error:
        raise ConfigError(f"data.path expected a CSV in UTF-8. Received: {path}, where {_one_line(error)}.") from error


def read_chunks(path: Path, columns: Sequence[str]) -> Iterator[np.ndarray]:
    """Stream the numeric `columns` of the CSV at `path`.

    Yields:
        float64 arrays `[rows, columns]`, rows in file order, `READ_ROWS` at a time; an empty field is NaN.

    Raises:
        ConfigError: A column is missing, a field is no finite number, or a row has too many fields.
    """
    header = read_header(path)
    missing = [name for name in columns if name not in header]
    require(not missing, "data.features and data.target expected columns of the file", missing, f"It has: {header}.")
    first_row = 0
    try:
        # Only one thread at a time can be in a pandas reader, and the C parser releases the GIL while it is there.
        with pd.read_csv(path, usecols=list(columns), dtype=np.float64, chunksize=READ_ROWS, engine="c") as reader:
            for frame in reader:
                values = frame[list(columns)].to_numpy()
                _check_finite(values, columns, first_row)
                first_row += len(values)
                yield values
    except pd.errors.ParserError as error:
        raise ConfigError(
            f"{path} expected as many fields in a row as in the header, but {_one_line(error)}."
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} expected UTF-8, but {_one_line(error)}.") from error
    except (ValueError, TypeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise _explain(path, columns, error) from error


def _check_finite(values: np.ndarray, columns: Sequence[str], first_row: int) -> None:
    too_large = np.abs(values) > np.finfo(np.float32).max
    if too_large.any():
        row, column = np.argwhere(too_large)[0]
        raise ConfigError(
            f"{columns[column]} expected numbers that float32 can hold. "
            f"Received: {values[row, column]:g} in row {first_row + row + 1}."
        )


def _explain(path: Path, columns: Sequence[str], error: Exception) -> ConfigError:
    """Find the first field that is no number, reading as text what could not be read as numbers."""
    first_row = 0
    with pd.read_csv(path, usecols=list(columns), dtype=str, chunksize=READ_ROWS) as reader:
        for frame in reader:
            frame = frame[list(columns)]
            bad = frame.notna() & frame.apply(pd.to_numeric, errors="coerce").isna()
            if bad.to_numpy().any():
                row, column = np.argwhere(bad.to_numpy())[0]
                return ConfigError(
                    f"{columns[column]} expected numbers. Received: {frame.iat[row, column]!r} "
                    f"in row {first_row + row + 1} of {path}."
                )
            first_row += len(frame)
    return ConfigError(f"{path} expected numbers in {list(columns)}, but {_one_line(error)}.")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
