"""What is measured, as a list of cases."""

from __future__ import annotations

from dataclasses import dataclass

from experiments.benchmark.task import FULL, Task

MANY = (
    *("bedrooms", "bathrooms", "sqft_living", "sqft_lot", "floors", "waterfront", "view", "condition", "grade"),
    *("sqft_above", "sqft_basement", "yr_built", "yr_renovated", "zipcode", "lat", "long"),
    *("sqft_living15", "sqft_lot15"),
)
CHUNKS = (100, 1000, 10_000, FULL)
RATES = (0.003, 0.01, 0.03, 0.1)
STOPS = (2, 4, 7, 10)
LINEAR = ("jax", "keras", "compiled", "loop", "sklearn", "vw")


@dataclass(frozen=True)
class Case:
    """A task for the harness and its peers.

    Attributes:
        key: Name by which goals refer to the case.
        task: The task; its file and folder are filled in later.
        fresh: First contact: there is no table yet.
        peers: Names of the peers that do it too.
    """

    key: str
    task: Task
    fresh: bool = False
    peers: tuple[str, ...] = LINEAR

    @property
    def name(self) -> str:
        """The case in words."""
        task = self.task
        model = f"MLP {'-'.join(map(str, task.units))}" if task.units else ""
        features = f"{len(task.features)} feature{'s' if len(task.features) > 1 else ''}"
        sizes = ", ".join(f"{chunk:,}" if isinstance(chunk, int) else chunk for chunk in task.chunks)
        grid = f"chunk {sizes}" if task.configurations == 1 else f"{task.configurations:,} runs, chunks {sizes}"
        epochs = f"{task.passes} epoch{'s' if task.passes > 1 else ''}"
        table = "first contact" if self.fresh else "table there"
        return ", ".join(part for part in (row_count(task.rows), model, features, grid, epochs, table) if part)


def row_count(rows: int) -> str:
    """Format a number of rows."""
    return f"{rows / 1e6:g} M rows" if rows >= 1e6 else f"{rows:,} rows"


def cases(rows: int) -> list[Case]:
    """Return all cases; those on the same file stand together, first contact first."""
    # The number of updates, not the chunk size, has to be large enough for the network to learn on small files.
    network = Task(rows // 10, MANY, (min(1000, max(10, rows // 2000)),), stops=(3,), units=(64, 64))
    return [
        Case("first", Task(rows), fresh=True),
        Case("there", Task(rows)),
        Case("longest", Task(rows, stops=STOPS[-1:]), fresh=True),
        Case("sweep", Task(rows, chunks=CHUNKS, rates=RATES, stops=STOPS), True, ("jax_mlflow", *LINEAR)),
        Case("network", network, peers=("jax", "keras")),
    ]


def small_sweep(rows: int) -> Task:
    """Return a sweep of 64 runs on few rows: its time goes to composing, folders and records."""
    return Task(max(2000, rows // 1000), chunks=(100, 500, 1000, FULL), rates=RATES, stops=(5, 10, 15, 20))


def update_tasks(rows: int) -> list[Task]:
    """Return tasks whose training time shows what one update takes, on one thread."""
    shapes = [(1, 100, 1), (64, 100, 1), (64, 1000, 1), (1024, 100, 1), (1, 100, len(MANY))]
    return [
        Task(
            rows // 10,
            MANY[:features] if features > 1 else ("sqft_living",),
            (chunk,),
            tuple(float(f"{0.001 * 100 ** (lane / lanes):.6g}") for lane in range(lanes)),
            (4,),
            options=("runtime.workers=1", "tracking.log_model=none", f"runtime.gram={str(gram).lower()}"),
        )
        for gram in (False, True)
        for lanes, chunk, features in shapes
    ]
