"""Passwords and tokens in addresses, masked in whatever a person or a file gets to see."""

from __future__ import annotations

import re


def masked(text: str) -> str:
    """Return `text` with `***` for each password in an address."""
    text = re.sub(r"(://[^\s:/@]*:)(?:[^\s/]*|[^\s@]*)@", r"\1***@", text)
    return re.sub(r"(?i)([?&](?:[\w-]*(?:password|token|secret|signature)|sig)=)[^&\s'\"]*", r"\1***", text)
