"""Numbers as short text."""

from __future__ import annotations

import pytest

from harness.formatting import age, count, data_size, millions, number, score


@pytest.mark.parametrize(("seconds", "text"), [(-1, "0 s"), (59, "59 s"), (90, "2 min"), (7200, "2 h"), (1e6, "12 d")])
def test_ages(seconds: float, text: str) -> None:
    assert age(seconds) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (millions(0.4), "0"),
        (millions(999.4), "999"),
        (millions(999.6), "1k"),
        (millions(21_613), "21.6k"),
        (millions(999_499), "999k"),
        (millions(999_500), "1M"),
        (millions(123_456_789), "123M"),
        (millions(1e11), "100G"),
        (millions(2.5e12), "2.5T"),
        (data_size(800), "800 B"),
        (data_size(138_072), "138 kB"),
        (number(0.123456), "0.1235"),
        (number(280_098.04), "280,098"),
        (number(1.5e30), "1.5e+30"),
        (score(0.4647), "0.465"),
        (score(-9.87e60), "-9.87e+60"),
        (count(1, "update"), "1 update"),
        (count(3460, "update"), "3,460 updates"),
    ],
)
def test_numbers(text: str, expected: str) -> None:
    assert text == expected
