"""Predicts new rows with a logged model: reads a file of rows and writes predictions, in constant memory."""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harness.cli.kept_rows import kept_rows, no_columns
from harness.cli.output import warn
from harness.cli.predict_images import predict_images
from harness.cli.prediction_dialect import keys_in, recorded_keys, with_dialect
from harness.cli.prediction_file import sink_of, write_rows
from harness.cli.predictions import Predictions
from harness.cli.saved_model import load, rows_per_batch
from harness.config import DataConfig, ImagesConfig, Missing
from harness.data.formats import open_source
from harness.data.ingest import IngestProgress
from harness.data.profiling.misfit import hints
from harness.data.selection import Chunk, Selection, Words
from harness.data.vocabulary import is_number, plain_number, shortest_form
from harness.errors import ConfigError, require
from harness.formatting import count
from harness.runtime.secrets import shown
from harness.sweep.display import Display
from harness.tracking import artifacts
from harness.tracking.reader import RunReader
from harness.tracking.recorded_config import data_of

MOST_UNSEEN = 5
"""Maximum number of unknown categories to name."""


def predict(
    records: RunReader,
    run_id: str,
    path: Path,
    output: Path | None,
    *,
    keep: bool,
    keys: Sequence[str] = (),
    display: Display | None = None,
    is_trusted: bool = False,
) -> None:
    """Write a prediction for each row of a file, or each image in a folder, to a CSV file or standard output.

    A file of rows is read with the settings of the run's data. If the run left out rows with empty fields, predictions
    for such rows are empty; if the run filled such fields, the model fills them too.

    The file must have the model's columns, in any order, and may have others; `keep` copies all of its columns in front
    of the prediction. For classes, the most probable one is written, with its probability. `display` shows progress.
    Code from outside Keras runs only if it `is_trusted`.

    Raises:
        ConfigError: The run has no model, or a row is invalid.
    """
    # The folder is kept until the end, since code that is stored with a model may import more from it.
    with tempfile.TemporaryDirectory() as folder:
        file = artifacts.model(records, run_id, Path(folder))
        metadata = artifacts.described(file)
        model = load(file, artifacts.places(metadata), is_trusted=is_trusted)
        data = data_of(artifacts.settings(records, run_id, Path(folder)))
        if isinstance(data, ImagesConfig):
            require(not keep, "--keep is for rows: images have no columns to keep.")
            predict_images(model, Predictions.of(model, metadata), data, path, output)
        else:
            assert isinstance(data, DataConfig)
            data = with_dialect(data, keys)
            own = keys_in(keys)
            if path.is_file():
                heeded = open_source(str(path), Selection((), dialect=data)).keys
                if recorded := recorded_keys(data, heeded, own):
                    warn(f"Reading {path} as the run's data was read: {recorded}")
            with hints([str(path.absolute())], data, own) if path.is_file() else contextlib.nullcontext():
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
    selection = Selection(names, texts, data.date_formats, data)
    batch_rows = rows_per_batch(model)
    require(path.is_file(), f"PATH: {path} is not a file on disk.")
    source, missing, left_out = open_source(str(path), selection), data.missing, 0
    known = _known_categories(model)
    unseen = {name: Counter[str]() for name in known}
    header = source.names()
    twice = ", ".join(name for name in predictions.columns if name in header)
    require(not keep or not twice, f"--keep: {path} already has a column {twice}. Rename it.")
    with (
        sink_of(output) as sink,
        contextlib.closing(kept_rows(source) if keep else no_columns()) as rows,
        contextlib.closing(source.chunks()) as chunks,
    ):
        next(rows)
        done, size = 0, path.stat().st_size
        # Written once a row has been predicted, so that nothing is printed if the first rows are invalid.
        titles = [[*(header if keep else ()), *predictions.columns]]
        for chunk in chunks:
            empty = _empty(names, chunk, missing)
            left_out += int(empty.sum())
            for name, column in zip(names, chunk.columns, strict=True):
                if name in known and isinstance(column, Words):
                    unseen[name].update(_unseen(column, known[name]))
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
                is_empty = empty[start : start + batch_rows]
                if missing is Missing.mean:
                    _check_filled(outputs, names, chunk, start)
                named = pd.DataFrame(predictions.named(outputs))
                if missing is Missing.drop and is_empty.any():
                    named.loc[is_empty] = np.nan
                while titles:
                    write_rows(titles.pop(), sink)
                write_rows(pd.concat([rows.send(len(outputs)), named], axis=1), sink)
        while titles:
            write_rows(titles.pop(), sink)
    for name, words in ((name, words) for name, words in unseen.items() if words):
        some = ", ".join(shown(word) for word, _ in words.most_common(MOST_UNSEEN))
        more = ", ..." if len(words) > MOST_UNSEEN else ""
        warn(f"{name}: {count(words.total(), 'row')} with categories that training did not have: {some}{more}.")
    if missing is Missing.drop and left_out:
        rows_have, were = ("row has", "was") if left_out == 1 else ("rows have", "were")
        warn(
            f"{left_out:,} {rows_have} empty fields and {were} not predicted; training dropped such rows too "
            "(data.missing=drop)."
        )


def _known_categories(model: Any) -> dict[str, set[str]]:
    """Return the categories that the model knows, by the name of each text column."""
    import keras

    lookups = [layer for layer in model.layers if isinstance(layer, keras.layers.StringLookup)]
    return {
        name: {*map(str, layer.get_vocabulary())}
        for layer in lookups
        for name, column in model.input.items()
        if column is layer.input
    }


def _unseen(column: Words, known: set[str]) -> dict[str, int]:
    """Return the number of rows of each category that is not `known`."""
    rows = np.bincount(column.codes[column.codes >= 0], minlength=len(column.values)).tolist()
    return {word: times for word, times in zip(column.values, rows, strict=True) if word not in known and times}


def _empty(names: Sequence[str], chunk: Chunk, missing: Missing) -> np.ndarray:
    """Return which rows have an empty field, bool `[rows]`; empty categories count only if rows are left out.

    Raises:
        ConfigError: There are empty fields, but the run was trained without any.
    """
    empty = np.zeros(chunk.rows, bool)
    for name, column in zip(names, chunk.columns, strict=True):
        if isinstance(column, Words):
            empty |= (column.codes < 0) & (missing is Missing.drop)
            continue
        gaps = np.isnan(column)
        if missing is Missing.error and gaps.any():
            raise ConfigError(f"{name}: empty field in {chunk.locate(int(gaps.argmax()))}. Fill it or remove the row.")
        empty |= gaps
    return empty


def _check_filled(outputs: np.ndarray, names: Sequence[str], chunk: Chunk, start: int) -> None:
    """Reject empty fields that the model does not fill because its training rows had none."""
    for index in np.flatnonzero(np.isnan(outputs).any(axis=1)).tolist():
        for name, column in zip(names, chunk.columns, strict=True):
            if isinstance(column, np.ndarray) and np.isnan(column[start + index]):
                place = f"{name}: empty field in {chunk.locate(start + index)}"
                raise ConfigError(f"{place}, but the model's training rows had none. Fill it or remove the row.")


def _input(name: str, column: np.ndarray | Words, chunk: Chunk, dtype: str) -> Any:
    """Return a column in the form that the model expects, `[rows, 1]`; an empty category counts as unknown."""
    import tensorflow as tf

    is_text = dtype == "string"
    if isinstance(column, Words):
        words: Any = (
            column.values if is_text else [_category(name, index, column, chunk) for index in range(len(column.values))]
        )
        known = np.array([*words, "" if is_text else math.nan], dtype=object if is_text else np.float32)
        return tf.constant(known[column.codes][:, None], tf.string if is_text else tf.float32)
    return tf.constant(column[:, None], tf.as_dtype(dtype))


def _category(name: str, index: int, column: Words, chunk: Chunk) -> float:
    """Return a category as a number, or NaN (unknown) if it is not a number or float32 cannot represent it."""
    word = column.values[index]
    number = plain_number(word)
    if math.isnan(number) and is_number(word) and (short := shortest_form(word)) != word:
        row = int((column.codes == index).argmax())
        raise ConfigError(
            f"{chunk.locate(row)}: {name} is {word!r}, but its categories are numbers in their shortest form, such as "
            f"{short}."
        )
    return number
