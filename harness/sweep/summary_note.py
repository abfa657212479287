"""What a sweep's folder knows of its summary run: where a later call for the same sweep begins."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass
class Ended:
    """A run that has ended, as far as the summary tells of it.

    Attributes:
        run_id: MLflow's.
        name: What sets it apart from its companions.
        sample: `batch` or `full`.
        reason: Why it failed; empty if it did not.
        merit: The measure by which the best is chosen, less is better; None if it failed.
        loss: Final `val/loss`, or `train/loss` without a holdout.
        rmse: Final `val/rmse`; None where there is none.
        updates: Of the whole run.
    """

    run_id: str
    name: str
    sample: str
    reason: str
    merit: float | None
    loss: float | None
    rmse: float | None
    updates: int


@dataclass
class Note:
    """A sweep's summary run, from one call to the next.

    Attributes:
        run_id: MLflow's; empty if it has not been started.
        signatures: Of the sweep's runs.
        seconds: By what they went to.
        best: The merit of the run whose model is kept; None if there is none.
        runs: Those that have ended.
        data: What they were trained on, in words.
        calls: Calls that have gone on with it.
        started: When it was, in seconds since 1970.
    """

    run_id: str = ""
    signatures: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    best: float | None = None
    runs: list[Ended] = field(default_factory=list)
    data: list[str] = field(default_factory=list)
    calls: int = 0
    started: float = 0.0

    @classmethod
    def read(cls, folder: Path) -> Note:
        """Return what lies in a sweep's folder; it is empty where there is nothing."""
        path = _path(folder)
        if not path.exists():
            return cls()
        known = json.loads(path.read_text())
        return cls(**known | {"runs": [Ended(**run) for run in known["runs"]]})

    def write(self, folder: Path) -> None:
        """Leave it in a sweep's folder, whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        aside = _path(folder).with_suffix(f".{os.getpid()}")
        aside.write_text(json.dumps(asdict(self)))
        aside.rename(_path(folder))


def _path(folder: Path) -> Path:
    return folder / "summary.json"
