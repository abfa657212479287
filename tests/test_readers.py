"""Chunks concatenated equal the file; what cannot be read is refused by column, row and value; a thread reads ahead."""

from __future__ import annotations

import gzip
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness import readers
from harness.config import ConfigError
from harness.readers import prefetch, read_chunks, read_header

HOUSES = """\
id,date,price,sqft,floors
"0100000001","20141013T000000",221900,1180,"1"
"0200000002","20141209T000000",1.225e+006,2570,"2.5"
"0300000003","20150225T000000",180000,,"1.5"
"0400000004","20150226T000000",-6.04e-05,1960,"1"
"0500000005","20150227T000000",510000,1680,NA
"""


def surplus(row: int) -> str:
    return (
        f"data.path expected rows like the header. Received: more fields than that in row {row} of file.csv. "
        "Mend the row, or quote the field that holds a comma."
    )


def read(path: Path, *columns: str) -> np.ndarray:
    return np.concatenate(list(read_chunks(path, columns)))


def refusal(path: Path, *columns: str) -> str:
    """Return the sentence, with `file.csv` in the place of the path."""
    with pytest.raises(ConfigError) as error:
        read(path, *columns)
    return str(error.value).replace(str(path), path.name)


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 100])
@pytest.mark.parametrize("columns", [["sqft", "price"], ["price", "floors", "sqft"], ["id"]])
def test_chunks_concatenated_equal_the_file(
    write, monkeypatch: pytest.MonkeyPatch, rows: int, columns: list[str]
) -> None:
    monkeypatch.setattr(readers, "READ_ROWS", rows)
    path = write(HOUSES)
    chunks = list(read_chunks(path, columns))
    assert [len(chunk) for chunk in chunks] == [min(rows, 5 - start) for start in range(0, 5, rows)]
    assert {chunk.dtype for chunk in chunks} == {np.dtype("float64")}
    np.testing.assert_array_equal(np.concatenate(chunks), pd.read_csv(path)[columns].to_numpy(np.float64))


@pytest.mark.parametrize(
    "content",
    [
        "a,y\n1,2\n3,4.5\n-5,6\n",
        "a,y\n1,2\n3,4.5\n-5,6",
        "a,y\r\n1,2\r\n3,4.5\r\n-5,6\r\n",
        "a,y\r1,2\r3,4.5\r-5,6\r",
        "\ufeffa,y\n1,2\n3,4.5\n-5,6\n",
        '\ufeff"a","y"\n"1","2"\n"3","4.5"\n"-5","6"\n',
        "\n\na,y\n\n1,2\n3,4.5\n\n\n-5,6\n\n",
        "\ufeff\n\na,y\n1,2\n3,4.5\n-5,6\n",
        "a,y\n 1 ,2.\n+3,.45e1\n-5.0,600E-2\n",
        "y,a\n2,1\n4.5,3\n6,-5\n",
        'a,text,y\n1,"u,v",2\n3,"two\nlines",4.5\n-5,"""",6\n',
        'a,"b\nc",y\n1,u,2\n3,v,4.5\n-5,w,6\n',
        "a,y,\n1,2,\n3,4.5,x\n-5,6,\n",
        "a,y\n1,2,\n3,4.5,\n-5,6,\n",
        "a,y\n1,2\n3,4.5,\n-5,6\n",
        "y,y,a\n0,2,1\n0,4.5,3\n0,6,-5\n",
    ],
    ids=[
        *(
            "plain",
            "no last line end",
            "CRLF",
            "CR",
            "BOM",
            "BOM and quotes",
            "blank lines",
            "BOM and blank lines",
            "ways to write",
        ),
        *(
            "another order",
            "quoted text",
            "quoted header",
            "nameless column",
            "commas at the end",
            "a comma at an end",
            "a name twice",
        ),
    ],
)
@pytest.mark.parametrize("rows", [2, 100])
def test_forms_of_a_file(write, monkeypatch: pytest.MonkeyPatch, content: str, rows: int) -> None:
    monkeypatch.setattr(readers, "READ_ROWS", rows)
    columns = ("a", "y.1") if content.startswith("y,y") else ("a", "y")
    assert read(write(content), *columns).tolist() == [[1, 2], [3, 4.5], [-5, 6]]


def test_a_compressed_file(write) -> None:
    path = write(gzip.compress(HOUSES.encode()), "file.csv.gz")
    np.testing.assert_array_equal(read(path, "sqft", "price"), read(write(HOUSES), "sqft", "price"))


def test_latin_1_in_other_columns_is_not_looked_at(write) -> None:
    assert read(write("a,b,y\n1,é,2\n".encode("latin-1")), "a", "y").tolist() == [[1, 2]]


@pytest.mark.parametrize("empty", ["", '""', "NA", "nan", "NULL", "#N/A"])
def test_empty_fields_are_nan(write, empty: str) -> None:
    np.testing.assert_array_equal(read(write(f"a,y\n1,{empty}\n{empty},2\n"), "a", "y"), [[1, np.nan], [np.nan, 2]])


def test_no_rows_are_no_numbers(write) -> None:
    assert read(write("a,y\n"), "a", "y").shape == (0, 2)


@pytest.mark.parametrize("name", ["a", "größe", "a b", "1", "Unnamed: 0", "NA", "a,b", "a\nb"])
def test_names_are_those_of_pandas(write, name: str) -> None:
    path = write(pd.DataFrame({"" if name == "Unnamed: 0" else name: [7], "y": [2]}).to_csv(index=False))
    assert read_header(path) == [name, "y"]
    assert read(path, name).tolist() == [[7]]


@pytest.mark.parametrize(
    ("field", "sentence"),
    [
        *(
            (field, f"y expected numbers. Received: {field!r} in row 3 of file.csv.")
            for field in ("five", "1_000", "0x10", "1 2", "1e", "$5", "5%", "2014-10-13", "1+2j", "-", "'1'")
        ),
        ('"1,000"', "y expected numbers. Received: '1,000' in row 3 of file.csv."),
        ("\0", "y expected numbers. Received: '\\x00' in row 3 of file.csv."),
        ("é".encode("latin-1"), "y expected numbers. Received: '\ufffd' in row 3 of file.csv."),
        *(
            (field, f"y expected numbers that float32 can hold. Received: {shown} in row 3.")
            for field, shown in (("inf", "inf"), ("-Infinity", "-inf"), ("1e39", "1e+39"), ("-3.5e38", "-3.5e+38"))
        ),
        ("1e400", "y expected numbers that float32 can hold. Received: inf in row 3."),
        ("5,6", surplus(3)),
        ("5,u", surplus(3)),
        ("u,6", surplus(3)),
    ],
)
@pytest.mark.parametrize("rows", [1, 2, 3, 100])
def test_refused_fields(write, monkeypatch: pytest.MonkeyPatch, field: str | bytes, sentence: str, rows: int) -> None:
    monkeypatch.setattr(readers, "READ_ROWS", rows)
    raw = field if isinstance(field, bytes) else field.encode()
    path = write(b"a,b,y\n1,u,2\n\n3,v,4\n5,w," + raw + b"\n7,x,8\n")
    assert refusal(path, "a", "y") == sentence


@pytest.mark.parametrize(
    ("first", "row"), [("1,000,2\n3,4\n5,6\n", 1), ("1,000,2\n3,000,4\n5,000,6\n", 1), ("1,2\n3,4\n5,000,6\n", 3)]
)
@pytest.mark.parametrize("rows", [1, 2, 100])
def test_an_unquoted_thousand_shifts_nothing(
    write, monkeypatch: pytest.MonkeyPatch, first: str, row: int, rows: int
) -> None:
    """With `usecols` pandas itself would read 1,000,2 as 1 and 0."""
    monkeypatch.setattr(readers, "READ_ROWS", rows)
    path = write("a,y\n" + first)
    assert refusal(path, "a", "y") == refusal(path, "y") == surplus(row)


def test_the_first_of_several_faults_is_named(write) -> None:
    path = write("a,b,y\n1,u,2\n3,v,w\nx,v,w\n")
    assert refusal(path, "a", "y") == "y expected numbers. Received: 'w' in row 2 of file.csv."
    assert refusal(path, "y", "a") == "y expected numbers. Received: 'w' in row 2 of file.csv."
    assert refusal(path, "a") == "a expected numbers. Received: 'x' in row 3 of file.csv."


@pytest.mark.parametrize(
    ("last", "sentence"),
    [
        ("5,text", "y expected numbers. Received: 'text' in row 100001 of file.csv."),
        ("5,1e39", "y expected numbers that float32 can hold. Received: 1e+39 in row 100001."),
        ("5,000,6", surplus(100_001)),
    ],
)
def test_a_fault_behind_the_first_chunk(write, last: str, sentence: str) -> None:
    assert readers.READ_ROWS == 100_000
    path = write("a,y\n" + "1,2\n" * 100_000 + last + "\n7,8\n")
    assert refusal(path, "a", "y") == sentence


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "data.path expected a CSV with a header line. Received: an empty file, file.csv."),
        ("\n \n\n", "data.path expected a CSV with a header line. Received: an empty file, file.csv."),
        (
            "a,b,y\n1,2,3\n".encode("utf-16"),
            "data.path expected a CSV in UTF-8. Received: file.csv, where 'utf-8' codec can't decode byte 0xff in "
            "position 0: invalid start byte.",
        ),
        (
            "a,y,größe\n1,2,3\n".encode("latin-1"),
            "data.path expected a CSV in UTF-8. Received: file.csv, where 'utf-8' codec can't decode byte 0xf6 in "
            "position 2: invalid start byte.",
        ),
        (
            "b,c\n1,2\n",
            "data.features and data.target expected columns of the file. Received: ['a', 'y']. It has: ['b', 'c'].",
        ),
        (
            "a;y\n1;2\n",
            "data.features and data.target expected columns of the file. Received: ['a', 'y']. It has: ['a;y'].",
        ),
        (
            "A, y\n1,2\n",
            "data.features and data.target expected columns of the file. Received: ['a', 'y']. It has: ['A', ' y'].",
        ),
    ],
)
def test_refused_files(write, content: str | bytes, sentence: str) -> None:
    assert refusal(write(content), "a", "y") == sentence


@pytest.mark.parametrize("before", [0, 1, 100_000])
def test_a_quote_that_is_never_closed(write, before: int) -> None:
    path = write("a,y\n" + "1,2\n" * before + '3,"4\n5,6\n')
    assert refusal(path, "a", "y") == (
        "data.path expected rows like the header. Received: file.csv, "
        f"EOF inside string starting at line {before + 2}. "
        "Mend the line, or quote the field that holds a comma or a line break."
    )


def test_no_file(tmp_path: Path) -> None:
    assert refusal(tmp_path, "a") == f"data.path expected a CSV file. Received: {tmp_path.name}."
    assert refusal(tmp_path / "none.csv", "a") == "data.path expected a CSV file. Received: none.csv."


def prefetching() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize("count", [0, 1, 2, 100])
@pytest.mark.parametrize("depth", [1, 3])
def test_prefetch_keeps_the_order(count: int, depth: int) -> None:
    assert list(prefetch(range(count), depth)) == list(range(count))
    assert prefetching() == []


def test_prefetch_computes_in_another_thread() -> None:
    def where() -> Iterator[str]:
        yield threading.current_thread().name

    assert list(prefetch(where())) == ["prefetch"]


def test_prefetch_passes_an_item_that_is_none_or_an_error() -> None:
    items = [None, ValueError("an item"), StopIteration]
    assert list(prefetch(items)) == items


@pytest.mark.parametrize("kind", [KeyError, KeyboardInterrupt, ConfigError])
def test_prefetch_raises_in_place(kind: type[BaseException]) -> None:
    def broken() -> Iterator[int]:
        yield from range(3)
        raise kind("here")

    found = []
    with pytest.raises(kind, match="here") as error:
        found.extend(prefetch(broken()))
    assert found == [0, 1, 2]
    assert error.traceback[-1].name == "broken"
    assert prefetching() == []


@pytest.mark.parametrize("taken", [1, 5])
def test_closing_prefetch_ends_the_thread_and_the_source(taken: int) -> None:
    ended = threading.Event()

    def endless() -> Iterator[int]:
        try:
            yield from itertools.count()
        finally:
            ended.set()

    items = prefetch(endless())
    assert list(itertools.islice(items, taken)) == list(range(taken))
    assert len(prefetching()) == 1
    items.close()
    assert prefetching() == []
    assert ended.is_set()


@pytest.mark.parametrize("depth", [1, 4])
def test_prefetch_runs_no_further_ahead(depth: int) -> None:
    made = []

    def source() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    items = prefetch(source(), depth)
    for number in range(3):
        assert next(items) == number
        # The one taken, those that wait, and the one in the thread's hands.
        wait_for(lambda ready=number + depth + 2: len(made) >= ready)
        time.sleep(0.05)
        assert len(made) == number + depth + 2
    items.close()


def test_prefetch_starts_nothing_before_it_is_asked() -> None:
    made = []
    prefetch(made.append(number) for number in range(3)).close()
    assert made == []
