"""Predicts new rows with a logged model: reads a CSV file and writes predictions, in constant memory."""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harness.cli.predict_images import predict_images
from harness.cli.prediction_file import sink_of, write_rows
from harness.cli.predictions import Predictions
from harness.cli.saved_model import load, rows_per_batch
from harness.config import DataConfig, ImagesConfig
from harness.data.csv_source import CsvSource
from harness.data.formats import open_source
from harness.data.ingest import IngestProgress
from harness.data.selection import Chunk, Selection, Words
from harness.data.vocabulary import is_number, plain_number, shortest_form
from harness.errors import ConfigError, require
from harness.sweep.display import Display
from harness.tracking import artifacts
from harness.tracking.reader import RunReader
from harness.tracking.recorded_config import data_of


def predict(
    records: RunReader, run_id: str, path: Path, output: Path | None, *, keep: bool, display: Display | None = None
) -> None:
    """Write a prediction for each row of a CSV file, or each image in a folder, to a file or standard output.

    The CSV must have the model's columns, in any order, and may have others; `keep` copies all of its columns in
    front of the prediction. Of classes, the most probable one is written, and its probability. `display` shows the
    progress.

    Raises:
        ConfigError: The run has no model, or a row is invalid.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = artifacts.model(records, run_id, Path(folder))
        model, metadata = load(file), artifacts.described(file)
        data = data_of(artifacts.settings(records, run_id, Path(folder)))
    if isinstance(data, ImagesConfig):
        require(not keep, "--keep is for rows: images have no columns to keep.")
        predict_images(model, Predictions.of(model, metadata), data, path, output)
    elif isinstance(data, DataConfig):
        _predict_rows(model, Predictions.of(model, metadata), data, path, output, keep, display)


def _predict_rows(
    model: Any,
    predictions: Predictions,
    data: DataConfig,
    path: Path,
    output: Path | None,
    keep: bool,
    display: Display | None,
) -> None:
    names = tuple(model.input)
    texts = frozenset(name for name in names if model.input[name].dtype == "string") | {*data.categorical} & {*names}
    selection = Selection(names, texts, frozenset(data.dates), data.date_format, data)
    batch_rows = rows_per_batch(model)
    require(path.is_file(), f"PATH: {path} is not a CSV file on disk.")
    source = open_source(str(path), selection)
    require(isinstance(source, CsvSource), f"PATH: {path} is Parquet, not CSV.")
    header = source.names()
    twice = ", ".join(name for name in predictions.columns if name in header)
    require(not keep or not twice, f"--keep: {path} already has a column {twice}. Rename it.")
    with (
        sink_of(output) as sink,
        contextlib.closing(_rows(path, selection, keep)) as rows,
        contextlib.closing(source.chunks()) as chunks,
    ):
        next(rows)
        done, size = 0, path.stat().st_size
        write_rows([*(header if keep else ()), *predictions.columns], sink)
        for chunk in chunks:
            inputs = {
                name: _input(name, column, chunk, model.input[name].dtype)
                for name, column in zip(names, chunk.columns, strict=True)
            }
            done += chunk.rows
            if display:
                display.reading(IngestProgress("predicting", done, chunk.position, size))
            for start in range(0, chunk.rows, batch_rows):
                some = {name: values[start : start + batch_rows] for name, values in inputs.items()}
                outputs = np.asarray(model(some, training=False))
                write_rows(rows.send(len(outputs)).assign(**predictions.named(outputs)), sink)


def _rows(path: Path, selection: Selection, keep: bool) -> Generator[pd.DataFrame, int]:
    """Yield the next rows of the file as text, as many as the number sent; without `keep`, they have no columns."""
    count = yield pd.DataFrame()
    if not keep:
        while True:
            count = yield pd.DataFrame(index=range(count))
    form: Any = {"sep": selection.dialect.separator, "encoding": selection.dialect.encoding}
    reader: Any = pd.read_csv(path, dtype=str, keep_default_na=False, iterator=True, **form)
    with reader:
        while True:
            count = yield reader.get_chunk(count).reset_index(drop=True)


def _input(name: str, column: np.ndarray | Words, chunk: Chunk, dtype: str) -> Any:
    """Return a column in the form that the model takes, `[rows, 1]`; an empty category counts as unknown."""
    import tensorflow as tf

    is_text = dtype == "string"
    if isinstance(column, Words):
        words: Any = (
            column.values if is_text else [_category(name, index, column, chunk) for index in range(len(column.values))]
        )
        known = np.array([*words, "" if is_text else math.nan], dtype=object if is_text else np.float32)
        return tf.constant(known[column.codes][:, None], tf.string if is_text else tf.float32)
    empty = np.isnan(column)
    if empty.any():
        raise ConfigError(f"{name}: empty field in {chunk.locate(int(empty.argmax()))}. Fill it or remove the row.")
    return tf.constant(column[:, None], tf.as_dtype(dtype))


def _category(name: str, index: int, column: Words, chunk: Chunk) -> float:
    """Return a category as a number, or NaN, which counts as unknown, if it is none or has more digits than float32."""
    word = column.values[index]
    number = plain_number(word)
    if math.isnan(number) and is_number(word) and (short := shortest_form(word)) != word:
        row = int((column.codes == index).argmax())
        raise ConfigError(
            f"{chunk.locate(row)}: {name} is {word!r}, but its categories are numbers in their shortest form, such as "
            f"{short}."
        )
    return number
