"""Recognizes runs that the harness cannot have recorded, for example runs added by another program."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from harness.config import FULL
from harness.config.limits import MOST_EPOCHS, MOST_ROWS, shown

if TYPE_CHECKING:
    from mlflow.entities import Run


def fault(run: Run) -> str:
    """Return a sentence saying what is wrong with a run's record; empty if the run can be compared with others."""
    params, is_full = run.data.params, run.data.tags.get("sample") == FULL
    size = params.get("chunksize")
    is_valid = {
        "chunksize": (is_full and size == FULL) or _is_whole(size, MOST_ROWS),
        "learning_rate": _is_number(params.get("learning_rate")),
        "epochs": _is_whole(params.get("epochs"), MOST_EPOCHS),
        "diverged_at": _is_whole(run.data.tags.get("diverged_at", "1"), 2**63 - 1),
    }
    bad = next((key for key, valid in is_valid.items() if not valid), "")
    if not bad:
        return ""
    found = params.get(bad, run.data.tags.get(bad))
    what = f"has no {bad}" if found is None else f"has the {bad} {shown(found)!r}"
    return f"Run {run.info.run_id} is left out: it {what}, so it was not recorded by the harness."


def _is_whole(text: str | None, most: int) -> bool:
    return text is not None and text.isascii() and text.isdecimal() and len(text) < 30 and 1 <= int(text) <= most


def _is_number(text: str | None) -> bool:
    try:
        return text is not None and math.isfinite(float(text))
    except ValueError:
        return False
