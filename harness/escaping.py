"""Escapes untrusted text, such as names of runs and columns, for a terminal, CSV, Markdown and figures.

HTML is escaped by Jinja, JSON by `json`. For secrets in text, see `runtime.secrets`.
"""

from __future__ import annotations

import re
import unicodedata

_JOINERS = "\u200c\u200d"
_FORMULA = ("=", "+", "-", "@")
_MARKDOWN = re.compile(r"[\\`*_\[\]<>|~$&#]")
_LABEL_LENGTH = 60


def visible(text: str) -> str:
    r"""Return one line without characters that move the cursor, change colors or reverse text: ESC becomes `\x1b`."""
    return text if text.isprintable() else "".join(map(_visible, text))


def folded(text: str) -> str:
    """Return a message, which may have several lines, as one line of visible text."""
    return visible(" ".join(text.split()))


def csv_cell(value: object) -> object:
    """Return a value for a spreadsheet: text that a spreadsheet would run as a formula gets a leading apostrophe."""
    if not isinstance(value, str):
        return value
    shown = visible(value)
    return f"'{shown}" if shown.lstrip().startswith(_FORMULA) and not is_number(shown) else shown


def markdown(text: str) -> str:
    """Return text that Markdown shows unchanged."""
    return _MARKDOWN.sub(r"\\\g<0>", visible(text))


def markdown_code(text: str) -> str:
    """Return text, which may contain backticks, as inline code; a block would not wrap, and would widen the page."""
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    pad = " " if "`" in text else ""
    return f"{fence}{pad}{visible(text)}{pad}{fence}"


def figure_label(text: str) -> str:
    """Return a label that Matplotlib draws unchanged, shortened if it is long."""
    shown = visible(text)
    shown = shown if len(shown) <= _LABEL_LENGTH else f"{shown[: _LABEL_LENGTH - 1]}…"
    return shown.replace("$", r"\$")


def _visible(character: str) -> str:
    if character.isprintable() or character in _JOINERS or unicodedata.category(character) == "Zs":
        return character
    return character.encode("unicode_escape").decode()


def is_number(text: str) -> bool:
    """Return True if text is a number in Python's notation."""
    try:
        float(text)
    except ValueError:
        return False
    return text == text.strip()
