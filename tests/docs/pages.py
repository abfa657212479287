"""The fenced blocks of a page in `docs/`."""

from __future__ import annotations

import re

from tests.conftest import ROOT


def text(page: str) -> str:
    return (ROOT / "docs" / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text(page), re.MULTILINE | re.DOTALL)


def commands(page: str) -> list[str]:
    """The commands in a page's console blocks, without the prompt."""
    lines = "\n".join(blocks(page, "console")).splitlines()
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
