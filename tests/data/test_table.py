"""A table equals its CSV however it is written, and equal tables have equal digests."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.config import DataConfig, Missing, Scaling
from harness.data import synthetic_houses
from harness.data.ingest import IngestProgress
from harness.data.tables.builder import open_table
from harness.data.tables.pages import PARTS
from harness.errors import ConfigError
from tests.tables import SMALL, held_out, refusal, rows, stored

# Rows.


@pytest.mark.parametrize("block_bytes", [1, 2, 3, 100])
@pytest.mark.parametrize("features", [["a"], ["b", "a"]])
def test_a_table_equals_the_file(make_table, block_bytes: int, features: list[str]) -> None:
    table = make_table(SMALL, features=features, block_bytes=block_bytes)
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


@settings(max_examples=60, deadline=None, database=None)
@given(data=st.data())
def test_any_table_equals_pandas(data: st.DataObject) -> None:
    """Together, both parts in file order are what pandas reads in one call."""
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

    with tempfile.TemporaryDirectory() as folder:
        block_bytes = data.draw(st.integers(1, 30), "block_bytes")
        path = Path(folder) / "file.csv"
        content = data.draw(st.sampled_from(["", "\ufeff"]), "mark") + content
        last = data.draw(st.sampled_from(["", end, 3 * end]), "last line end")
        path.write_bytes((content + last).encode())
        frame = pd.read_csv(path, usecols=[*features, "y"], dtype=np.float64)[[*features, "y"]]
        kept = frame.notna().all(axis=1).to_numpy()
        out = held_out(0, count, holdout, 3)
        expected = [frame[kept & ~out].to_numpy(np.float64), frame[kept & out].to_numpy(np.float64)]
        source = DataConfig(features, "y", str(path), holdout=holdout, split_seed=3, missing=Missing.drop)
        if len(expected[0]):
            table = open_table(source, Path(folder) / "cache", block_bytes=block_bytes)
            for part, values in zip(PARTS, expected, strict=True):
                offsets = [column.offset for column in table.columns]
                np.testing.assert_array_equal(stored(table, part), (values - offsets).astype(np.float32))
            assert table.dropped == count - kept.sum()
        else:
            with pytest.raises(ConfigError, match="No rows are left to train on"):
                open_table(source, Path(folder) / "cache", block_bytes=block_bytes)


# Digest.

BASE = "a,b,y\n1,5,10\n2,6,20\n3,7,30\n4,8,40\n5,9,50\n"
SPLIT = {"holdout": 0.3, "split_seed": 2}


def test_the_digest_does_not_depend_on_how_values_are_written(make_table, write, tmp_path: Path) -> None:
    expected = make_table(BASE).digest
    assert len(expected) == 32
    assert make_table(write(BASE, "another.csv")).digest == expected
    assert make_table(BASE.replace("10\n", '"1e+001"\r\n')).digest == expected
    assert make_table("\ufeff" + BASE.replace(",7,", ",text,")).digest == expected
    assert make_table(BASE, scaling=Scaling.none, missing=Missing.mean, split_seed=9).digest == expected
    zeros = {make_table(BASE.replace("\n1,", f"\n{zero},")).digest for zero in ("0", "-0", "-0.0")}
    assert len(zeros) == 1
    path = write(BASE)
    assert open_table(DataConfig(["a"], "y", str(path), holdout=0.0), tmp_path / "elsewhere").digest == expected
    os.utime(path, (1, 1))
    again = make_table(path, block_bytes=2)
    assert again.digest == expected
    assert len(list((tmp_path / "cache" / "tables").iterdir())) == 9


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
    """The digest also depends on which fields were filled."""
    filled = make_table("a,y\n1,1\n,2\n3,3\n", missing=Missing.mean)
    whole = make_table("a,y\n1,1\n2,2\n3,3\n")
    assert filled.sums == whole.sums
    assert filled.digest != whole.digest


# Sources.


def test_the_built_in_houses(tmp_path: Path) -> None:
    said: list[IngestProgress] = []
    source = DataConfig(["sqft_living", "lat"], "price", rows=120)
    table = open_table(source, tmp_path, said.append)
    assert [(state.what, state.rows) for state in said] == [("generating", 120), ("reading", 120)]
    path = Path(table.address)
    assert (said[1].bytes, said[1].total) == (path.stat().st_size,) * 2
    assert path == tmp_path / "houses" / f"houses-{synthetic_houses.VERSION}-120.csv"
    frame = pd.read_csv(path)[["sqft_living", "lat", "price"]].to_numpy(np.float32)
    out = held_out(0, 120, 0.2, 0)
    np.testing.assert_array_equal(rows(table), frame[~out])
    np.testing.assert_array_equal(rows(table, "holdout"), frame[out])
    assert open_table(source, tmp_path / "elsewhere").digest == table.digest

    assert open_table(source, tmp_path, said.append) == table
    assert len(said) == 2, "neither generated nor read again"


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
            "data.path: no such file: {folder}/none.csv. Get it from Kaggle, a/b (CC0).",
        ),
        ({"path": "none.csv"}, "data.path: no such file: {folder}/none.csv"),
        ({"path": "~/none.csv"}, "data.path: no such file: {folder}/home/none.csv"),
        (
            {"path": "."},
            "data.path: {folder} is a folder. To read its files as one table, write '{folder}/*.csv'. A folder of "
            "images needs data=images, and one subfolder of images per class.",
        ),
        ({"path": "/dev/null"}, "data.path: /dev/null is a device, not a file."),
        ({"path": "none*.csv"}, "data.path: no file matches none*.csv."),
        ({}, "data.path is not set. Set data.path=FILE."),
        ({"origin": "Kaggle"}, "data.path is not set. Get it from Kaggle."),
    ],
)
def test_no_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict, sentence: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with pytest.raises(ConfigError) as error:
        open_table(DataConfig(["a"], "y", **options), tmp_path / "cache")
    assert str(error.value) == sentence.format(folder=tmp_path)


NO_COLUMN = "{path} has no column "


@pytest.mark.parametrize(
    ("content", "options", "sentence"),
    [
        ("", {}, "data.path: {path} is empty; a CSV must start with a header line."),
        ("\n \n", {}, "data.path: {path} is empty; a CSV must start with a header line."),
        ("a,y\n", {}, "data.path: no rows below the header in {path}."),
        (
            "a,y\n1,\n,2\n",
            {"missing": Missing.drop},
            "No rows are left to train on: of 2, 2 were dropped and the rest held out.",
        ),
        (
            "a,y\n1,2\n",
            {"holdout": 0.999999},
            "No rows are left to train on: of 1, 0 were dropped and the rest held out.",
        ),
        ("b,y\n1,2\n", {}, NO_COLUMN + "a. It has: b, y."),
        ("A,y\n1,2\n", {"features": ["aa"]}, NO_COLUMN + "aa. Did you mean A?"),
        ("area,y\n1,2\n", {"features": ["aera"]}, NO_COLUMN + "aera. Did you mean area?"),
        (
            "a;y\n1;2\n",
            {},
            NO_COLUMN
            + "a, y. It has: a;y. The file seems to need data.delimiter=semicolon; see `harness data describe`.",
        ),
        ("a,a,y\n1,2,3\n", {}, "{path}, line 1: duplicate column names a. Make the names unique, or set data.names."),
        (
            "a,y\n1,2\n".encode("utf-16"),
            {},
            "data.path: {path} is binary or UTF-16. If it is UTF-16, set data.encoding=utf-16.",
        ),
        (
            "a,y,b\n1,2,u\n3,4,ü\n".encode("latin-1"),
            {},
            "{path}, line 3: byte 0xfc is not valid utf-8. Set data.encoding, for example to latin-1.",
        ),
        (
            "größe,a,y\n1,2,3\n".encode("latin-1"),
            {},
            "data.path: {path} is not in utf-8 ('utf-8' codec can't decode byte 0xf6 in position 2: invalid start byte)"
            ". Set data.encoding, for example to latin-1.",
        ),
        (
            b"a,y\n1,2\n",
            {"encoding": "utf-16"},
            "data.path: {path} is not in utf-16 (UTF-16 stream does not start with BOM). "
            "Set data.encoding, for example to latin-1.",
        ),
        (
            "a,y\n1,2\n3,4,5\n",
            {},
            "{path}, line 3: 3 fields, but the header has 2. "
            "Fix the line, or quote the field that contains a delimiter or a line break.",
        ),
        (
            "a,y\n1,2\n3,inf\n",
            {"missing": Missing.drop},
            "{path}, line 3: y is inf, which float32 cannot represent.",
        ),
        ("a,y\n1,2\nx,4\n", {}, "{path}, line 3: a is 'x', not a number. If a is text, set 'data.categorical=[a]'."),
    ],
)
def test_a_refused_source_leaves_nothing(
    make_table, tmp_path: Path, content: str | bytes, options: dict, sentence: str
) -> None:
    expected = sentence.format(path=tmp_path / "file.csv")
    assert refusal(make_table, content, **options) == expected
    assert list((tmp_path / "cache" / "tables").glob("*")) == []
    assert refusal(make_table, content, **options) == expected
    assert rows(make_table("a,y\n1,2\n3,4\n")).tolist() == [[1, 2], [3, 4]]
