"""Masks passwords and tokens in URLs before they are shown or stored."""

from __future__ import annotations

import re


def masked(text: str) -> str:
    """Return `text` with every password or token in a URL replaced by `***`."""
    text = re.sub(r"(://[^\s:/@]*:)(?:[^\s/]*|[^\s@]*)@", r"\1***@", text)
    return re.sub(r"(?i)([?&](?:[\w-]*(?:password|token|secret|signature)|sig)=)[^&\s'\"]*", r"\1***", text)
