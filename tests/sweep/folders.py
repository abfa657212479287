"""Folders in which small sweeps are trained, and what these record."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from mlflow.entities import Run as Record
from mlflow.tracking import MlflowClient
from rich.console import Console

from harness.config import Config, DataConfig, LogModel, Loss, RuntimeConfig, TrackingConfig
from harness.sweep.display import Display
from harness.sweep.plan import Run
from harness.sweep.runner import train

CSV = "x,y\n" + "".join(f"{i % 97},{3 * (i % 97) + i % 7}\n" for i in range(4000))
TIMES = ("time/", "rows_per_second", "system/", "memory/peak", "memory/scan")

Options = Mapping[str, Any]


def config(
    folder: Path,
    chunk: int | str = 10,
    rate: float = 0.1,
    epochs: int = 1,
    *,
    data: Options | None = None,
    runtime: Options | None = None,
    tracking: Options | None = None,
    **more: Any,
) -> Config:
    """Return a configuration, by default of a linear model of `some.csv`, whose store and cache are in a folder."""
    settings = {"seed": 0, "loss": Loss.mse, "model": {"_target_": "harness.models.linear", "init": 0.1}}
    return Config(
        chunksize=chunk,
        learning_rate=rate,
        epochs=epochs,
        data=DataConfig(**{"features": ["x"], "target": "y", "path": str(folder / "some.csv")} | (data or {})),
        tracking=TrackingConfig(**{"uri": f"sqlite:///{folder}/mlflow.db"} | (tracking or {})),
        runtime=RuntimeConfig(**{"cache": str(folder / "cache")} | (runtime or {})),
        **settings | {"optimizer": {"name": "adam"}} | more,
    )


def numbers_of(
    client: MlflowClient, records: Iterable[Record], keys: Collection[str] = ()
) -> dict[tuple[str | None, str], list]:
    """Return steps and values of metrics, except times, by run and key, after checking that no step occurs twice.

    By default, of all metrics.
    """
    found = {}
    for record in records:
        for key in keys or record.data.metrics:
            points = sorted((point.step, point.value) for point in client.get_metric_history(record.info.run_id, key))
            assert len(dict(points)) == len(points)
            if not key.startswith(TIMES):
                found[record.info.run_name, key] = points
    return found


class Folder:
    """A folder with a file, a store, a cache and one sweep folder per call."""

    def __init__(self, path: Path) -> None:
        path.mkdir(exist_ok=True)
        self.path, self.uri = path, f"sqlite:///{path}/mlflow.db"
        (path / "some.csv").write_text(CSV)
        self.said = ""
        self._calls = itertools.count()

    def config(
        self,
        chunk: int | str = 100,
        rate: float = 0.01,
        epochs: int = 2,
        *,
        log_model: LogModel = LogModel.best,
        rerun: bool = False,
        **more: Any,
    ) -> Config:
        """Return a configuration whose blocks are smaller than the file."""
        runtime, tracking = {"block_rows": 1024, "rerun": rerun}, {"log_model": log_model}
        return config(self.path, chunk, rate, epochs, runtime=runtime, tracking=tracking, **more)

    def train(self, configs: Sequence[Config], *, alone: bool = False, **tags: str) -> list[Run]:
        """Train configurations as a sweep, or `alone` without a summary run; `said` is then what was printed."""
        console = Console(file=StringIO(), width=200)
        folder = None if alone else self.path / "multirun" / str(next(self._calls))
        try:
            return train(configs, Display(console), command="harness train -m ...", folder=folder, tags=tags)
        finally:
            self.said = console.file.getvalue()  # type: ignore[attr-defined]

    def records(self, kind: str = "run") -> list[Record]:
        """Return the records of runs or of sweeps, newest first."""
        return list(MlflowClient(self.uri).search_runs(["1"], f"tags.kind = '{kind}'"))

    def statuses(self, kind: str = "run") -> list[str]:
        """Return the statuses of these records."""
        return sorted(record.info.status for record in self.records(kind))

    def numbers(self, records: Sequence[Record] | None = None) -> dict[tuple[str | None, str], list]:
        """Return the numbers of some records, by default of all runs."""
        return numbers_of(MlflowClient(self.uri), self.records() if records is None else records)
