"""Predicts new rows with a logged model: reads a CSV file and writes predictions, in constant memory."""

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

from harness.data.csv_source import CsvSource
from harness.data.formats import open_source
from harness.data.source import Chunk, Selection, Words
from harness.errors import ConfigError, require
from harness.runtime.imports import import_tensorflow
from harness.tracking import artifacts
from harness.tracking.reader import RunReader
from harness.tracking.recorded_config import data_of

if TYPE_CHECKING:
    import keras

COLUMN = "prediction"


def predict(records: RunReader, run_id: str, path: Path, output: Path | None, *, keep: bool) -> None:
    """Write a prediction for each row of a CSV file to another file, by default standard output.

    The input must have the model's columns, in any order, and may have others; `keep` copies all of its columns in
    front of the prediction.

    Raises:
        ConfigError: The run has no model, or a row is invalid.
    """
    with tempfile.TemporaryDirectory() as folder:
        model = load(artifacts.model(records, run_id, Path(folder)))
        data = data_of(artifacts.settings(records, run_id, Path(folder)))
    names = tuple(model.input)
    texts = frozenset(name for name in names if model.input[name].dtype == "string")
    written = data.delimiter, data.encoding, data.decimal
    selection = Selection(names, texts, frozenset(data.dates), data.date_format, *written)
    require(path.is_file(), f"PATH: {path} is not a CSV file on disk.")
    source = open_source(str(path), selection)
    require(isinstance(source, CsvSource), f"PATH: {path} is Parquet, not CSV.")
    # All digits that the type has.
    form = "%.9g" if model.outputs[0].dtype == "float32" else "%.17g"
    header = source.names()
    require(not keep or COLUMN not in header, f"--keep: {path} already has a column {COLUMN}. Rename it.")
    with (
        _sink(output) as sink,
        contextlib.closing(_rows(path, selection, keep)) as rows,
        contextlib.closing(source.chunks()) as chunks,
    ):
        next(rows)
        pd.DataFrame(columns=[*header, COLUMN] if keep else [COLUMN]).to_csv(sink, index=False)
        for chunk in chunks:
            inputs = {
                name: _input(name, column, chunk, model.input[name].dtype)
                for name, column in zip(names, chunk.columns, strict=True)
            }
            predictions = np.asarray(model(inputs, training=False))[:, 0]
            frame = rows.send(len(predictions)).assign(**{COLUMN: predictions})
            frame.to_csv(sink, index=False, header=False, float_format=form)


def load(path: Path) -> keras.Model:
    """Load a Keras model without running code that is stored in it.

    Raises:
        ConfigError: The model contains code or an unknown layer.
    """
    import_tensorflow()
    import keras

    from harness.training.export import TextModel

    own = {"TextModel": TextModel}
    try:
        model: Any = keras.models.load_model(path, custom_objects=own, compile=False, safe_mode=True)
    except Exception as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise ConfigError(f"The run's model cannot be loaded safely: {reason}.") from error
    return model


def _rows(path: Path, selection: Selection, keep: bool) -> Generator[pd.DataFrame, int]:
    """Yield the next rows of the file as text, as many as the number sent; without `keep`, they have no columns."""
    count = yield pd.DataFrame()
    if not keep:
        while True:
            count = yield pd.DataFrame(index=range(count))
    form: Any = {"sep": selection.delimiter, "encoding": selection.encoding}
    reader: Any = pd.read_csv(path, dtype=str, keep_default_na=False, iterator=True, **form)
    with reader:
        while True:
            count = yield reader.get_chunk(count).reset_index(drop=True)


@contextlib.contextmanager
def _sink(output: Path | None) -> Iterator[TextIO]:
    if output is None:
        yield sys.stdout
        return
    require(output.absolute().parent.is_dir(), f"--output: no such folder: {output.parent}")
    aside = output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        with aside.open("w", encoding="utf-8", newline="") as file:
            yield file
        aside.replace(output)
    finally:
        aside.unlink(missing_ok=True)


def _input(name: str, column: np.ndarray | Words, chunk: Chunk, dtype: str) -> Any:
    """Return a column in the form that the model takes, `[rows, 1]`; an empty category counts as unknown."""
    import tensorflow as tf

    if isinstance(column, Words):
        return tf.constant(np.array([*column.values, ""], dtype=object)[column.codes][:, None], tf.string)
    empty = np.isnan(column)
    if empty.any():
        raise ConfigError(f"{name}: empty field in {chunk.locate(int(empty.argmax()))}. Fill it or remove the row.")
    return tf.constant(column[:, None], tf.as_dtype(dtype))
