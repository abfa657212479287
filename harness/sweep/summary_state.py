"""`summary.json` in a sweep's folder: the state from which the next call for the same sweep continues."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from harness.runtime.state_files import StateError, moved_aside, read_json, write_json

_FILE, _KIND = "summary.json", "sweep summary 2"

MEAN = ", mean of "
"""Part of the name of a result that is the mean of several runs."""


@dataclass
class RunResult:
    """A run that has ended, as described in the summary."""

    run_id: str
    name: str
    sample: str  # `batch` or `full`.
    reason: str  # Why it failed; empty if it did not.
    score: float | None  # Lower is better; None if the run failed.
    metrics: dict[str, float]  # The final loss, and the metrics that can decide.
    updates: int
    lost: int = 0  # Runs of the same setting that failed or were pruned.


@dataclass
class SummaryState:
    """A sweep's summary run, from one call to the next."""

    run_id: str = ""
    signatures: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)  # Time spent, by activity.
    best: float | None = None  # Score of the setting whose model was logged, at that time.
    best_run: str = ""  # The run of that model.
    runs: list[RunResult] = field(default_factory=list)
    data: list[str] = field(default_factory=list)  # Descriptions of the runs' data.
    calls: int = 0
    started: float = 0.0  # When the first call started, in seconds since 1970.
    sampled: int = -1  # Step of the last system metrics.

    @classmethod
    def read(cls, folder: Path, say: Callable[[str], None]) -> SummaryState:
        """Return the state in a sweep's folder, or an empty one; damaged state is set aside and reported by `say`."""
        path = folder / _FILE
        try:
            return read_json(path, _KIND, TypeAdapter(cls))
        except FileNotFoundError:
            pass
        except StateError as error:
            say(f"sweep:  {error} {moved_aside(path)}")
        return cls()

    def write(self, folder: Path) -> None:
        """Atomically replace the state in a sweep's folder."""
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / _FILE, _KIND, asdict(self), durable=False)
