"""The parts of an address: a local path or a URL."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit


def scheme(address: str) -> str:
    """Return the scheme of a remote address, or an empty string for a local path."""
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", address)
    return found[1].lower() if found else ""


def name_of(address: str) -> str:
    """Return the last part of an address, without its query string."""
    parts = urlsplit(address) if scheme(address) else None
    return (PurePosixPath(unquote(parts.path)).name or parts.netloc) if parts else Path(address).name
