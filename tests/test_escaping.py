"""Text that would act as markup or code in each output format, and what is shown instead."""

from __future__ import annotations

import io
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from harness.analysis.figure_style import panels
from harness.escaping import csv_cell, figure_label, folded, markdown, markdown_code, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31mred", r"a\x1b[31mred"),
        ("\x9b31m\x7f\x00", r"\x9b31m\x7f\x00"),
        ("two\nlines\r\tand more", r"two\nlines\r\tand more"),
        ("file\u202egpj.exe\u2066\u200f", r"file\u202egpj.exe\u2066\u200f"),
        ("\u2028\ufeff\ud800", r"\u2028\ufeff\ud800"),
        ("10 km², 日本, e\u0301, 👩\u200d🔬", "10 km², 日本, e\u0301, 👩\u200d🔬"),
    ],
)
def test_control_characters_become_visible(text: str, shown: str) -> None:
    assert visible(text) == shown


@settings(max_examples=300)
@given(st.text(max_size=20))
def test_visible_text_is_one_line_that_any_terminal_can_show(text: str) -> None:
    console = Console(file=io.StringIO(), width=1000, force_terminal=True, color_system=None)
    console.print(Text(visible(text)))
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert printed == f"{visible(text)}\n"
    assert len(printed.encode().decode().splitlines()) == 1


def test_a_message_of_several_lines_becomes_one() -> None:
    assert folded("first\n  second\x1b") == r"first second\x1b"


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        *((f"{sign}1+1", f"'{sign}1+1") for sign in "=+-@"),
        (" =1", "' =1"),
        ("\t=1", r"\t=1"),
        ("\r=1", r"\r=1"),
        *((number, number) for number in ("-0.5", "+3", "-1e-05", "-inf", "nan")),
        (-0.5, -0.5),
        ("full", "full"),
        ("a=b", "a=b"),
    ],
)
def test_a_spreadsheet_runs_no_cell(value: object, cell: object) -> None:
    assert csv_cell(value) == cell


def test_markdown_shows_words_as_they_are() -> None:
    assert markdown("a|b *c* [d](e) <f> `g` _h_ $i$\n# j") == (
        r"a\|b \*c\* \[d\](e) \<f\> \`g\` \_h\_ \$i\$\\n\# j"
    )  # fmt: skip
    assert markdown_code("a ``` b\n```") == "```` a ``` b\\n``` ````"
    assert markdown_code("a b") == "`a b`"


@pytest.mark.parametrize(
    "name", ["$", "$x$", r"\$x\frac{", "a_b^c%d", "$" * 9, "日本", "x" * 10_000, "_hidden", "\x1b$\\alpha$"]
)
def test_a_figure_draws_any_label(name: str) -> None:
    figure, (axis,) = panels(1, 4)
    axis.set_xlabel(figure_label(name))
    axis.set_title(figure_label(name))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")
        figure.savefig(io.BytesIO())


def test_a_label_is_not_read_as_mathematics() -> None:
    def drawn(label: str, *, parse_math: bool) -> bytes:
        figure, (axis,) = panels(1, 4)
        axis.set_xlabel(label, parse_math=parse_math)
        image = io.BytesIO()
        figure.savefig(image, format="png", metadata={"Software": None})
        return image.getvalue()

    for label in ("$x$ and $y$", "cost in $", "$x_1$"):
        assert drawn(figure_label(label), parse_math=True) == drawn(label, parse_math=False)
