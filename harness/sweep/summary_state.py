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
        run_id: MLflow's id.
        name: What distinguishes it from the other runs.
        sample: `batch` or `full`.
        reason: Why it failed; empty if it did not.
        score: What the best run is chosen by, lower is better; None if it failed.
        loss: Final `val/loss`, or `train/loss` without a holdout.
        rmse: Final `val/rmse`, where there is one.
        updates: Updates over the whole run.
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
        run_id: MLflow's id; empty before it is started.
        signatures: Signatures of the sweep's runs.
        seconds: Time spent, by what it was spent on.
        best: Score of the run whose model is logged; None if there is none.
        runs: Results so far.
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
            values = json.loads(_path(folder).read_text())
            return cls(**values | {"runs": [RunResult(**run) for run in values["runs"]]})
        return cls()

    def write(self, folder: Path) -> None:
        """Replace the state in a sweep's folder atomically."""
        folder.mkdir(parents=True, exist_ok=True)
        aside = _path(folder).with_suffix(f".{os.getpid()}")
        aside.write_text(json.dumps(asdict(self)))
        aside.replace(_path(folder))


def _path(folder: Path) -> Path:
    return folder / "summary.json"
