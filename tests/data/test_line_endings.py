"""Files with mixed line endings, quotes and blank lines are read as pandas reads them, or rejected."""

from __future__ import annotations

import io
import re
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from harness.data.formats import open_source
from harness.data.selection import Selection, Words
from harness.errors import ConfigError

WORDS = ["x", '"a,b"', '"p\rq"', '"r\r\ns"', '"v""w"', '5" z']
FIELDS = [*WORDS, "1", "-3.5", "", " ", '"p\nq"', "\0", '"', '" "', '"u"t']
LINE = st.lists(st.sampled_from(FIELDS), min_size=1, max_size=3).map(",".join)
ENDING = st.sampled_from(["\n", "\r", "\r\n", "\r\r\n", "\n\r", "\n\n", "\r\r"])
BEFORE = ["", "\ufeff", "\n", "\r\r\n \n"]
HEADERS = ["a,c", '"a",c', 'a,c,5" pipe', 'a,c,"two\rlines"']


def ours(content: bytes, block_bytes: int) -> tuple[list[float], list[str]] | None:
    """Return a column of numbers and one of words, or None if the file is rejected."""
    numbers: list[float] = []
    texts: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file.csv")
        path.write_bytes(content)
        selection = Selection(("a", "c"), categorical=frozenset("c"), block_bytes=block_bytes)
        try:
            for chunk in open_source(str(path), selection).chunks():
                number, words = chunk.columns
                assert isinstance(words, Words)
                numbers += np.asarray(number).tolist()
                texts += [words.values[code] if code >= 0 else "" for code in words.codes]
        except ConfigError:
            return None
    return numbers, texts


def by_pandas(content: bytes) -> tuple[list[float], list[str]]:
    """Read both columns with pandas; unlike pandas, the harness treats a number that consists of spaces as empty."""
    frame = pd.read_csv(io.BytesIO(content), dtype="str", index_col=False, engine="c")
    return pd.to_numeric(frame["a"].str.strip().replace("", None)).tolist(), frame["c"].fillna("").tolist()


def check(text: str, block_bytes: int = 1 << 20) -> bool:
    """Compare with pandas; return whether the file was read."""
    found = ours(text.encode(), block_bytes)
    if found is not None:
        np.testing.assert_equal(found, by_pandas(text.encode()))
    return found is not None


@settings(max_examples=300, deadline=None)
@given(
    before=st.sampled_from(BEFORE),
    header=st.sampled_from(HEADERS),
    first=ENDING,
    lines=st.lists(st.tuples(LINE, ENDING).map("".join), max_size=8),
    block_bytes=st.integers(1, 60),
)
def test_a_file_is_read_as_by_pandas_or_refused(
    before: str, header: str, first: str, lines: list[str], block_bytes: int
) -> None:
    text = before + header + first + "".join(lines)
    assume(not re.search("[\r\n] *\r,", text))  # pandas' C parser, unlike its Python parser, loses this delimiter.
    check(text, block_bytes)


@settings(max_examples=100, deadline=None)
@given(
    lines=st.lists(st.tuples(st.integers(-99, 99), st.sampled_from(WORDS), ENDING), min_size=1, max_size=30),
    first=ENDING,
    block_bytes=st.integers(1, 60),
)
def test_a_good_file_is_read_whatever_ends_its_lines(lines: list, first: str, block_bytes: int) -> None:
    assert check(f"a,c{first}" + "".join(f"{number},{word}{end}" for number, word, end in lines), block_bytes)


@pytest.mark.parametrize(
    "text",
    [
        "a,c\r1,2\n3,4\n5,6\n7,8\n",
        "a,c\n1,2\r3,4\r" + "5,6\r" * 5000,
        'a,c,5" pipe\n1,2,x\n3,4,6" pipe\n',
        'a,c\n5,5" x\n1,"y\nz"\n2,q\n',
        'a,c\r1,"2\n3"\r4,5\r',
        "a,c," + "x" * 100_000 + "\r1,2,3\n4,5,6\n",
    ],
    ids=["one CR", "CR only at first", "stray quotes", "stray quote and line break", "LF in a field", "long header"],
)
@pytest.mark.parametrize("block_bytes", [8, 1 << 20])
def test_no_row_is_lost(text: str, block_bytes: int) -> None:
    assert check(text, block_bytes)


def test_a_quoted_space_is_not_a_blank_line() -> None:
    assert not check('a,c\n1,2\n" "\n')


@pytest.mark.parametrize(("ends", "line"), [("\r\r", 4), ("\r\n\n", 4), ("\n\r\r\n", 5)])
def test_a_message_counts_lines_as_editors_do(write, ends: str, line: int) -> None:
    path = write(f"a,c\r1,2{ends}x,3\n")
    with pytest.raises(ConfigError, match=f"line {line}: a is 'x', not a number"):
        list(open_source(str(path), Selection(("a", "c"))).chunks())


def test_a_header_of_many_columns_is_checked_at_once(write) -> None:
    path = write(",".join(f"c{index}" for index in range(200_000)) + ",c7\n1")
    with pytest.raises(ConfigError, match="line 1: duplicate column names c7"):
        list(open_source(str(path), Selection(("c7",))).chunks())


def test_an_open_quote_in_the_header_is_refused(write) -> None:
    path = write('a,"c\n1,2\n3,4\n')
    with pytest.raises(ConfigError, match="line 1: unclosed quote"):
        open_source(str(path), Selection(("a", "c"))).names()
