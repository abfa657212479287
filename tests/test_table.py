"""A table equals its CSV: rows, order, split, statistics; it is made once, whole or not at all."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import ingest, readers
from harness import table as module
from harness.config import ConfigError, DataConfig, Missing, Scaling
from harness.ingest import held_out
from harness.statistics import Statistics
from harness.table import Table, open_table

SMALL = "a,text,b,y\n1,u,-1,10\n2,v,-2,2e1\n3,w,-3,30\n4,x,-4,40\n5,y,-5,50\n"
GAPS = "a,text,b,y\n1,u,-1,10\n,v,-2,20\n3,w,,30\n4,x,-4,40\n5,y,NA,50\n"


def rows(table: Table, part: ingest.Part = "train") -> np.ndarray:
    """All rows of a part, `[rows, columns]`."""
    return table.read(part, 0, table.rows(part)).T


def numbered(count: int, *, gaps: int = 0) -> str:
    """Rows with their number in the column `row`; every `gaps`-th lacks its `a`."""
    lines = (f"{'' if gaps and not row % gaps else row * row},{row + 1},{row}" for row in range(count))
    return "a,y,row\n" + "\n".join(lines)


def refusal(make_table: Callable[..., Table], source: str | Path, **options: object) -> str:
    with pytest.raises(ConfigError) as error:
        make_table(source, **options)
    return str(error.value)


# Rows.


@pytest.mark.parametrize("read_rows", [1, 2, 3, 100])
@pytest.mark.parametrize("features", [["a"], ["b", "a"]])
def test_a_table_equals_the_file(
    make_table, monkeypatch: pytest.MonkeyPatch, read_rows: int, features: list[str]
) -> None:
    monkeypatch.setattr(readers, "READ_ROWS", read_rows)
    table = make_table(SMALL, features=features)
    assert (table.train_rows, table.holdout_rows, table.dropped, table.filled) == (5, 0, 0, 0)
    assert [column.name for column in table.columns] == [*features, "y"]
    file = {"a": [1, 2, 3, 4, 5], "b": [-1, -2, -3, -4, -5]}
    assert rows(table).T.tolist() == [*(file[name] for name in features), [10, 20, 30, 40, 50]]
    assert rows(table).dtype == np.float32
    assert rows(table, "holdout").shape == (0, len(features) + 1)


@pytest.mark.parametrize(("start", "stop"), [(0, 0), (0, 5), (2, 4), (4, 5), (5, 5)])
def test_any_rows_are_read(make_table, start: int, stop: int) -> None:
    table = make_table(SMALL)
    np.testing.assert_array_equal(table.read("train", start, stop), rows(table).T[:, start:stop])


def test_values_are_rounded_to_float32_once(make_table) -> None:
    values = ["0.1", "16777217", "1e-40", "3.4028234663852886e38", "-1e-50", "0.30000001192092896"]
    table = make_table("a,y\n" + "".join(f"{value},1\n" for value in values))
    assert rows(table)[:, 0].tolist() == np.array(values, np.float64).astype(np.float32).tolist()


FIELDS = st.one_of(
    st.integers(-(10**12), 10**12).map(str),
    st.integers(-(10**6), 10**6).map(lambda number: f'"{number}"'),
    st.floats(width=32, allow_nan=False, allow_infinity=False).map(repr),
    st.floats(-1e30, 1e30).map(lambda number: f"{number:.3e}"),
    st.floats(-1e6, 1e6).map(lambda number: f" {number:.2f}"),
)
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=5)


@settings(max_examples=40, deadline=None, database=None)
@given(data=st.data())
def test_any_table_equals_pandas(data: st.DataObject) -> None:
    """Both parts, in the order of their numbers, are what pandas reads at one go."""
    count = data.draw(st.integers(1, 25), "rows")
    empties = data.draw(st.booleans(), "empty fields")
    field = st.one_of(FIELDS, st.sampled_from(["", "NA"])) if empties else FIELDS
    columns = {name: data.draw(st.lists(field, min_size=count, max_size=count), name) for name in ("a", "b", "y")}
    columns["text"] = [
        '"' + text.replace('"', '""') + '"'
        for text in data.draw(st.lists(TEXTS, min_size=count, max_size=count), "text")
    ]
    order = data.draw(st.permutations(sorted(columns)), "order")
    end = data.draw(st.sampled_from(["\n", "\r\n"]), "line end")
    content = end.join(",".join(line) for line in [order, *zip(*(columns[name] for name in order), strict=True)])
    features = data.draw(st.permutations(["a", "b"]), "features")[: data.draw(st.integers(1, 2), "count")]
    holdout = data.draw(st.sampled_from([0.0, 0.3]), "holdout")

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(readers, "READ_ROWS", data.draw(st.integers(1, 30), "read_rows"))
        path = Path(folder) / "file.csv"
        path.write_bytes(content.encode() + data.draw(st.sampled_from([b"", end.encode()]), "last line end"))
        frame = pd.read_csv(path, usecols=[*features, "y"], dtype=np.float64)[[*features, "y"]]
        kept = frame.notna().all(axis=1).to_numpy()
        out = held_out(0, count, holdout, 3)
        expected = [frame[kept & ~out].to_numpy(np.float32), frame[kept & out].to_numpy(np.float32)]
        source = DataConfig(features, "y", str(path), holdout=holdout, split_seed=3, missing=Missing.drop)
        if len(expected[0]):
            table = open_table(source, Path(folder) / "cache")
            np.testing.assert_array_equal(rows(table), expected[0])
            np.testing.assert_array_equal(rows(table, "holdout"), expected[1])
            assert table.dropped == count - kept.sum()
        else:
            with pytest.raises(ConfigError, match="the split expected a training row"):
                open_table(source, Path(folder) / "cache")


# Split.


def test_the_split_stays_as_it_is() -> None:
    """These rows were held out in the first version: another split would make old runs irreproducible."""
    assert np.flatnonzero(held_out(0, 40, 0.2, 0)).tolist() == [2, 4, 6, 32, 33]
    assert np.flatnonzero(held_out(0, 40, 0.2, 1)).tolist() == [6, 11, 18, 25]


@pytest.mark.parametrize("seed", [0, 1, -1, 2**63])
@pytest.mark.parametrize("grain", [1, 7, 1000])
def test_the_split_of_a_row_does_not_depend_on_its_chunk(seed: int, grain: int) -> None:
    pieces = [held_out(start, min(grain, 1000 - start), 0.3, seed) for start in range(0, 1000, grain)]
    np.testing.assert_array_equal(np.concatenate(pieces), held_out(0, 1000, 0.3, seed))


@pytest.mark.parametrize("first", [0, 2**40])
@pytest.mark.parametrize("fraction", [0.001, 0.2, 0.5, 0.999])
def test_as_many_rows_as_asked_are_held_out(first: int, fraction: float) -> None:
    count = 100_000
    deviation = math.sqrt(count * fraction * (1 - fraction))
    assert abs(held_out(first, count, fraction, 0).sum() - count * fraction) < 4 * deviation


def test_a_larger_holdout_contains_a_smaller_one_and_seeds_are_unrelated() -> None:
    small, large, other = (held_out(0, 100_000, *key) for key in ((0.2, 0), (0.4, 0), (0.2, 1)))
    assert (large | ~small).all()
    assert abs((small & other).mean() - 0.04) < 0.003
    assert not held_out(0, 100_000, 0.0, 0).any()


@pytest.mark.parametrize(
    ("options", "gaps"),
    [
        ({}, 0),
        ({"features": ["row"]}, 0),
        ({"features": ["row", "a"], "log_columns": ["y"]}, 0),
        ({"features": ["row", "a"], "missing": Missing.mean}, 7),
        ({"scaling": Scaling.none}, 0),
    ],
)
@pytest.mark.parametrize("read_rows", [10, 64, 1000])
def test_the_split_depends_on_row_and_seed_only(
    make_table, monkeypatch: pytest.MonkeyPatch, options: dict, gaps: int, read_rows: int
) -> None:
    monkeypatch.setattr(readers, "READ_ROWS", read_rows)
    options = {"features": ["a", "row"], "holdout": 0.3, "split_seed": 5} | options
    table = make_table(numbered(101, gaps=gaps), **options)
    column = options["features"].index("row")
    out = held_out(0, 101, 0.3, 5)
    assert rows(table)[:, column].tolist() == np.flatnonzero(~out).tolist()
    assert rows(table, "holdout")[:, column].tolist() == np.flatnonzero(out).tolist()


def test_a_dropped_row_keeps_its_number(make_table) -> None:
    """Dropping leaves the others where they are; they do not move up."""
    table = make_table(numbered(101, gaps=7), features=["a", "row"], holdout=0.3, missing=Missing.drop)
    out, kept = held_out(0, 101, 0.3, 0), np.arange(101) % 7 != 0
    assert rows(table)[:, 1].tolist() == np.flatnonzero(~out & kept).tolist()
    assert rows(table, "holdout")[:, 1].tolist() == np.flatnonzero(out & kept).tolist()
    assert (table.train_rows + table.holdout_rows, table.dropped) == (86, 15)


def test_a_longer_file_splits_its_first_rows_alike(make_table) -> None:
    short, long = (make_table(numbered(count), features=["row"], holdout=0.3) for count in (40, 101))
    for part in ingest.PARTS:
        found = rows(long, part)[:, 0]
        assert rows(short, part)[:, 0].tolist() == found[found < 40].tolist()


# Statistics.


@pytest.mark.parametrize("read_rows", [1, 3, 17, 1000])
@pytest.mark.parametrize("holdout", [0.0, 0.4])
def test_statistics_are_those_of_numpy(
    make_table, monkeypatch: pytest.MonkeyPatch, read_rows: int, holdout: float
) -> None:
    """Of float64 training rows, before they are rounded, without the empty fields."""
    monkeypatch.setattr(readers, "READ_ROWS", read_rows)
    draw = np.random.default_rng(0)
    frame = pd.DataFrame({"a": draw.normal(1e6, 1, 101), "b": draw.lognormal(0, 2, 101), "y": draw.normal(size=101)})
    frame.iloc[::9, 0] = np.nan
    frame.iloc[:5, 1] = np.nan
    table = make_table(
        frame.to_csv(index=False), features=["a", "b"], holdout=holdout, log_columns=["b"], missing=Missing.mean
    )
    train = frame[~held_out(0, 101, holdout, 0)].assign(b=lambda data: np.log(data["b"]))
    for column in table.columns:
        values = train[column.name].dropna().to_numpy()
        np.testing.assert_allclose([column.mean, column.std], [values.mean(), values.std()], rtol=1e-10)
        assert (column.min, column.max) == (values.min(), values.max())
    assert [column.log for column in table.columns] == [False, True, False]


@pytest.mark.parametrize("grain", [1, 2, 7, 100])
def test_merged_statistics_of_whole_numbers_are_exact(grain: int) -> None:
    values = np.array([[1, np.nan], [2, 4], [3, np.nan], [6, 8], [8, np.nan], [10, np.nan]])
    statistics = Statistics(2)
    for start in range(0, 6, grain):
        statistics.add(values[start : start + grain])
    one, two = statistics.columns(["one", "two"], np.array([False, True]))
    assert (one.mean, one.min, one.max, one.log) == (5, 1, 10, False)
    assert (two.mean, two.std, two.min, two.max, two.log) == (6, 2, 4, 8, True)
    assert one.std == pytest.approx(np.std([1, 2, 3, 6, 8, 10]), rel=1e-15)


# Digest.

BASE = "a,b,y\n1,5,10\n2,6,20\n3,7,30\n4,8,40\n5,9,50\n"
SPLIT = {"holdout": 0.3, "split_seed": 2}


def test_the_digest_does_not_depend_on_how_the_values_came(
    make_table, write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = make_table(BASE).digest
    assert len(expected) == 32
    assert make_table(write(BASE, "another.csv")).digest == expected
    assert make_table(BASE.replace("10\n", '"1e+001"\r\n')).digest == expected
    assert make_table("\ufeff" + BASE.replace(",7,", ",text,")).digest == expected
    assert make_table(BASE, scaling=Scaling.none, missing=Missing.mean, split_seed=9).digest == expected
    path = write(BASE)
    assert open_table(DataConfig(["a"], "y", str(path), holdout=0.0), tmp_path / "elsewhere").digest == expected
    monkeypatch.setattr(readers, "READ_ROWS", 2)
    os.utime(path, (1, 1))
    again = make_table(path)
    assert again.digest == expected
    assert len(list((tmp_path / "cache" / "tables").iterdir())) == 6


def test_the_digest_depends_on_values_names_and_parts(make_table) -> None:
    variants: list[tuple[str, dict]] = [
        (BASE, {}),
        (BASE.replace("5,9,50", "5.0000005,9,50"), {}),
        (BASE.replace("1,5,10\n2,6,20", "2,6,20\n1,5,10"), {}),
        (BASE + "6,10,60\n", {}),
        (BASE, {"features": ["a", "b"]}),
        (BASE, {"features": ["b", "a"]}),
        (BASE, {"features": ["y"], "target": "a"}),
        (BASE.replace("a,b", "b,a"), {"features": ["b"]}),
        (BASE.replace("a,b", "b,a"), {"features": ["b", "a"]}),
        (BASE, {"log_columns": ["a"]}),
        (BASE, {"log_columns": ["a", "y"]}),
        (BASE, SPLIT),
        (BASE, SPLIT | {"split_seed": 3}),
        (BASE, SPLIT | {"holdout": 0.6}),
    ]
    zeros, ones = "a,y\n0,1\n0,2\n", "a,y\n1,1\n1,2\n"
    variants = [(zeros, {}), (ones, {"log_columns": ["a"]}), *variants]
    found = [make_table(content, **options) for content, options in variants]
    assert len({table.digest for table in found}) == len(variants)
    assert all(table.holdout_rows for table in found[-3:])


def test_the_digest_follows_filled_values(make_table) -> None:
    filled = make_table("a,y\n1,1\n,2\n3,3\n", missing=Missing.mean)
    assert filled.digest == make_table("a,y\n1,1\n2,2\n3,3\n").digest


# Empty fields.


@pytest.mark.parametrize("read_rows", [1, 2, 100])
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"features": ["a", "b"]},
            "a expected a number in every row. Received: an empty field in row 2. "
            "Use data.missing=drop or data.missing=mean.",
        ),
        (
            {"features": ["b"]},
            "b expected a number in every row. Received: an empty field in row 3. "
            "Use data.missing=drop or data.missing=mean.",
        ),
        (
            {"features": ["y"], "target": "b"},
            "b expected a number in every row. Received: an empty field in row 3. Use data.missing=drop.",
        ),
        (
            {"features": ["a"], "target": "b", "missing": Missing.mean},
            "b expected a number in every row. Received: an empty field in row 3. Use data.missing=drop.",
        ),
    ],
)
def test_empty_fields_are_refused(
    make_table, monkeypatch: pytest.MonkeyPatch, read_rows: int, options: dict, sentence: str
) -> None:
    monkeypatch.setattr(readers, "READ_ROWS", read_rows)
    assert refusal(make_table, GAPS, **options) == sentence


@pytest.mark.parametrize("read_rows", [1, 2, 100])
@pytest.mark.parametrize(
    ("features", "kept"),
    [(["a", "b"], [[1, -1, 10], [4, -4, 40]]), (["a"], [[1, 10], [3, 30], [4, 40], [5, 50]]), (["y"], [[10, -1]])],
)
def test_rows_with_an_empty_field_are_dropped(
    make_table, monkeypatch: pytest.MonkeyPatch, read_rows: int, features: list[str], kept: list
) -> None:
    monkeypatch.setattr(readers, "READ_ROWS", read_rows)
    target = "y" if features != ["y"] else "b"
    kept = kept if target == "y" else [[10, -1], [20, -2], [40, -4]]
    table = make_table(GAPS, features=features, target=target, missing=Missing.drop)
    assert (rows(table).tolist(), table.dropped, table.filled) == (kept, 5 - len(kept), 0)


@pytest.mark.parametrize("read_rows", [1, 2, 100])
@pytest.mark.parametrize("fill_rows", [1, 2, 100])
def test_empty_fields_are_filled(make_table, monkeypatch: pytest.MonkeyPatch, read_rows: int, fill_rows: int) -> None:
    monkeypatch.setattr(readers, "READ_ROWS", read_rows)
    monkeypatch.setattr(ingest, "FILL_ROWS", fill_rows)
    table = make_table(GAPS, features=["a", "b"], missing=Missing.mean)
    mean = float(np.float32(-7 / 3))
    assert rows(table).tolist() == [[1, -1, 10], [3.25, -2, 20], [3, mean, 30], [4, -4, 40], [5, mean, 50]]
    assert (table.dropped, table.filled) == (0, 3)


def test_both_parts_are_filled_with_the_mean_of_the_training_rows(make_table) -> None:
    out, number = held_out(0, 101, 0.3, 0), np.arange(101)
    gap = number % 7 == 0
    table = make_table(numbered(101, gaps=7), features=["a", "row"], holdout=0.3, missing=Missing.mean)
    mean = (number[~out & ~gap] ** 2).mean()
    expected = np.where(gap, np.float32(mean), number**2)
    assert table.columns[0].mean == pytest.approx(mean, rel=1e-14)
    assert rows(table)[:, 0].tolist() == expected[~out].tolist()
    assert rows(table, "holdout")[:, 0].tolist() == expected[out].tolist()
    assert (table.dropped, table.filled, (gap & out).sum()) == (0, 15, 3)


def test_a_logarithm_is_filled_with_the_mean_logarithm(make_table) -> None:
    table = make_table("a,y\n1,1\n,2\n100,3\n", log_columns=["a"], missing=Missing.mean)
    assert rows(table)[:, 0].tolist() == np.log([1, 10, 100]).astype(np.float32).tolist()


@pytest.mark.parametrize(
    ("source", "options"),
    [
        ("a,y\n,1\n,2\n", {}),
        # Row 3 alone has a value, and is held out.
        ("a,y\n" + ",1\n" * 2 + "7,1\n" + ",1\n" * 37, {"holdout": 0.2}),
    ],
)
def test_a_column_without_training_values_is_refused(make_table, source: str, options: dict) -> None:
    sentence = "a expected a number in some training row. Received: empty fields only."
    assert refusal(make_table, source, missing=Missing.mean, **options) == sentence


# Logarithms.


@pytest.mark.parametrize("columns", [["a"], ["y"], ["a", "y"]])
def test_logarithms_are_natural_and_taken_in_float64(make_table, columns: list[str]) -> None:
    table = make_table(SMALL, log_columns=columns)
    file = {"a": np.arange(1.0, 6), "y": np.arange(10.0, 60, 10)}
    for column, found in zip(table.columns, rows(table).T, strict=True):
        values = np.log(file[column.name]) if column.name in columns else file[column.name]
        assert found.tolist() == values.astype(np.float32).tolist()
        assert column.log == (column.name in columns)
        assert column.mean == pytest.approx(values.mean(), rel=1e-14)


@pytest.mark.parametrize("read_rows", [1, 2, 100])
@pytest.mark.parametrize(("value", "shown"), [("0", "0"), ("-0.0", "-0"), ("-2.5", "-2.5")])
@pytest.mark.parametrize("column", ["a", "y"])
@pytest.mark.parametrize("holdout", [0.0, 0.2])
def test_a_logarithm_of_what_is_not_positive_is_refused(
    make_table, monkeypatch: pytest.MonkeyPatch, read_rows: int, value: str, shown: str, column: str, holdout: float
) -> None:
    """Row 3 is held out with the second of the holdouts, and refused all the same."""
    monkeypatch.setattr(readers, "READ_ROWS", read_rows)
    fields = f"{value},1" if column == "a" else f"1,{value}"
    sentence = f"data.log_columns expected positive numbers. Received: {shown} for {column} in row 3."
    content = f"a,y\n1,1\n1,1\n{fields}\n-1,-1\n"
    assert refusal(make_table, content, log_columns=["a", "y"], holdout=holdout) == sentence


def test_a_dropped_row_needs_no_logarithm(make_table) -> None:
    table = make_table("a,y\n1,1\n-1,\n1,3\n", log_columns=["a"], missing=Missing.drop)
    assert rows(table).tolist() == [[0, 1], [0, 3]]


# Sources.


def test_the_built_in_houses(make_table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = []
    source = DataConfig(["sqft_living", "lat"], "price", rows=120)
    table = open_table(source, tmp_path, lambda what, rows: said.append((what, rows)))
    assert said == [("generating", 120), ("reading", 120)]
    assert table.source == tmp_path / "houses" / "houses-120.csv"
    frame = pd.read_csv(table.source)[["sqft_living", "lat", "price"]].to_numpy(np.float32)
    out = held_out(0, 120, 0.2, 0)
    np.testing.assert_array_equal(rows(table), frame[~out])
    np.testing.assert_array_equal(rows(table, "holdout"), frame[out])
    assert open_table(source, tmp_path / "elsewhere").digest == table.digest

    monkeypatch.setattr(module.houses, "generate", None)
    monkeypatch.setattr(module, "ingest", None)
    assert open_table(source, tmp_path) == table


def test_the_real_file(king_county: Path, tmp_path: Path) -> None:
    features = ["sqft_living", "floors", "zipcode", "lat"]
    table = open_table(DataConfig(features, "price", str(king_county), holdout=0.0), tmp_path)
    assert rows(table)[:, -1].sum(dtype=np.float64) == 11_672_925_008
    assert round(table.columns[0].mean, 2) == 2079.90
    assert round(table.columns[-1].mean, 2) == 540_088.14
    frame = pd.read_csv(king_county, usecols=[*features, "price"], dtype=np.float64)[[*features, "price"]]
    assert table.train_rows == 21_613
    np.testing.assert_array_equal(rows(table), frame.to_numpy(np.float32))

    split = open_table(DataConfig(["sqft_living"], "price", str(king_county)), tmp_path)
    out = held_out(0, 21_613, 0.2, 0)
    np.testing.assert_array_equal(rows(split), frame[["sqft_living", "price"]].to_numpy(np.float32)[~out])
    np.testing.assert_array_equal(rows(split, "holdout"), frame[["sqft_living", "price"]].to_numpy(np.float32)[out])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"path": "none.csv", "origin": "Kaggle, a/b (CC0)"},
            "data.path expected a CSV file. Received: {folder}/none.csv. Get it from Kaggle, a/b (CC0).",
        ),
        ({"path": "none.csv"}, "data.path expected a CSV file. Received: {folder}/none.csv."),
        ({"path": "~/none.csv"}, "data.path expected a CSV file. Received: {folder}/home/none.csv."),
        ({"path": "."}, "data.path expected a CSV file. Received: {folder}."),
        ({}, "data.path expected a CSV file. Received: nothing. Set data.path=FILE."),
        ({"origin": "Kaggle"}, "data.path expected a CSV file. Received: nothing. Get it from Kaggle."),
    ],
)
def test_no_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict, sentence: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with pytest.raises(ConfigError) as error:
        open_table(DataConfig(["a"], "y", **options), tmp_path / "cache")
    assert str(error.value) == sentence.format(folder=tmp_path)


@pytest.mark.parametrize(
    ("content", "options", "sentence"),
    [
        ("a,y\n", {}, "data.path expected rows below the header. Received: none in {path}."),
        (
            "a,y\n1,\n,2\n",
            {"missing": Missing.drop},
            "the split expected a training row. Received: 2 rows, 2 dropped, the rest held out.",
        ),
        (
            "a,y\n1,2\n",
            {"holdout": 0.999999},
            "the split expected a training row. Received: 1 rows, 0 dropped, the rest held out.",
        ),
        (
            "b,y\n1,2\n",
            {},
            "data.features and data.target expected columns of the file. Received: ['a']. It has: ['b', 'y'].",
        ),
        (
            "a,y\n1,2\n3,4,5\n",
            {},
            "data.path expected rows like the header. Received: more fields than that in row 2 of "
            "{path}. Mend the row, or quote the field that holds a comma.",
        ),
        (
            "a,y\n1,2\n3\n",
            {},
            "y expected a number in every row. Received: an empty field in row 2. Use data.missing=drop.",
        ),
        (
            "a,y\n1,2\n3,inf\n",
            {"missing": Missing.drop},
            "y expected numbers that float32 can hold. Received: inf in row 2.",
        ),
        ("a,y\n1,2\nx,4\n", {}, "a expected numbers. Received: 'x' in row 2 of {path}."),
    ],
)
def test_a_refused_source_leaves_nothing(
    make_table, tmp_path: Path, content: str, options: dict, sentence: str
) -> None:
    expected = sentence.format(path=tmp_path / "file.csv")
    assert refusal(make_table, content, **options) == expected
    assert list((tmp_path / "cache" / "tables").iterdir()) == []
    assert refusal(make_table, content, **options) == expected
    assert rows(make_table("a,y\n1,2\n3,4\n")).tolist() == [[1, 2], [3, 4]]


# Once, and whole or not at all.


def test_a_table_is_made_once(make_table, write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(SMALL)
    table = make_table(path, holdout=0.3)
    monkeypatch.setattr(module, "ingest", None)
    assert make_table(path, holdout=0.3) == table
    assert make_table(path, holdout=0.3, scaling=Scaling.none, origin="elsewhere") == table


def test_a_relative_path_and_a_home_are_the_same_source(
    make_table, write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = make_table(write(SMALL))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(module, "ingest", None)
    assert make_table(Path("file.csv")) == make_table(Path("~/file.csv")) == table


@pytest.mark.parametrize("far", [0, 5000])
def test_a_changed_source_is_noticed(make_table, write, monkeypatch: pytest.MonkeyPatch, far: int) -> None:
    """Also where its name, size and time are the same."""
    monkeypatch.setattr(module, "EDGE_BYTES", 1000)
    path = write(SMALL + "6,z,-6,60\n" * far)
    before, status = make_table(path), path.stat()
    path.write_text(path.read_text().replace("5,y,-5,50", "5,y,-5,51"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    after = make_table(path)
    assert after.digest != before.digest
    assert rows(after)[4].tolist() == [5, 51]
    with path.open("a") as file:
        file.write("7,z,-7,70\n")
    assert rows(make_table(path))[-1].tolist() == [7, 70]


def test_a_column_file_that_lost_rows_is_named(make_table) -> None:
    table = make_table(SMALL)
    path = ingest.column_path(table.folder, "train", 1)
    path.write_bytes(path.read_bytes()[:-1])
    assert table.read("train", 0, 4).shape == (2, 4)
    with pytest.raises(ConfigError) as error:
        table.read("train", 0, 5)
    assert str(error.value) == f"a table's file expected more rows. Received: {path}. Remove its folder."


def test_the_manifest_is_plain_json(make_table) -> None:
    table = make_table(SMALL)
    manifest = json.loads((table.folder / "table.json").read_text(), parse_constant=pytest.fail)
    assert manifest == {
        "source": str(table.source),
        "columns": [
            {"name": "a", "log": False, "mean": 3.0, "std": 2.0**0.5, "min": 1.0, "max": 5.0},
            {"name": "y", "log": False, "mean": 30.0, "std": 200.0**0.5, "min": 10.0, "max": 50.0},
        ],
        "train_rows": 5,
        "holdout_rows": 0,
        "dropped": 0,
        "filled": 0,
        "digest": table.digest,
    }


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interrupted_ingest_leaves_nothing(
    write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    monkeypatch.setattr(readers, "READ_ROWS", 2)
    source = DataConfig(["a"], "y", str(write(SMALL)), holdout=0.0)

    def interrupt(what: str, count: int) -> None:
        if count == 4:
            raise error

    with pytest.raises(error):
        open_table(source, tmp_path / "cache", interrupt)
    assert list((tmp_path / "cache" / "tables").iterdir()) == []
    assert [thread.name for thread in threading.enumerate() if thread.name == "prefetch"] == []
    assert open_table(source, tmp_path / "cache").train_rows == 5


PROGRAM = """
import os, signal, sys, time
from pathlib import Path
from harness import readers
from harness.config import DataConfig
from harness.table import open_table

source, cache = sys.argv[1], Path(sys.argv[2])
readers.READ_ROWS = 2

def die(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)

def progress(what, rows):
    if rows == 4:
        AT_ROW_4

print(open_table(DataConfig(["a"], "y", source, holdout=0.0), cache, progress))
"""
MEET = """
        (cache / str(os.getpid())).touch()
        while len([path for path in cache.iterdir() if path.is_file()]) < 2:
            time.sleep(0.001)
"""


def start(program: str, *arguments: Path) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", program, *map(str, arguments)], stdout=-1, stderr=-1, text=True)


@pytest.mark.parametrize("moment", ["while it reads", "before it has a name"])
def test_a_killed_ingest_leaves_nothing_that_opens(make_table, write, tmp_path: Path, moment: str) -> None:
    program = PROGRAM.replace("AT_ROW_4", "die()" if moment == "while it reads" else "Path.rename = die")
    path, tables = write(SMALL), tmp_path / "cache" / "tables"
    with start(program, path, tmp_path / "cache") as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, errors
    left = [folder.name for folder in tables.iterdir()]
    assert len(left) == 1
    table = make_table(path)
    assert rows(table).tolist() == [[1, 10], [2, 20], [3, 30], [4, 40], [5, 50]]
    assert sorted(folder.name for folder in tables.iterdir()) == sorted([*left, table.folder.name])


def test_two_processes_ingest_at_once(make_table, write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are in the middle of the file when they meet."""
    path, program = write(SMALL), PROGRAM.replace("AT_ROW_4", MEET)
    processes = [start(program, path, tmp_path / "cache") for _ in range(2)]
    found = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], found
    monkeypatch.setattr(module, "ingest", None)
    table = make_table(path)
    assert [text for text, _ in found] == [f"{table}\n"] * 2
    assert rows(table).tolist() == [[1, 10], [2, 20], [3, 30], [4, 40], [5, 50]]
    assert list((tmp_path / "cache" / "tables").iterdir()) == [table.folder]


@pytest.mark.parametrize("data", [{"path": "file.csv"}, {"rows": 300}])
def test_threads_ingest_at_once(write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: dict) -> None:
    monkeypatch.chdir(tmp_path)
    write("sqft_living,price\n" + "1,2\n3,4\n" * 150)
    meeting = threading.Barrier(4, timeout=30)
    found: list[Table | BaseException] = []

    def work() -> None:
        try:
            source = DataConfig(["sqft_living"], "price", holdout=0.0, **data)
            found.append(open_table(source, tmp_path / "cache", lambda what, rows: rows == 300 and meeting.wait()))
        except BaseException as error:
            meeting.abort()
            found.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tables = [table for table in found if isinstance(table, Table)]
    assert len(tables) == 4, found
    assert len({table.digest for table in tables}) == 1
    frame = pd.read_csv(tables[0].source)[["sqft_living", "price"]].to_numpy(np.float32)
    for table in tables:
        np.testing.assert_array_equal(rows(table), frame)
