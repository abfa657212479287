"""Suggests, in one sentence, what to try after training."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.config import ImagesConfig, LogModel
from harness.runtime.secrets import masked
from harness.tracking.frames import SHORT

if TYPE_CHECKING:
    from harness.sweep.plan import Run


def next_steps(runs: Sequence[Run], sweep_id: str, *, is_trusted: bool = False) -> str:
    """Return the ids of the trained runs, and commands to run next."""
    tracking = runs[0].config.tracking
    store = f" --uri {shlex.quote(masked(tracking.uri))}" if tracking.uri else ""
    finished = [run for run in runs if run.status == "FINISHED"]
    has_model = bool(finished) and tracking.log_model is not LogModel.none
    has_model &= not any(run.lacks_model for run in finished)
    commands = [f"harness report {sweep_id[:SHORT]}"] if sweep_id else []
    if has_model:
        run = "best" if sweep_id else finished[0].run_id[:SHORT]
        what = "FOLDER" if isinstance(finished[0].config.data, ImagesConfig) else "FILE.csv"
        commands += [f"harness predict {run} {what}{' --trust' if is_trusted else ''}", f"harness register {run}"]
    commands = [*[*commands, "harness runs"][:2], "harness ui"]
    *first, last = [f"`{command}{store}`" for command in commands]
    subject = f"Sweep {sweep_id[:SHORT]}" if sweep_id else f"Run {runs[0].run_id[:SHORT]}"
    return f"{subject} is recorded. Next, try {', '.join(first)} or {last}."
