"""`summary.json` in a sweep's folder: the state from which the next call for the same sweep continues."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass
class RunResult:
    """A run that has ended, as the summary describes it."""

    run_id: str
    name: str
    sample: str  # `batch` or `full`.
    reason: str  # Why it failed; empty if it did not.
    score: float | None  # Lower is better; None if the run failed.
    loss: float | None  # Final `val/loss`, or `train/loss` without a holdout.
    rmse: float | None
    updates: int


@dataclass
class SummaryState:
    """A sweep's summary run, from one call to the next."""

    run_id: str = ""
    signatures: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)  # Time spent, by activity.
    best: float | None = None  # Score of the run whose model has been logged.
    runs: list[RunResult] = field(default_factory=list)
    data: list[str] = field(default_factory=list)  # Descriptions of the runs' data.
    calls: int = 0
    started: float = 0.0  # When the first call started, in seconds since 1970.

    @classmethod
    def read(cls, folder: Path) -> SummaryState:
        """Return the state in a sweep's folder, or an empty one if none can be read."""
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):
            values = json.loads((folder / "summary.json").read_text())
            return cls(**values | {"runs": [RunResult(**run) for run in values["runs"]]})
        return cls()

    def write(self, folder: Path) -> None:
        """Replace the state in a sweep's folder atomically."""
        folder.mkdir(parents=True, exist_ok=True)
        aside = folder / f"summary.{os.getpid()}"
        aside.write_text(json.dumps(asdict(self)))
        aside.replace(folder / "summary.json")
