"""Concatenated chunks equal the file; errors name the line, column and value."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.config.dialect import DEFAULT_EMPTY, Dialect
from harness.data.formats import open_source
from harness.data.selection import BLOCK_BYTES, Chunk, Selection, Words
from harness.errors import ConfigError

HOUSES = """\
id,date,price,sqft,floors
"0100000001","20141013T000000",221900,1180,"1"
"0200000002","20141209T000000",1.225e+006,2570,"2.5"
"0300000003","20150225T000000",180000,,"1.5"
"0400000004","20150226T000000",-6.04e-05,1960,"1"
"0500000005","20150227T000000",510000,1680,NA
"""
HINTS = {
    "five": "If y is text, set 'data.categorical=[y]'.",
    "$5": "Set 'data.strip=$'.",
    "2014-10-13": "If it is a date, set 'data.dates=[y]'.",
    "31/12/14 3:15 PM": "If it is a date, set 'data.dates=[y]' 'data.date_format=\"%d/%m/%y %I:%M %p\"'.",
}
MARK = "If it marks a missing value, set"
LEFT_OPEN = "file.csv, line {}: unclosed quote. Fix the line."


def fields(seen: int, line: int, expected: int) -> str:
    return (
        f"file.csv, line {line}: {seen} fields, but the header has {expected}. "
        "Fix the line, or quote the field that contains a delimiter or a line break."
    )


@pytest.fixture(params=[1, 40, 16 << 20], ids="blocks of {}".format)
def block_bytes(request: pytest.FixtureRequest) -> int:
    return request.param


def read(path: Path, *columns: str, **options: Any) -> list[Chunk]:
    names = {field.name for field in dataclasses.fields(Dialect)}
    dialect = Dialect(**{key: value for key, value in options.items() if key in names})
    others = {key: value for key, value in options.items() if key not in names}
    return list(open_source(str(path), Selection(columns, dialect=dialect, **others)).chunks())


def values(path: Path, *columns: str, **options: Any) -> np.ndarray:
    """All rows of numeric columns, `[rows, columns]`."""
    chunks = read(path, *columns, **options)
    joined = [np.concatenate([np.asarray(chunk.columns[i]) for chunk in chunks]) for i in range(len(columns))]
    return np.stack(joined, axis=1)


def refusal(path: Path, *columns: str, **options: Any) -> str:
    """Return the message, with `file.csv` in place of the path."""
    with pytest.raises(ConfigError) as error:
        values(path, *columns, **options)
    return str(error.value).replace(str(path), path.name)


@pytest.mark.parametrize("columns", [["sqft", "price"], ["price", "floors", "sqft"], ["id"]])
def test_chunks_concatenated_equal_the_file(write, block_bytes: int, columns: list[str]) -> None:
    path = write(HOUSES)
    found = values(path, *columns, block_bytes=block_bytes)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, pd.read_csv(path)[columns].to_numpy(np.float64))


FORMS = {
    "plain": "a,y\n1,2\n3,4.5\n-5,6\n",
    "no last line end": "a,y\n1,2\n3,4.5\n-5,6",
    "CRLF": "a,y\r\n1,2\r\n3,4.5\r\n-5,6\r\n",
    "CR": "a,y\r1,2\r3,4.5\r-5,6\r",
    "BOM": "\ufeffa,y\n1,2\n3,4.5\n-5,6\n",
    "BOM and quotes": '\ufeff"a","y"\n"1","2"\n"3","4.5"\n"-5","6"\n',
    "blank lines": "\n\na,y\n\n1,2\n3,4.5\n \n\n-5,6\n\n\n",
    "BOM and blank lines": "\ufeff\n\na,y\n1,2\n3,4.5\n-5,6\n",
    "ways to write": 'a,y\n 1 ,+2.\n003,.45e1\n" -5 ",600E-2\n',
    "an old exponent": "a,y\n1,2\n3,4.5e+000\n-5.0e+000,6\n",
    "another order": "y,a\n2,1\n4.5,3\n6,-5\n",
    "quoted text": 'a,text,y\n1,"u,v",2\n3,"two\nlines",4.5\n-5,"""",6\n',
    "quotes inside": 'a,text,y\n1,5" wide,2\n3,6" long,4.5\n-5,"x"y,6\n',
    "quoted header": 'a,"b\nc",y\n1,u,2\n3,v,4.5\n-5,w,6\n',
    "nameless column": "a,y,\n1,2,\n3,4.5,x\n-5,6,\n",
    "empty last fields": "a,y,b\n1,2,\n3,4.5,\n-5,6,\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_a_file(write, block_bytes: int, form: str) -> None:
    assert values(write(FORMS[form]), "a", "y", block_bytes=block_bytes).tolist() == [[1, 2], [3, 4.5], [-5, 6]]


@pytest.mark.parametrize(
    ("content", "options"),
    [
        ("a;y\n1;2\n3;4.5\n-5;6\n", {"delimiter": ";"}),
        ("a\ty\n1\t2\n3\t4.5\n-5\t6\n", {"delimiter": "\t"}),
        ("a;y\n1;2\n3;4,5\n-5;6,0\n", {"delimiter": ";", "decimal": ","}),
        ("a'y\n1'2\n3'4:5\n-5'6\n", {"delimiter": "'", "decimal": ":"}),
        ("a,y,b\n1,2,é\n3,4.5,\n-5,6,ü\n".encode("latin-1"), {"encoding": "latin-1"}),
        ("a,y,b\n1,2,é\n3,4.5,\n-5,6,ü\n".encode("utf-16"), {"encoding": "utf-16"}),
    ],
)
def test_delimiters_decimal_marks_and_encodings(write, block_bytes: int, content: str | bytes, options: dict) -> None:
    assert values(write(content), "a", "y", **options, block_bytes=block_bytes).tolist() == [[1, 2], [3, 4.5], [-5, 6]]


def test_decimal_comma_and_point_do_not_mix(write) -> None:
    path = write("a;y\n1,5;2\n1.234;2\n")
    assert refusal(path, "a", delimiter=";", decimal=",") == ("file.csv, line 3: a is '1.234', not a number.")


@pytest.mark.parametrize("empty", sorted({*DEFAULT_EMPTY, '""', " ", '"NA"'}))
def test_empty_fields_are_nan(write, empty: str) -> None:
    path = write(f"a,y,b\n1,{empty},u\n{empty},2,v\n")
    np.testing.assert_array_equal(values(path, "a", "y"), [[1, np.nan], [np.nan, 2]])


def test_a_column_without_values_is_nan(write) -> None:
    np.testing.assert_array_equal(values(write("a,y\n1,\n2,\n"), "y"), [[np.nan], [np.nan]])


def test_a_file_of_one_column(write) -> None:
    np.testing.assert_array_equal(values(write('y\n1\n\n""\n3\n'), "y"), [[1], [np.nan], [3]])


@pytest.mark.parametrize("content", ["a,y\n", "a,y"])
def test_no_rows_give_no_chunks(write, content: str) -> None:
    assert read(write(content), "a", "y") == []


def test_surplus_digits_are_rounded_correctly(write) -> None:
    digits = ["0.1", "16777217", "123456789012345678901234567890", "2.2250738585072011e-38", "9007199254740993"]
    path = write("y\n" + "\n".join(digits))
    assert np.float32(values(path, "y")[:, 0]).tolist() == np.float32([float(text) for text in digits]).tolist()


@pytest.mark.parametrize(
    ("field", "sentence"),
    [
        *(
            (field, f"file.csv, line 6: y is {field!r}, not a number.")
            for field in ("7 Average", "1_000", "0x10", "1 2", "1e", "1+2j")
        ),
        *((field, f"file.csv, line 6: y is {field!r}, not a number. {hint}") for field, hint in HINTS.items()),
        *(
            (field, f"file.csv, line 6: y is {field!r}, not a number. {MARK} 'data.na_values=[{shown}]'.")
            for field, shown in (("?", "?"), ("Nan", '"Nan"'), (" nan", '"nan"'), ("nan(ind)", '"nan(ind)"'))
        ),
        ("True", "file.csv, line 6: y has both numbers and words such as true or yes."),
        (
            '"2,21,900.00"',
            "file.csv, line 6: y is '2,21,900.00', not a number. If ',' separates thousands, set data.thousands=comma.",
        ),
        ("\0", "file.csv, line 6: y is '\\x00', not a number."),
        ("１２", "file.csv, line 6: y is '１２', not a number."),  # noqa: RUF001
        *(
            (field, f"file.csv, line 6: y is {shown}, which float32 cannot represent.")
            for field, shown in (("inf", "inf"), ("-Infinity", "-inf"), ("1e39", "1e+39"), ("1e400", "inf"))
        ),
        ("5,6", fields(4, 6, 3)),
        ("5,", fields(4, 6, 3)),
        ('"x\n', LEFT_OPEN.format(6)),
    ],
)
def test_refused_fields(write, block_bytes: int, field: str, sentence: str) -> None:
    """A blank line and a quoted line break precede it."""
    path = write(f'a,b,y\n1,"u\nv",2\n\n3,v,4\n5,w,{field}\n7,x,8\n')
    assert refusal(path, "a", "y", block_bytes=block_bytes) == sentence


@pytest.mark.parametrize(
    ("line", "seen"),
    [("5,w", 2), ("5", 1), ("5,w,6,7", 4), ("5,w,6,", 4), ("5,w\n,6", 2), ('"5,w",6', 2), ("5,1,000,6", 4)],
)
@pytest.mark.parametrize("columns", [["a"], ["y"], ["b", "y"]])
def test_a_line_of_another_length_is_refused_whatever_columns_are_read(
    write, block_bytes: int, line: str, seen: int, columns: list[str]
) -> None:
    path = write(f"a,b,y\n1,2,3\n{line}\n7,8,9\n")
    assert refusal(path, *columns, block_bytes=block_bytes) == fields(seen, 3, 3)


def test_a_long_and_a_short_line_do_not_cancel_out(write) -> None:
    path = write("a,b,y\n1,2,3\n4,5,6,\n7,8\n9,10,11\n")
    assert refusal(path, "a", "y") == fields(4, 3, 3)


@pytest.mark.parametrize("end", ['1,2,"x\n3,4,z\n', '1,2,"x\n3,4,"z"\n5,6,q\n', '1,2,"x'])
@pytest.mark.parametrize("columns", [["a"], ["b", "t"]])
def test_an_open_quote_does_not_swallow_rows(write, block_bytes: int, end: str, columns: list[str]) -> None:
    """The quote is in the last column, which is text and may not be read at all."""
    path = write("a,b,t\n" + '7,8,"u"\n' * 20 + end)
    said = refusal(path, *columns, categorical=frozenset({"t"}) & {*columns}, block_bytes=block_bytes)
    assert said == LEFT_OPEN.format(22)


def test_a_line_that_is_too_long_is_refused(write) -> None:
    path = write(b"a,y\n1,2\n" + b"1" * (60 << 20))
    assert refusal(path, "a", "y", block_bytes=1 << 20) == "file.csv, line 3: the line is longer than 48 MiB."


@pytest.mark.parametrize("before", [0, 1, 200_000])
def test_an_open_quote_is_refused(write, before: int) -> None:
    path = write("a,y\n" + "1,2\n" * before + '3,"4\n5,6\n')
    assert refusal(path, "a", "y") == LEFT_OPEN.format(before + 2)


def test_an_error_after_the_first_block(write) -> None:
    rows = (BLOCK_BYTES >> 2) + 1000
    path = write("a,y\n" + "1,2\n" * rows + "5,text\n7,8\n")
    assert refusal(path, "a", "y") == f"file.csv, line {rows + 2}: y is 'text', not a number. {HINTS['five']}"


def test_the_first_of_several_errors_is_reported(write) -> None:
    path = write("a,b,y\n1,u,2\n3,v,w\nx,v,w\n")
    assert refusal(path, "y", "a") == "file.csv, line 3: y is 'w', not a number. " + HINTS["five"]


# Names and dates.


def words(path: Path, **options: Any) -> list[str | None]:
    """All values of the column `c`."""
    found: list[str | None] = []
    for chunk in read(path, "y", "c", categorical=frozenset({"c"}), **options):
        column = chunk.columns[1]
        assert isinstance(column, Words)
        found += [column.values[code] if code >= 0 else None for code in column.codes]
    return found


def test_categories_are_text_as_written(write, block_bytes: int) -> None:
    path = write('c,y\n01,1\n"a,b",2\n01,3\nNA,4\n1.0,5\n,6\nTrue,7\n2014-10-13,8\n')
    assert words(path, block_bytes=block_bytes) == ["01", "a,b", "01", None, "1.0", None, "true", "2014-10-13"]


@pytest.mark.parametrize(
    ("dates", "form", "days"),
    [
        (["20141013T000000", "19700101T120000"], None, [16356, 0.5]),
        (["2014-10-13", "1969-12-31"], None, [16356, -1]),
        (["2014-10-13T00:00:00Z", "2014-10-13T02:00:00+02:00"], None, [16356, 16356]),
        (["13/10/2014", "1/1/1970"], "%d/%m/%Y", [16356, 0]),
        (["20141013", ""], "%Y%m%d", [16356, np.nan]),
        (["9999-12-31", "0001-01-01"], None, [2932896, -719162]),
    ],
)
def test_dates_are_days(write, block_bytes: int, dates: list[str], form: str | None, days: list[float]) -> None:
    path = write("d,y\n" + "".join(f"{date},1\n" for date in dates))
    found = values(path, "d", "y", dates={"d": form}, block_bytes=block_bytes)
    np.testing.assert_array_equal(found[:, 0], days)


def test_an_invalid_date_is_refused(write) -> None:
    path = write("d,y\n2014-10-13,1\n13/10/2014,2\n")
    assert refusal(path, "d", "y", dates={"d": None}) == (
        "file.csv, line 3: d is '13/10/2014', not a date in ISO 8601 format. Set data.date_format, for "
        "example to %d/%m/%Y."
    )


def test_an_invalid_date_format_is_refused(write) -> None:
    said = refusal(write("d,y\n2014,1\n"), "d", dates={"d": "%Q"})
    assert said.startswith("data.date_format: %Q is not a valid strptime format (")


# Parquet.


@pytest.fixture
def parquet(tmp_path: Path) -> Callable[..., Path]:
    def run(**columns: object) -> Path:
        path = tmp_path / "file.csv"  # The name does not matter.
        pq.write_table(pa.table(columns), path, row_group_size=2)
        return path

    return run


@pytest.mark.parametrize("block_bytes", [16, BLOCK_BYTES])
def test_parquet_is_read_by_its_types(parquet, block_bytes: int) -> None:
    path = parquet(
        a=pa.array([1, None, 3], pa.int64()),
        y=pa.array([1.5, 2.5, float("nan")], pa.float32()),
        n=pa.array([1, 2, 3], pa.decimal128(5, 2)),
        d=pa.array([16356, 0, None], pa.date32()),
        c=pa.array(["u", "v", "u"]).dictionary_encode(),
        z=pa.array([98101, 98102, None]),
    )
    found = values(path, "a", "y", "n", "d", dates={"d": None}, block_bytes=block_bytes)
    np.testing.assert_array_equal(found, [[1, 1.5, 1, 16356], [np.nan, 2.5, 2, 0], [3, np.nan, 3, np.nan]])
    assert words(path) == ["u", "v", "u"]


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        (
            {"a": ["1", "2"], "y": [1, 2]},
            "file.csv, row 1: a has type string, which is not numeric. Set 'data.categorical=[a]' for categories or "
            "'data.dates=[a]' for dates.",
        ),
        (
            {"a": [1.0, 2.0, float("inf")], "y": [1, 2, 3]},
            "file.csv, row 3: a is inf, which float32 cannot represent.",
        ),
        (
            {"b": [1], "y": [1]},
            "file.csv has no column a. It has: b, y.",
        ),
    ],
)
def test_refused_parquet(parquet, columns: dict, sentence: str) -> None:
    assert refusal(parquet(**columns), "a", "y") == sentence
