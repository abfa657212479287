"""Columns whose variation float32 would lose give the results of a float64 least-squares fit."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

from harness.config import DataConfig, Missing, Order, Scaling
from harness.data.precision import describe_rounding
from harness.data.sample import sample_csv
from harness.data.scaler import Scaler
from harness.data.tables.builder import open_table
from harness.data.tables.table import Table
from harness.models import linear
from harness.training.export import raw_example, raw_model
from tests.helpers import lane, objective, recipe, train
from tests.tables import held_out, rows, stored

ROWS = 3000
RANDOM = np.random.default_rng(0)
Z, NOISE = RANDOM.normal(size=(2, ROWS))
SECONDS = np.sort(RANDOM.uniform(0, 10_000, ROWS).round())


@dataclass
class Fit:
    """A linear model trained on a table, and the best line in float64."""

    table: Table
    scaler: Scaler
    weights: list[np.ndarray]
    metrics: dict[str, float]
    slope: float
    x: np.ndarray
    expected: np.ndarray
    out: np.ndarray

    @property
    def trained_slope(self) -> float:
        return float(self.scaler.coefficients(*self.weights)[1][0, 0])

    def model(self) -> keras.Model:
        model = linear(1)
        model.set_weights(self.weights)
        return raw_model(model, self.table, self.scaler, objective(table=self.table))


@pytest.fixture
def fit(tmp_path: Path) -> Callable[..., Fit]:
    """Train on `y` from `x`; a full-sample step of SGD with this rate solves the problem."""

    def run(x: np.ndarray, y: np.ndarray, *, gram: bool = True, **options: object) -> Fit:
        frame = pd.DataFrame({"x": x, "y": y})
        frame.to_csv(tmp_path / "file.csv", index=False)
        logs: list = options.get("log_columns", [])  # type: ignore[assignment]
        data = DataConfig(["x"], "y", str(tmp_path / "file.csv"), **options)  # type: ignore[arg-type]
        table = open_table(data, tmp_path / "cache")
        scaler = Scaler.of(table, data.scaling)
        (history,) = train([lane(10**6, 0.5, (3,), recipe_=recipe(linear, {"name": "sgd"}))], table, scaler, gram=gram)
        out = held_out(0, ROWS, 0.2, 0)
        a, b = (np.log(frame[name].to_numpy()) if name in logs else frame[name].to_numpy() for name in ("x", "y"))
        train_a = np.where(np.isnan(a), np.nanmean(a[~out]), a)[~out]
        slope, _ = np.polyfit(train_a - train_a.mean(), b[~out] - b[~out].mean(), 1)
        expected = b[~out].mean() + slope * (a - train_a.mean())
        return Fit(table, scaler, history.weights[3], history.epochs[-1].metrics, slope, x, expected, out)

    return run


CASES = {
    "a large feature": (1e8 + Z, 2 * Z + 0.1 * NOISE),
    "a large target": (Z, 1e9 + 3 * Z),
    "both": (-1e9 + Z, 1e12 + 3 * Z + 0.1 * NOISE),
    "Unix seconds": (1.7e9 + SECONDS, 2 * SECONDS + NOISE),
    "Unix seconds predicted": (SECONDS, 1.7e9 + 2 * SECONDS + NOISE),
    "tiny": (1e-30 * Z, 1e-30 * (2 * Z + 0.1 * NOISE)),
    "huge": (1e30 * Z, 1e30 * (2 * Z + 0.1 * NOISE)),
    "ordinary": (5 + Z, 2 * Z + 0.1 * NOISE),
}


@pytest.mark.parametrize(
    ("case", "gram"),
    [
        *((case, True) for case in CASES),
        *((case, False) for case in ("both", "Unix seconds", "tiny", "huge")),
        *(pytest.param(case, False, marks=pytest.mark.slow) for case in CASES if case.startswith("a large")),
    ],
)
def test_the_best_line_is_that_of_float64(fit, case: str, gram: bool) -> None:
    x, y = CASES[case]
    found = fit(x, y, gram=gram)
    assert found.trained_slope == pytest.approx(found.slope, rel=2e-5)
    errors = found.expected[found.out] - y[found.out]
    variation = ((y[found.out] - y[found.out].mean()) ** 2).sum()
    assert found.metrics["val/r2"] == pytest.approx(1 - (errors**2).sum() / variation, abs=1e-5)
    assert found.metrics["val/rmse"] == pytest.approx(np.sqrt((errors**2).mean()), rel=1e-3, abs=1e-5 * y.std())
    assert list(describe_rounding(found.table.columns, Scaling.standard)) == []


@pytest.mark.parametrize(
    "options",
    [
        {"log_columns": ["y"]},
        {"log_columns": ["x", "y"]},
        {"order": Order.shuffled},
        {"missing": Missing.mean},
    ],
    ids=str,
)
def test_offsets_and_other_settings(fit, options: dict) -> None:
    x, y = 1e8 + Z, 1e9 + 3 * Z
    if "missing" in options:
        x = np.where(np.arange(ROWS) % 10 == 3, np.nan, x)
    found = fit(x, y, **options)
    # A column with gaps is scaled by the deviation of its known values, so a single step does not solve the problem.
    assert found.trained_slope == pytest.approx(found.slope, rel=1e-3 if "missing" in options else 2e-5)
    assert found.metrics["val/r2"] > 0.85


@pytest.mark.parametrize(
    ("x", "y", "logs"),
    [
        *((*case, []) for case in CASES.values()),
        (1e8 + Z, 1e9 + 3 * Z, ["x", "y"]),
        (*CASES["Unix seconds predicted"], ["x", "y"]),
    ],
    ids=[*CASES, "large logarithms", "a logarithm of Unix seconds"],
)
def test_the_exported_model_keeps_the_digits(
    fit, tmp_path: Path, x: np.ndarray, y: np.ndarray, logs: list[str]
) -> None:
    """It takes and returns raw columns, called directly or by MLflow, before and after saving and loading."""
    found = fit(x, y, log_columns=logs)
    expected = np.exp(found.expected) if logs else found.expected
    model = found.model()
    model.save(tmp_path / "model.keras")
    raw = {"x": x[:, None]}
    for each in (model, keras.models.load_model(tmp_path / "model.keras", safe_mode=True)):
        tolerance = max(2e-5 * y.std(), 4 * np.spacing(np.abs(y).max()))
        np.testing.assert_allclose(np.asarray(each(raw))[:, 0], expected, atol=tolerance, rtol=0)
    dtypes = {column.name: "float64" if column.offset else "float32" for column in found.table.columns}
    assert (model.input["x"].dtype, model.output.dtype) == (dtypes["x"], dtypes["y"])


def test_the_sample_and_the_example_are_in_own_units(fit) -> None:
    x, y = 1e8 + Z, 1e9 + 3 * Z
    found = fit(x, y)
    first = x[~found.out][:3]
    np.testing.assert_allclose(raw_example(found.table)["x"], first, rtol=0, atol=1e-6)
    sample = pd.read_csv(io.StringIO(sample_csv(found.table)))
    assert abs(np.corrcoef(sample.x, sample.y)[0, 1]) > 0.999


# Offsets.


def table_of(make_table, values: np.ndarray, **options: object) -> Table:
    lines = "".join(f"{float(value)!r},{row}\n" for row, value in enumerate(values))
    return make_table(f"a,y\n{lines}", **options)


@pytest.mark.parametrize(
    "values",
    [
        np.arange(1900.0, 2016.0),
        47.5 + np.arange(100) / 700,
        -122.3 + np.arange(100) / 500,
        np.arange(16_000.0, 16_400.0),
        2.0**24 - np.arange(100),
        np.full(50, 7.0),
        np.full(50, 0.1),
        np.array([0.0, 1e10, 3.14]),
        1e30 * np.arange(10),
        1e-40 * np.arange(10),
    ],
    ids=lambda values: f"{values[0]:g}",
)
def test_ordinary_columns_are_stored_as_they_are(make_table, values: np.ndarray) -> None:
    table = table_of(make_table, values)
    assert table.columns[0].offset == 0
    assert stored(table)[:, 0].tolist() == values.astype(np.float32).tolist()


@pytest.mark.parametrize(
    "values",
    [1e8 + np.arange(100) / 10, -1.7e9 - np.arange(100.0), 0.5 + np.arange(100) * 1e-9, np.full(9, 123456789.25)],
    ids=lambda values: f"{values[0]:g}",
)
@pytest.mark.parametrize("block_bytes", [10, 1 << 20])
def test_values_close_together_are_stored_as_differences(make_table, values: np.ndarray, block_bytes: int) -> None:
    table = table_of(make_table, values, block_bytes=block_bytes)
    column = table.columns[0]
    assert column.offset == np.float32(column.offset) != 0
    found = stored(table)[:, 0].astype(np.float64)
    np.testing.assert_array_equal(found, (values - column.offset).astype(np.float32))
    np.testing.assert_allclose(found + column.offset, values, rtol=0, atol=1e-6 * np.ptp(values))
    assert (column.min, column.max) == (values.min(), values.max())


@pytest.mark.parametrize("holdout", [0.2, 0.5, 0.9])
def test_the_offset_depends_on_the_first_rows_only(make_table, holdout: float) -> None:
    """It depends neither on which part's first page fills up first, nor on how the source is read."""
    values = 1e8 + np.random.default_rng(1).normal(size=150_000)
    tables = [table_of(make_table, values, holdout=holdout, block_bytes=size) for size in (1 << 17, 8 << 20)]
    assert tables[0].columns[0].offset == np.float32((values[:65_536].min() + values[:65_536].max()) / 2)
    assert tables[0].digest == tables[1].digest


def test_a_column_that_varies_only_after_the_first_page(make_table) -> None:
    rng = np.random.default_rng(2)
    values = np.concatenate([np.full(70_000, 1e8), 1e8 + rng.normal(size=70_000)])
    table = table_of(make_table, values)
    scaled = Scaler.of(table, Scaling.standard).apply(table.read("train", 0, len(values)))[0]
    np.testing.assert_allclose(scaled, (values - values.mean()) / values.std(), atol=1e-5)
    assert list(describe_rounding(table.columns, Scaling.standard)) == []


def test_a_column_that_still_loses_digits_is_named(make_table) -> None:
    """The column's first page does not call for an offset."""
    values = np.concatenate([np.full(65_536, 1e6), 1e6 + np.arange(65_536) % 2 / 32])
    table = table_of(make_table, values)
    assert table.columns[0].offset == 0
    (found,) = describe_rounding(table.columns, Scaling.standard)
    assert found == (
        "a varies by only 0.0135 around 1000000.008; float32 keeps no digits of that. "
        "Subtract a constant in the source."
    )


def test_what_no_scaling_costs(make_table) -> None:
    table = table_of(make_table, 1e8 + np.arange(100.0))
    (found,) = describe_rounding(table.columns, Scaling.none)
    assert found == (
        "a varies by only 28.9 around 100000049.5; with data.scaling=none, float32 keeps no digits of that; "
        "data.scaling=standard keeps all."
    )
    scaled = Scaler.of(table, Scaling.none).apply(table.read("train", 0, 100))[0]
    assert scaled.tolist() == (1e8 + np.arange(100.0)).astype(np.float32).tolist()


def test_dates_categories_and_labels(write, tmp_path: Path) -> None:
    """Times of one day, categories that are large numbers, and labels."""
    times = pd.Timestamp("2024-05-01") + pd.to_timedelta(np.arange(1000), unit="s")
    frame = pd.DataFrame({"when": times, "kind": 100_000_001 + np.arange(1000) % 3, "label": np.arange(1000) % 2})
    path = write(frame.to_csv(index=False))
    data = DataConfig(["when", "kind"], "label", str(path), categorical=["kind"], dates=["when"], holdout=0.0)
    table = open_table(data, tmp_path / "cache")
    when, kind, label = table.columns
    assert when.offset == np.float32(when.mean)
    assert (kind.offset, len(kind.categories), label.offset) == (0, 3, 0)
    scaled = Scaler.of(table, Scaling.standard, scale_target=False).apply(table.read("train", 0, 1000))
    np.testing.assert_allclose(scaled[0], (np.arange(1000) - 499.5) / np.arange(1000).std(), atol=1e-4)
    assert scaled[2].tolist() == frame.label.tolist()
    assert rows(table)[:, 1].tolist() == (1 + np.arange(1000) % 3).tolist()
