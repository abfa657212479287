"""`summary.json` in a sweep's folder: what the next call for the same sweep continues from."""

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
    score: float | None  # The best run has the lowest; None if it failed.
    loss: float | None  # Final `val/loss`, or `train/loss` without a holdout.
    rmse: float | None
    updates: int


@dataclass
class SummaryState:
    """A sweep's summary run, from one call to the next."""

    run_id: str = ""
    signatures: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)  # Time spent, by activity.
    best: float | None = None  # Score of the run whose model is logged.
    runs: list[RunResult] = field(default_factory=list)
    data: list[str] = field(default_factory=list)  # The data of the runs in words.
    calls: int = 0
    started: float = 0.0  # When the first call started, in seconds since 1970.

    @classmethod
    def read(cls, folder: Path) -> SummaryState:
        """Return the state in a sweep's folder; an empty one if it has none that can be read."""
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
