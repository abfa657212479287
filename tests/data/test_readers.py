"""Chunks concatenated equal the file, whoever parses it; what cannot be read is refused by line, column and value."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.config import Reader
from harness.data import csv_blocks, readers
from harness.data.csv_fallback import EMPTY
from harness.data.readers import Selection, Words, read
from harness.errors import ConfigError

HOUSES = """\
id,date,price,sqft,floors
"0100000001","20141013T000000",221900,1180,"1"
"0200000002","20141209T000000",1.225e+006,2570,"2.5"
"0300000003","20150225T000000",180000,,"1.5"
"0400000004","20150226T000000",-6.04e-05,1960,"1"
"0500000005","20150227T000000",510000,1680,NA
"""
LEFT_OPEN = "data.path expected quotes that are closed. Received: an open one in file.csv, line {}. Mend the line."


def fields(seen: int, line: int, expected: int) -> str:
    return (
        f"data.path expected {expected} fields in each line, as in the header. "
        f"Received: {seen} in file.csv, line {line}. "
        "Mend the line, or quote the field that holds a delimiter or a line break."
    )


@pytest.fixture(params=["pandas", "polars"])
def reader(request: pytest.FixtureRequest) -> Reader:
    if request.param == "polars":
        pytest.importorskip("polars")
    return Reader(request.param)


@pytest.fixture(params=[1, 40, 16 << 20], ids="blocks of {}".format)
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Read blocks of so many bytes."""
    monkeypatch.setattr(csv_blocks, "BLOCK_BYTES", request.param)
    return request.param


def values(path: Path, reader: Reader, *columns: str, **options: object) -> np.ndarray:
    """All rows of numeric columns, `[rows, columns]`."""
    chunks = list(read(path, Selection(columns, **options), reader))  # type: ignore[arg-type]
    joined = [np.concatenate([np.asarray(chunk.columns[i]) for chunk in chunks]) for i in range(len(columns))]
    return np.stack(joined, axis=1)


def refusal(path: Path, reader: Reader, *columns: str, **options: object) -> str:
    """Return the sentence, with `file.csv` in the place of the path."""
    with pytest.raises(ConfigError) as error:
        values(path, reader, *columns, **options)
    return str(error.value).replace(str(path), path.name)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("columns", [["sqft", "price"], ["price", "floors", "sqft"], ["id"]])
def test_chunks_concatenated_equal_the_file(write, reader: Reader, columns: list[str]) -> None:
    path = write(HOUSES)
    found = values(path, reader, *columns)
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


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("form", FORMS)
def test_forms_of_a_file(write, reader: Reader, form: str) -> None:
    assert values(write(FORMS[form]), reader, "a", "y").tolist() == [[1, 2], [3, 4.5], [-5, 6]]


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
@pytest.mark.usefixtures("blocks")
def test_other_ways_to_write_a_csv(write, reader: Reader, content: str | bytes, options: dict) -> None:
    assert values(write(content), reader, "a", "y", **options).tolist() == [[1, 2], [3, 4.5], [-5, 6]]


def test_a_decimal_comma_and_a_point_are_not_mixed(write, reader: Reader) -> None:
    path = write("a;y\n1,5;2\n1.234;2\n")
    assert refusal(path, reader, "a", delimiter=";", decimal=",") == (
        "a expected numbers. Received: '1.234' in file.csv, line 3."
    )


@pytest.mark.parametrize("empty", sorted({*EMPTY, '""', " ", '"NA"'}))
def test_empty_fields_are_nan(write, reader: Reader, empty: str) -> None:
    path = write(f"a,y,b\n1,{empty},u\n{empty},2,v\n")
    np.testing.assert_array_equal(values(path, reader, "a", "y"), [[1, np.nan], [np.nan, 2]])


def test_a_column_without_values_is_nan(write, reader: Reader) -> None:
    np.testing.assert_array_equal(values(write("a,y\n1,\n2,\n"), reader, "y"), [[np.nan], [np.nan]])


def test_a_file_of_one_column(write, reader: Reader) -> None:
    np.testing.assert_array_equal(values(write('y\n1\n\n""\n3\n'), reader, "y"), [[1], [np.nan], [3]])


@pytest.mark.parametrize("content", ["a,y\n", "a,y"])
def test_no_rows_are_no_chunks(write, reader: Reader, content: str) -> None:
    assert list(read(write(content), Selection(("a", "y")), reader)) == []


def test_digits_beyond_a_float_are_rounded_alike(write, reader: Reader) -> None:
    digits = ["0.1", "16777217", "123456789012345678901234567890", "2.2250738585072011e-38", "9007199254740993"]
    path = write("y\n" + "\n".join(digits))
    assert np.float32(values(path, reader, "y")[:, 0]).tolist() == np.float32([float(text) for text in digits]).tolist()


@pytest.mark.parametrize(
    ("field", "sentence"),
    [
        *(
            (field, f"y expected numbers. Received: {field!r} in file.csv, line 6.")
            for field in ("five", "?", "7 Average", "1_000", "0x10", "1 2", "1e", "$5", "2014-10-13", "1+2j", "True")
        ),
        *(
            (field, f"y expected numbers. Received: {field!r} in file.csv, line 6.")
            for field in ("NAN", "Nan", " nan", "-NAN", "nan(ind)")
        ),
        ('"2,21,900.00"', "y expected numbers. Received: '2,21,900.00' in file.csv, line 6."),
        ("\0", "y expected numbers. Received: '\\x00' in file.csv, line 6."),
        ("１２", "y expected numbers. Received: '１２' in file.csv, line 6."),  # noqa: RUF001
        *(
            (field, f"y expected numbers that float32 can hold. Received: {shown} in file.csv, line 6.")
            for field, shown in (("inf", "inf"), ("-Infinity", "-inf"), ("1e39", "1e+39"), ("1e400", "inf"))
        ),
        ("5,6", fields(4, 6, 3)),
        ("5,", fields(4, 6, 3)),
        ('"x\n', LEFT_OPEN.format(6)),
    ],
)
@pytest.mark.usefixtures("blocks")
def test_refused_fields(write, reader: Reader, field: str, sentence: str) -> None:
    """A blank line and a quoted line break stand above."""
    path = write(f'a,b,y\n1,"u\nv",2\n\n3,v,4\n5,w,{field}\n7,x,8\n')
    assert refusal(path, reader, "a", "y") == sentence


@pytest.mark.parametrize(
    ("line", "seen"),
    [("5,w", 2), ("5", 1), ("5,w,6,7", 4), ("5,w,6,", 4), ("5,w\n,6", 2), ('"5,w",6', 2), ("5,1,000,6", 4)],
)
@pytest.mark.parametrize("columns", [["a"], ["y"], ["b", "y"]])
@pytest.mark.usefixtures("blocks")
def test_a_line_of_another_length_is_refused_whatever_is_read(
    write, reader: Reader, line: str, seen: int, columns: list[str]
) -> None:
    path = write(f"a,b,y\n1,2,3\n{line}\n7,8,9\n")
    assert refusal(path, reader, *columns) == fields(seen, 3, 3)


def test_a_long_and_a_short_line_do_not_make_up_for_each_other(write, reader: Reader) -> None:
    path = write("a,b,y\n1,2,3\n4,5,6,\n7,8\n9,10,11\n")
    assert refusal(path, reader, "a", "y") == fields(4, 3, 3)


@pytest.mark.parametrize("end", ['1,2,"x\n3,4,z\n', '1,2,"x\n3,4,"z"\n5,6,q\n', '1,2,"x'])
@pytest.mark.parametrize("columns", [["a"], ["b", "t"]])
@pytest.mark.usefixtures("blocks")
def test_an_open_quote_takes_no_rows_along(write, reader: Reader, end: str, columns: list[str]) -> None:
    """In the last column, text, which may not even be read."""
    path = write("a,b,t\n" + '7,8,"u"\n' * 20 + end)
    said = refusal(path, reader, *columns, categorical=frozenset({"t"}) & {*columns})
    assert said == LEFT_OPEN.format(22)


def test_a_line_without_an_end_is_refused_in_bounded_memory(
    write, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_blocks, "BLOCK_BYTES", 1 << 20)
    monkeypatch.setattr(csv_blocks, "LONGEST", 2 << 20)
    path = write(b"a,y\n1,2\n" + b"1" * (5 << 20))
    assert refusal(path, reader, "a", "y") == ("data.path expected lines of at most 2 MiB. Received: file.csv, line 3.")


@pytest.mark.parametrize("before", [0, 1, 200_000])
def test_a_quote_that_is_never_closed(write, reader: Reader, before: int) -> None:
    path = write("a,y\n" + "1,2\n" * before + '3,"4\n5,6\n')
    assert refusal(path, reader, "a", "y") == LEFT_OPEN.format(before + 2)


def test_a_fault_behind_the_first_block(write, reader: Reader) -> None:
    rows = (csv_blocks.BLOCK_BYTES >> 2) + 1000
    path = write("a,y\n" + "1,2\n" * rows + "5,text\n7,8\n")
    assert refusal(path, reader, "a", "y") == f"y expected numbers. Received: 'text' in file.csv, line {rows + 2}."


def test_the_first_of_several_faults_is_named(write, reader: Reader) -> None:
    path = write("a,b,y\n1,u,2\n3,v,w\nx,v,w\n")
    assert refusal(path, reader, "y", "a") == "y expected numbers. Received: 'w' in file.csv, line 3."


# Names and dates.


def words(path: Path, reader: Reader, **options: object) -> list[str | None]:
    """All values of the column `c`."""
    found: list[str | None] = []
    for chunk in read(path, Selection(("y", "c"), categorical=frozenset({"c"}), **options), reader):  # type: ignore[arg-type]
        column = chunk.columns[1]
        assert isinstance(column, Words)
        found += [column.values[code] if code >= 0 else None for code in column.codes]
    return found


@pytest.mark.usefixtures("blocks")
def test_categories_are_text_as_it_is_written(write, reader: Reader) -> None:
    path = write('c,y\n01,1\n"a,b",2\n01,3\nNA,4\n1.0,5\n,6\nTrue,7\n2014-10-13,8\n')
    assert words(path, reader) == ["01", "a,b", "01", None, "1.0", None, "True", "2014-10-13"]


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
@pytest.mark.usefixtures("blocks")
def test_dates_are_days(write, reader: Reader, dates: list[str], form: str | None, days: list[float]) -> None:
    path = write("d,y\n" + "".join(f"{date},1\n" for date in dates))
    found = values(path, reader, "d", "y", dates=frozenset({"d"}), date_format=form)
    np.testing.assert_array_equal(found[:, 0], days)


def test_what_is_no_date_is_refused(write, reader: Reader) -> None:
    path = write("d,y\n2014-10-13,1\n13/10/2014,2\n")
    assert refusal(path, reader, "d", "y", dates=frozenset({"d"})) == (
        "d expected dates as ISO 8601 has them. Received: '13/10/2014' in file.csv, line 3. "
        "Set data.date_format, as to %d/%m/%Y."
    )


def test_a_format_that_is_none_is_refused(write, reader: Reader) -> None:
    said = refusal(write("d,y\n2014,1\n"), reader, "d", dates=frozenset({"d"}), date_format="%Q")
    assert said.startswith("data.date_format expected a format of strptime. Received: %Q (")


# Parquet.


@pytest.fixture
def parquet(tmp_path: Path) -> Callable[..., Path]:
    def run(**columns: object) -> Path:
        path = tmp_path / "file.csv"  # A name proves nothing.
        pq.write_table(pa.table(columns), path, row_group_size=2)
        return path

    return run


def test_parquet_is_read_by_its_types(parquet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "PARQUET_ROWS", 2)
    path = parquet(
        a=pa.array([1, None, 3], pa.int64()),
        y=pa.array([1.5, 2.5, float("nan")], pa.float32()),
        n=pa.array([1, 2, 3], pa.decimal128(5, 2)),
        d=pa.array([16356, 0, None], pa.date32()),
        c=pa.array(["u", "v", "u"]).dictionary_encode(),
        z=pa.array([98101, 98102, None]),
    )
    found = values(path, Reader.pandas, "a", "y", "n", "d", dates=frozenset({"d"}))
    np.testing.assert_array_equal(found, [[1, 1.5, 1, 16356], [np.nan, 2.5, 2, 0], [3, np.nan, 3, np.nan]])
    assert words(path, Reader.pandas) == ["u", "v", "u"]


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"a": ["1", "2"], "y": [1, 2]}, "a expected numbers. Received: a column of type string, file.csv, row 1."),
        ({"a": [True], "y": [1]}, "a expected numbers. Received: a column of type bool, file.csv, row 1."),
        (
            {"a": [1.0, 2.0, float("inf")], "y": [1, 2, 3]},
            "a expected numbers that float32 can hold. Received: inf in file.csv, row 3.",
        ),
        (
            {"b": [1], "y": [1]},
            "data.features and data.target expected columns of file.csv. Received: a. It has: b, y.",
        ),
    ],
)
def test_refused_parquet(parquet, columns: dict, sentence: str) -> None:
    assert refusal(parquet(**columns), Reader.pandas, "a", "y") == sentence


def test_parquet_that_is_cut_off(parquet) -> None:
    path = parquet(a=[1, 2], y=[3, 4])
    path.write_bytes(path.read_bytes()[:-20])
    assert refusal(path, Reader.pandas, "a", "y").startswith("data.path expected a Parquet file. Received: file.csv (")
