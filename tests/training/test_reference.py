"""The trainer equals plain loops over `pandas.read_csv(chunksize=...)`, on the real file."""

from __future__ import annotations

import functools
import itertools
import os
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

from harness.config import DataConfig, Scaling
from harness.data.scaler import Scaler
from harness.data.tables.builder import open_table
from harness.models import linear
from tests.helpers import lane, train
from tests.reference import Chunks, adam_in_numpy, eager_keras

KING_COUNTY = Path(os.environ.get("KING_COUNTY_CSV", Path(__file__).parents[3] / "shared/data/kc_house_data.csv"))
ROWS = 21613
CHUNKS = (1, 7, 100, 1000, 21612, 21613, "full")
EPOCHS = (1, 3)
LOGS = {"plain": [], "logs": ["price", "sqft_living"]}
# Keras computes Adam's 1 - beta_2**t in float32, which is 2e-5 off in the first steps. That would be visible in chunk
# losses with logarithms, where a learning rate of 1 changes predictions by their own size.
RATES = {"plain": (0.001, 0.1, 1.0), "logs": (0.001, 0.01, 0.1)}

pytestmark = pytest.mark.skipif(not KING_COUNTY.is_file(), reason=f"KING_COUNTY_CSV names no file: {KING_COUNTY}")


def plain_chunks(chunk: int | str, logs: bool, rows: int | None = None) -> Chunks:
    """Return passes over chunks of the file."""
    raw = read(rows or ROWS if chunk == "full" else int(chunk), rows)
    return lambda: ((np.log(x), np.log(y)) if logs else (x, y) for x, y in raw)


@functools.cache
def read(chunk: int, rows: int | None) -> list[tuple[np.ndarray, np.ndarray]]:
    frames = pd.read_csv(KING_COUNTY, chunksize=chunk, usecols=["sqft_living", "price"], nrows=rows)
    return [(frame[["sqft_living"]].to_numpy(float), frame["price"].to_numpy(float)) for frame in frames]


WAYS = [
    ("plain", True),
    ("logs", False),
    *(pytest.param(way, marks=pytest.mark.slow) for way in [("plain", False), ("logs", True)]),
]


@pytest.fixture(scope="module", params=WAYS, ids=str)
def trained(request, tmp_path_factory):
    """All configurations trained on the whole file, in one scan of two blocks."""
    kind, gram = request.param
    data = DataConfig(
        features=["sqft_living"],
        target="price",
        path=str(KING_COUNTY),
        log_columns=LOGS[kind],
        scaling=Scaling.none,
        holdout=0.0,
    )
    table = open_table(data, tmp_path_factory.mktemp("cache"))
    keys = list(itertools.product(CHUNKS, RATES[kind]))
    lanes = [lane(ROWS if chunk == "full" else min(int(chunk), ROWS), rate, EPOCHS) for chunk, rate in keys]
    found = train(lanes, table, Scaler.of(table, data.scaling), block_rows=15_000, gram=gram)
    return kind, dict(zip(keys, found, strict=True))


@pytest.mark.parametrize("chunk", [pytest.param(CHUNKS[0], marks=pytest.mark.slow), *CHUNKS[1:]])
def test_equals_numpy_loop(trained, chunk):
    kind, found = trained
    plain = adam_in_numpy(plain_chunks(chunk, kind == "logs"), 1, RATES[kind], max(EPOCHS))
    per_epoch = -(-ROWS // (ROWS if chunk == "full" else chunk))
    assert len(plain.losses) == 3 * per_epoch

    for index, rate in enumerate(RATES[kind]):
        history = found[chunk, rate]
        assert [end.updates for end in history.epochs] == [per_epoch, 2 * per_epoch, 3 * per_epoch]
        epoch_losses = np.array(plain.epoch_losses)[:, index]
        np.testing.assert_allclose([end.loss for end in history.epochs], epoch_losses, rtol=1e-4)
        for epoch in EPOCHS:
            kernel, bias = history.weights[epoch]
            np.testing.assert_allclose([bias[0], kernel[0, 0]], plain.weights[epoch - 1][:, index], rtol=1e-4)
        # A chunk's loss can be close to zero, so errors are relative to the epoch's mean.
        numbers = np.array(list(history.curve))
        losses = np.array(plain.losses)[numbers - 1, index]
        scale = epoch_losses[(numbers - 1) // per_epoch]
        np.testing.assert_allclose(np.array(list(history.curve.values())) / scale, losses / scale, rtol=1e-4, atol=1e-4)


def test_full_sample_equals_one_chunk_of_all_rows(trained):
    kind, found = trained
    for rate in RATES[kind]:
        assert found["full", rate].numbers == found[21613, rate].numbers


@pytest.mark.parametrize("logs", [False, True], ids=LOGS)
@pytest.mark.parametrize(
    ("chunk", "rows"),
    [
        pytest.param(1, 500, marks=pytest.mark.slow),
        pytest.param(7, 500, marks=pytest.mark.slow),
        (100, 500),
        ("full", 500),
        (1000, ROWS),
        (21612, ROWS),
        ("full", ROWS),
    ],
)
def test_equals_eager_loop(chunk, rows, logs, tmp_path):
    path = tmp_path / "some.csv"
    pd.read_csv(KING_COUNTY, nrows=rows, usecols=["price", "sqft_living"]).to_csv(path, index=False)
    data = DataConfig(
        features=["sqft_living"],
        target="price",
        path=str(path),
        log_columns=["price", "sqft_living"] if logs else [],
        scaling=Scaling.none,
        holdout=0.0,
    )
    table = open_table(data, tmp_path)
    rates = (0.01, 1.0)
    size = rows if chunk == "full" else min(chunk, rows)
    epochs = 1 if chunk == 1 else 2
    found = train([lane(size, rate, (epochs,)) for rate in rates], table, Scaler.of(table, data.scaling))
    for rate, history in zip(rates, found, strict=True):
        plain = eager_keras(
            plain_chunks(chunk, logs, rows),
            linear(1),
            keras.optimizers.Adam(rate),
            keras.losses.mean_squared_error,
            epochs,
        )
        assert history.epochs[-1].updates == len(plain.losses)
        np.testing.assert_allclose([end.loss for end in history.epochs], plain.epoch_losses, rtol=1e-5)
        np.testing.assert_allclose(
            np.concatenate([value.ravel() for value in history.weights[epochs]]),
            np.concatenate([value.ravel() for value in plain.weights[-1]]),
            rtol=1e-5,
        )
