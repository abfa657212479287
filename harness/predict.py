"""A logged model on new rows: a CSV in, its predictions out, in memory that does not depend on the file."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
import pandas as pd

from harness.config import ConfigError, require
from harness.readers import read_chunks, read_header
from harness.records import Records

if TYPE_CHECKING:
    import keras

COLUMN = "prediction"


def predict(records: Records, run_id: str, path: Path, output: Path | None, *, keep: bool) -> None:
    """Write a prediction for each row of a CSV.

    Args:
        records: Of the store that holds the run.
        run_id: The run whose model predicts.
        path: A CSV with the model's columns, in any order and among others.
        output: The CSV to write, aside first and renamed when it is whole; None means standard output.
        keep: Repeat the columns of the input before the prediction.

    Raises:
        ConfigError: The run has no model, or a row cannot be used.
    """
    header = read_header(path)
    require(not keep or COLUMN not in header, f"--keep expected a file without a column {COLUMN}", path, "Rename it.")
    with tempfile.TemporaryDirectory() as folder:
        model = load(records.model(run_id, Path(folder)))
    with _sink(output) as sink, contextlib.closing(_rows(path, keep)) as rows:
        next(rows)
        pd.DataFrame(columns=[*header, COLUMN] if keep else [COLUMN]).to_csv(sink, index=False)
        first_row = 0
        for values in filter(len, read_chunks(path, list(model.input))):
            _refuse_empty(values, list(model.input), first_row)
            inputs = {name: values[:, [index]].astype(np.float32) for index, name in enumerate(model.input)}
            predictions = np.asarray(model(inputs, training=False))[:, 0]
            frame = rows.send(len(values)).assign(**{COLUMN: predictions})
            frame.to_csv(sink, index=False, header=False, float_format="%.9g")
            first_row += len(values)


def load(path: Path) -> keras.Model:
    """Load a Keras model without running any code that came with it.

    Raises:
        ConfigError: It holds code, or a layer that is not known here.
    """
    from harness.app import import_tensorflow

    import_tensorflow()
    import keras

    try:
        model: Any = keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise ConfigError(f"RUN_ID expected a model that can be loaded safely. Received: {reason}.") from error
    return model


def _rows(path: Path, keep: bool) -> Generator[pd.DataFrame, int]:
    """Take a number of rows and give back as many of the file as text, or as many without any column."""
    count = yield pd.DataFrame()
    if not keep:
        while True:
            count = yield pd.DataFrame(index=range(count))
    with pd.read_csv(path, dtype=str, keep_default_na=False, iterator=True) as reader:
        while True:
            count = yield reader.get_chunk(count).reset_index(drop=True)


@contextlib.contextmanager
def _sink(output: Path | None) -> Iterator[TextIO]:
    if output is None:
        yield sys.stdout
        return
    require(output.absolute().parent.is_dir(), "--output expected a file in a folder that is there", output)
    aside = output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        with aside.open("w", encoding="utf-8", newline="") as file:
            yield file
        aside.replace(output)
    finally:
        aside.unlink(missing_ok=True)


def _refuse_empty(values: np.ndarray, columns: list[str], first_row: int) -> None:
    empty = np.isnan(values)
    if empty.any():
        row, column = np.argwhere(empty)[0]
        raise ConfigError(
            f"{columns[column]} expected a number in every row. Received: an empty field in row {first_row + row + 1}. "
            "Fill it, or leave the row out."
        )
