"""Recognizes errors caused by a full disk, whichever library raises them."""

from __future__ import annotations

import errno

from harness.errors import causes

REMEDY = "Free space, or set TMPDIR to another folder; then run the same command again."

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_WORDS = ("No space left on device", "Disk quota exceeded", "File too large", "database or disk is full")


def explain(error: BaseException) -> str:
    """Return a sentence if `error` or one of its causes is about a full disk, else an empty string."""
    for cause in causes(error):
        if _is_full(cause):
            name = getattr(cause, "filename2", None) or getattr(cause, "filename", None)
            return f"the disk is full{f': {name}' if name else ''}. {REMEDY}"
    return ""


def _is_full(error: BaseException) -> bool:
    # Some libraries raise their own errors, which quote the system's message.
    return (isinstance(error, OSError) and error.errno in _FULL) or any(words in str(error) for words in _WORDS)
