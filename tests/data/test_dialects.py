"""Realistic text files: each dialect is read as pandas reads it, and errors name what does not fit."""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from harness.config import DataConfig
from harness.config.dialect import Dialect, Header
from harness.data.csv import rewrite
from harness.data.formats import open_source
from harness.data.selection import Selection, Words
from harness.data.tables.builder import open_table
from harness.errors import ConfigError

TABLE = [[74.5, 5, 102498], [56, 3, 75197], [70.25, 4, 88366]]


def read(path: Path, *columns: str, block_bytes: int = 40, words: tuple[str, ...] = (), **keys: Any) -> list[list[Any]]:
    """Return the rows of a file."""
    selection = Selection(columns, frozenset(words), dialect=Dialect(**keys), block_bytes=block_bytes)
    found: list[list[Any]] = [[] for _ in columns]
    for chunk in open_source(str(path), selection).chunks():
        for values, column in zip(found, chunk.columns, strict=True):
            if isinstance(column, Words):
                values += [column.values[code] if code >= 0 else None for code in column.codes]
            else:
                values += column.tolist()
    return [list(row) for row in zip(*found, strict=True)]


def refusal(path: Path, *columns: str, **keys: Any) -> str:
    with pytest.raises(ConfigError) as error:
        read(path, *columns, **keys)
    return str(error.value).replace(str(path), path.name)


PLAIN = "area,rooms,price\n74.5,5,102498\n56,3,75197\n70.25,4,88366\n"
FORMS: dict[str, tuple[str | bytes, dict[str, Any]]] = {
    "thousands": (PLAIN.replace("102498", '"102,498"').replace("75197", '"75,197"'), {"thousands": ","}),
    "lakh": (PLAIN.replace("102498", '"1,02,498"'), {"thousands": "comma"}),
    "apostrophes": (PLAIN.replace("102498", "102'498"), {"thousands": "'"}),
    "narrow spaces": (PLAIN.replace("102498", "102\u202f498"), {"thousands": "space"}),
    "currency": (PLAIN.replace("102498", '"$102,498.00"').replace("56", "56 %"), {"thousands": ",", "strip": "$%"}),
    "currency behind": (PLAIN.replace("102498", "102498 €"), {"strip": "€"}),
    "a comma and points": (
        PLAIN.replace(",", ";").replace(".", ",").replace("102498", "102.498,0"),
        {"delimiter": ";", "decimal": ",", "thousands": "."},
    ),
    "white space": (
        "area  rooms\tprice\n  74.5   5   102498  \n56 3 75197\n70.25\t4\t88366",
        {"delimiter": "whitespace"},
    ),
    "a mark of UTF-8 before spaces": (
        "\ufeff  area rooms price\n 74.5 5 102498\n 56 3 75197\n 70.25 4 88366\n",
        {"delimiter": "whitespace"},
    ),
    "tabs by name": (PLAIN.replace(",", "\t"), {"delimiter": "\\t"}),
    "comments": (
        "# by O'Neill, \"5\"\n#\narea,rooms,price\n74.5,5,102498 # sic\n#56,3,1\n56,3,75197\n70.25,4,88366\n",
        {"comment": "#"},
    ),
    "a preamble": (
        b'Report "A\xe4\n\n' + b'x,y\n' + PLAIN.encode(),
        {"skip_rows": 3, "encoding": "latin-1"},
    ),
    "a footer": (f"{PLAIN}\nSource: \"an office, 5'\n", {"skip_footer": 2}),
    "units": (PLAIN.replace("price\n", "price\nm2,,EUR\n"), {"units_row": True}),
    "no header": (PLAIN.partition("\n")[2], {"header": Header.none, "names": ["area", "rooms", "price"]}),
    "other names": (PLAIN.replace("area", "price"), {"names": ["area", "rooms", "price"]}),
    "a last delimiter": (PLAIN.replace("\n", ",\n").replace("price,", "price"), {"trailing_delimiter": True}),
    "a last delimiter, also of the header": (PLAIN.replace("\n", ",\n"), {"trailing_delimiter": True}),
    "a last tab": (PLAIN.replace(",", "\t").replace("\n", "\t\n"), {"delimiter": "tab", "trailing_delimiter": True}),
    "a last delimiter before a comment": (
        PLAIN.replace("\n", ", # sic\n", 2),
        {"trailing_delimiter": True, "comment": "#"},
    ),
    "spaces": (PLAIN.replace(",", ",  "), {"skip_initial_space": True}),
    "everything": (
        "made by X\n\nAREA; ROOMS; PRICE;\nm2; n; EUR;\n% note; \n\"74,5\"; 5; € 102 498;\n56; 3; 75 197 €;\n"
        "70,25; 4; 88366;\nsum; ; ;\n",
        {"skip_rows": 2, "skip_footer": 1, "units_row": True, "comment": "%", "delimiter": ";", "decimal": ","}
        | {"thousands": " ", "strip": "€", "trailing_delimiter": True, "skip_initial_space": True}
        | {"names": ["area", "rooms", "price"]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("block_bytes", [1, 60, 1 << 20])
def test_a_dialect_gives_the_same_rows(write, form: str, block_bytes: int) -> None:
    content, keys = FORMS[form]
    assert read(write(content), "area", "rooms", "price", block_bytes=block_bytes, **keys) == TABLE


def test_lines_keep_their_numbers(write) -> None:
    text = 'preamble\n#\na b  c\n1 "x\ny" 2\n# note\n3 z five\nend\n'
    keys = {"skip_rows": 1, "skip_footer": 1, "comment": "#", "delimiter": "whitespace"}
    for block_bytes in (1, 1000):
        assert "file.csv, line 7: c is 'five', not a number." in refusal(
            write(text), "a", "c", block_bytes=block_bytes, **keys
        )
    found = read(write(text.replace("five", "4")), "a", "b", "c", words=("b",), **keys)
    assert found == [[1, "x\ny", 2], [3, "z", 4]]


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ('a b c\n1 "x y\n#z" 2\n3 "x y\n#z" 4\n', {"delimiter": "whitespace"}),
        ('a,b,c\n1, "x y\n#z", 2\n3, "x y\n#z", 4\n', {"skip_initial_space": True, "comment": "#"}),
        ('a,b,c,\n1,"x y\n#z",2,\n3,"x y\n#z",4,\n', {"trailing_delimiter": True, "comment": "#"}),
        ('a,b,c\n1,"""x""\n#z""",2\n3,"""x""\n#z""",4\n', {"comment": "#"}),
    ],
)
def test_rows_do_not_depend_on_where_a_quoted_field_is_cut(
    write, monkeypatch: pytest.MonkeyPatch, text: str, keys: dict
) -> None:
    word = '"x"\n#z"' if '""x""' in text else "x y\n#z"
    for size in (1, 7, 20, 1 << 20):
        monkeypatch.setattr(rewrite, "BLOCK_BYTES", size)
        assert read(write(text), "a", "b", "c", words=("b",), **keys) == [[1, word, 2], [3, word, 4]]


def test_an_empty_last_field_is_not_the_last_delimiter(write) -> None:
    path = write("a\tb\t\n1\t2\t\n3\t\t\n")
    np.testing.assert_equal(read(path, "a", "b", delimiter="tab", trailing_delimiter=True), [[1, 2], [3, np.nan]])


def test_without_a_header_columns_are_numbered(write) -> None:
    assert [DataConfig([0, 1], target).targets for target in (2, [2, 3])] == [["2"], ["2", "3"]]
    assert read(write("\n1,2\n3,4\n"), "1", "0", header=Header.none) == [[2, 1], [4, 3]]
    path = write("\n1,2\n3,x\n")
    assert refusal(path, "1", header=Header.none).startswith("file.csv, line 3: 1 is 'x', not a number.")
    assert refusal(path, "a", header=Header.none, names=["a"]) == "data.names has 1 names, but file.csv has 2 columns."


@pytest.mark.parametrize(
    ("field", "keys"),
    [
        ("1,2", {"thousands": ","}),
        ("12,34,5", {"thousands": ","}),
        ("1,234,56", {"thousands": ","}),
        ("1.234", {"thousands": "."}),
        ("$", {"strip": "$"}),
        ("5$5", {"strip": "$"}),
        ("EUR5", {"strip": "$"}),
    ],
)
def test_numbers_that_do_not_follow_the_dialect_are_refused(write, field: str, keys: dict) -> None:
    keys = {"decimal": ","} | keys if keys.get("thousands") == "." else keys
    field = "1.23" if keys.get("thousands") == "." else field
    said = refusal(write(f'a;y\n1;2\n2;"{field}"\n'), "y", delimiter=";", **keys)
    assert said.startswith(f"file.csv, line 3: y is {field!r}, not a number.")


def test_marks_for_missing_values(write) -> None:
    path = write("a,c,y\n?,NA,1\n-999,-,2\n-999.0,None,3\n4,?,NA\n")
    marks = ["?", "-", -999]
    found = read(path, "a", "c", "y", words=("c",), na_values=marks)
    np.testing.assert_equal(
        found, [[np.nan, None, 1], [np.nan, None, 2], [np.nan, None, 3], [4, None, np.nan]]
    )  # fmt: skip
    kept = read(path, "a", "c", words=("c",), na_values=marks, keep_default_na=False)
    assert [row[1] for row in kept] == ["NA", None, "None", None]
    assert "file.csv, line 5: y is 'NA', not a number." in refusal(path, "y", keep_default_na=False)


def test_marks_that_are_numbers_keep_all_digits() -> None:
    marks = [-9999.999, 1234567.5, -999.0, 1e-7]
    dialect = Dialect(na_values=marks)
    assert (dialect.na_values[:3], dialect.empty_numbers) == (["-9999.999", "1234567.5", "-999"], marks)


@pytest.mark.parametrize("spelling", ["True,False", "TRUE,false", "yes,No", "t,F", "1,FALSE"])
@pytest.mark.parametrize("block_bytes", [1, 1000])
def test_booleans_are_1_and_0(write, spelling: str, block_bytes: int) -> None:
    yes, no = spelling.split(",")
    path = write(f"a,y\n{yes},1\n{no},2\n,3\n{yes},4\n")
    found = read(path, "a", "y", block_bytes=block_bytes)
    np.testing.assert_equal(found, [[1, 1], [0, 2], [np.nan, 3], [1, 4]])


@pytest.mark.parametrize("text", ["y\n1\n0\ntrue\n5\n", "y\n5\n1\n1\nno\n", "y\n7\ntrue\n8\ntrue\n"])
def test_booleans_do_not_mix_with_other_numbers(write, text: str) -> None:
    said = {refusal(write(text), "y", block_bytes=block_bytes) for block_bytes in (1, 4, 1000)}
    line = 3 if text.startswith("y\n7") else 5
    assert said == {f"file.csv, line {line}: y has both numbers and words such as true or yes."}


@pytest.mark.parametrize("names", [("1.csv", "2.csv"), ("2.csv", "1.csv"), ("1.csv", "2.parquet")])
def test_booleans_do_not_mix_with_numbers_of_other_files(tmp_path: Path, names: tuple[str, str]) -> None:
    pd.DataFrame({"a": [3, 4], "y": [1, 2]}).to_csv(tmp_path / "1.csv", index=False)
    pd.DataFrame({"a": ["yes", "no"], "y": [1, 2]}).to_csv(tmp_path / "2.csv", index=False)
    pd.DataFrame({"a": [True, False], "y": [1, 2]}).to_parquet(tmp_path / "2.parquet")
    data = DataConfig(["a"], "y", path=[str(tmp_path / name) for name in names])
    with pytest.raises(ConfigError, match=rf"{names[1]}, .* 1: a has both|{names[1]}, line 2: a has both"):
        open_table(data, tmp_path / "cache")


def test_duplicate_names_matter_only_where_they_are_used(write) -> None:
    path = write("a,note,note,y\n1,u,v,2\n")
    assert read(path, "a", "y") == [[1, 2]]
    assert refusal(path, "note", words=("note",)) == (
        "file.csv, line 1: duplicate column names note. Make the names unique, or set data.names."
    )


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"thousands": "."}, "data.thousands and data.decimal are both '.'."),
        ({"comment": ","}, "data.comment and data.delimiter are both ','."),
        ({"strip": "$-"}, "data.strip must not contain digits, signs, brackets or the decimal mark: ['-']."),
        ({"names": ["a", "a"]}, "data.names contains a more than once."),
        (
            {"units_row": True, "header": "none"},
            "data.units_row needs a header, but data.header=none is set: use data.skip_rows.",
        ),
        ({"skip_rows": -1}, "data.skip_rows must be from 0 to 100000, not -1."),
    ],
)
def test_refused_keys(keys: dict, sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        Dialect(**keys)
    assert str(error.value) == sentence


# Other formats yield the same values as a CSV.

FRAME = pd.DataFrame(
    {
        "n": [1.5, None, -3],
        "big": [2**53 + 1, 2**53 + 2, 7],
        "flag": [True, False, True],
        "c": ["u", None, "02101"],
        "y": [1, 2, 3],
    }
)
NAMES = ("n", "flag", "big", "c", "y")


def rows_of(path: Path, **keys: Any) -> list[list[Any]]:
    return read(path, *NAMES, words=("big", "c"), **keys)


def test_formats_give_the_same_values(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("f.csv", "f.parquet", "f.feather", "f.jsonl", "f.jsonl.xz")]
    FRAME.to_csv(paths[0], index=False)
    FRAME.to_parquet(paths[1])
    pyarrow.feather.write_feather(FRAME, paths[2], chunksize=2)
    lines = "".join(
        json.dumps({k: None if pd.isna(v) else v for k, v in row.items()}) + "\n\n" for row in FRAME.to_dict("records")
    )
    paths[3].write_text(lines)
    paths[4].write_bytes(lzma.compress(lines.encode()))
    expected = [
        [1.5, 1, "9007199254740993", "u", 1],
        [np.nan, 0, "9007199254740994", None, 2],
        [-3, 1, "7", "02101", 3],
    ]
    for path in paths:
        np.testing.assert_equal(rows_of(path), expected)
        assert sorted(open_source(str(path), Selection(())).names()) == sorted(NAMES)


def test_a_format_in_the_middle_of_a_name_does_not_matter(write) -> None:
    assert read(write(PLAIN, "homes.json.csv"), "area", "rooms", "price") == TABLE


def test_a_boolean_category_is_the_same_word_everywhere(tmp_path: Path) -> None:
    FRAME.to_parquet(tmp_path / "f.parquet")
    FRAME.to_csv(tmp_path / "f.csv", index=False)
    found = [read(tmp_path / name, "flag", words=("flag",)) for name in ("f.parquet", "f.csv")]
    assert found == [[["true"], ["false"], ["true"]]] * 2


@pytest.mark.parametrize("name", ["f.csv", "f.jsonl", "f.parquet", "f.feather"])
def test_marks_for_missing_values_in_every_format(tmp_path: Path, name: str) -> None:
    days = ["2020-01-02", "9999-12-31"]
    columns = {
        "n": pa.array([1.5, -9999.999], pa.float32()),
        "i": pa.array([5, -999]),
        "m": pa.array(["1.50", "-999.00"]).cast(pa.decimal128(5, 2)),
        "s": pa.array(["u", " ? "], pa.large_string()),
        "k": pa.array(["7", "-999.0"]).dictionary_encode(),
        "t": pa.array([pd.Timestamp(day).date() for day in days], pa.date32()),
    }
    path, table = tmp_path / name, pa.table(columns)
    frame = table.to_pandas().assign(n=[1.5, -9999.999], m=[1.5, -999], t=days)
    written = {
        "f.csv": lambda: frame.to_csv(path, index=False),
        "f.jsonl": lambda: frame.to_json(path, orient="records", lines=True),
        "f.parquet": lambda: pq.write_table(table, path),
        "f.feather": lambda: pyarrow.feather.write_feather(table, path),
    }
    written[name]()
    dialect = Dialect(na_values=["?", -999, -9999.999, "9999-12-31", "1900-99-01"])
    selection = Selection(tuple(columns), frozenset("isk"), {"t": None}, dialect=dialect)
    (chunk,) = open_source(str(path), selection).chunks()
    words = [np.array([*column.values, None])[column.codes] for column in chunk.columns if isinstance(column, Words)]
    numbers = [column for column in chunk.columns if isinstance(column, np.ndarray)]
    np.testing.assert_equal(numbers, [[1.5, np.nan], [1.5, np.nan], [18263, np.nan]])
    np.testing.assert_equal([[*each] for each in words], [["5", None], ["u", None], ["7", None]])


def test_times_durations_and_decimals_of_parquet(tmp_path: Path) -> None:
    columns = {
        "t": pa.array([3_600_000, None], pa.time32("ms")),
        "d": pa.array([1_500_000, 2_000_000], pa.duration("us")),
        "m": pa.array([7, None], pa.int32()).dictionary_encode(),
        "e": pa.array(["1.50", "2.00"]).cast(pa.decimal128(5, 2)),
    }
    pq.write_table(pa.table(columns), tmp_path / "f.parquet")
    found = read(tmp_path / "f.parquet", "t", "d", "m", "e", words=("e",))
    np.testing.assert_equal(found, [[3600, 1.5, 7, "1.5"], [np.nan, 2, np.nan, "2"]])


def test_a_flipped_bit_in_a_page_with_a_checksum_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "f.parquet"
    table = pa.table({"y": np.random.default_rng(0).normal(size=1000)})
    pq.write_table(table, path, write_page_checksum=True, compression="none", use_dictionary=False)
    content = bytearray(path.read_bytes())
    content[4000] ^= 1
    path.write_bytes(content)
    assert refusal(path, "y").startswith("data.path: f.parquet is damaged (")


@pytest.mark.parametrize("name", ["f.parquet", "f.feather"])
def test_a_truncated_file_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    FRAME.to_parquet(path) if name == "f.parquet" else pyarrow.feather.write_feather(FRAME, path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ConfigError, match=f"data.path: .*{name} is damaged"):
        open_source(str(path), Selection(())).names()
    assert refusal(path, "y").startswith(f"data.path: {name} is damaged (")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('{"y": 1}\n{"y": [2]}\n', "f.jsonl, line 2: y is a list or an object, not a value. Leave y out."),
        ('{"y": 1}\n\n{"y": "five"}\n', "f.jsonl, line 3: y is 'five', not a number. If y is text, set "),
        ('[{"y": 1}]\n', "f.jsonl is one JSON array. The file must have one object per line: `jq -c '.[]' FILE`"),
        ('[\n{"y": 1}]\n', "f.jsonl is one JSON array. The file must have one object per line: `jq -c '.[]' FILE`"),
        ('{"y": 1}\n[2]\n', "f.jsonl, line 2: not a JSON object. The file must have one object per line."),
        ('{"y": 1}\n{"y"\n', "f.jsonl, line 2: not a JSON object ("),
        ('{"y": ' + "[" * 50_000 + "\n", "f.jsonl, line 1: not a JSON object ("),
        ('{"z": 1}\n', "f.jsonl has no column y. It has: z."),
    ],
)
def test_refused_json(write, content: str, sentence: str) -> None:
    assert refusal(write(content, "f.jsonl"), "y").startswith(sentence)
