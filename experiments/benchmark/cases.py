"""What is measured."""

from __future__ import annotations

from dataclasses import dataclass

from experiments.benchmark.task import FULL, Task

CHUNKS = (100, 1000, 10_000, FULL)
RATES = (0.003, 0.01, 0.03, 0.1)
STOPS = (2, 4, 7, 10)
PEERS = ("jax", "keras", "compiled", "loop", "sklearn", "vw")


@dataclass(frozen=True)
class Case:
    """A task for the harness and its peers; `fresh` means first contact, without a table. Goals refer to `key`."""

    key: str
    task: Task
    fresh: bool = True
    peers: tuple[str, ...] = PEERS

    @property
    def name(self) -> str:
        """The case in words."""
        task = self.task
        sizes = ", ".join(f"{chunk:,}" if isinstance(chunk, int) else chunk for chunk in task.chunks)
        grid = f"chunk {sizes}" if task.configurations == 1 else f"{task.configurations:,} runs, chunks {sizes}"
        epochs = f"{task.stops[-1]} epoch{'s' if task.stops[-1] > 1 else ''}"
        return f"{row_count(task.rows)}, {grid}, {epochs}, {'first contact' if self.fresh else 'table there'}"


def row_count(rows: int) -> str:
    """Format a number of rows."""
    return f"{rows / 1e6:g} M rows" if rows >= 1e6 else f"{rows:,} rows"


def cases(rows: int) -> list[Case]:
    """Return all cases."""
    return [
        Case("first", Task(rows)),
        Case("there", Task(rows), fresh=False),
        Case("longest", Task(rows, stops=STOPS[-1:])),
        Case("sweep", Task(rows, CHUNKS, RATES, STOPS), peers=("jax_mlflow", *PEERS)),
    ]


def small_sweep(rows: int) -> Task:
    """Return a sweep of 64 runs on few rows: its time goes to composing, folders and records."""
    return Task(max(2000, rows // 1000), (100, 500, 1000, FULL), RATES, (5, 10, 15, 20))


def update_tasks(rows: int) -> list[Task]:
    """Return tasks whose training time shows what one update from the rows takes, on one thread."""
    options = ("runtime.gram=false", "runtime.workers=1", "tracking.log_model=none")
    return [
        Task(rows // 10, (chunk,), tuple(0.001 + 0.0001 * lane for lane in range(lanes)), (4,), options=options)
        for lanes, chunk in ((1, 100), (1, 1000), (64, 100), (64, 1000), (1024, 100))
    ]
