"""Masks passwords and tokens in the addresses that people and files get to see."""

from __future__ import annotations

import re


def masked(text: str) -> str:
    """Return `text` with `***` in place of each password in an address."""
    text = re.sub(r"(://[^\s:/@]*:)(?:[^\s/]*|[^\s@]*)@", r"\1***@", text)
    return re.sub(r"([?&](?:\w*password|token|secret)=)[^&\s'\"]*", r"\1***", text)
