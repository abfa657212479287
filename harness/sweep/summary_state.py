"""`summary.json` in a sweep's folder: what the next call for the same sweep continues from."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass
class RunResult:
    """A run that has ended, as the summary describes it.

    Attributes:
        sample: `batch` or `full`.
        reason: Why it failed; empty if it did not.
        score: What the best run is chosen by, lower is better; None if it failed.
        loss: Final `val/loss`, or `train/loss` without a holdout.
    """

    run_id: str
    name: str
    sample: str
    reason: str
    score: float | None
    loss: float | None
    rmse: float | None
    updates: int


@dataclass
class SummaryState:
    """A sweep's summary run, from one call to the next.

    Attributes:
        seconds: Time spent, by what it was spent on.
        best: Score of the run whose model is logged; None if there is none.
        data: The data of the runs, described in words.
        calls: Calls so far.
        started: When the first call started, in seconds since 1970.
    """

    run_id: str = ""
    signatures: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    best: float | None = None
    runs: list[RunResult] = field(default_factory=list)
    data: list[str] = field(default_factory=list)
    calls: int = 0
    started: float = 0.0

    @classmethod
    def read(cls, folder: Path) -> SummaryState:
        """Return the state in a sweep's folder; an empty one if there is none, or one of another version."""
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
