"""What is measured."""

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
        return f"{task.rows:,} rows, {grid}, {epochs}, {'first contact' if self.fresh else 'table there'}"


def cases(rows: int) -> list[Case]:
    """Return all cases."""
    return [
        Case("first", Task(rows)),
        Case("there", Task(rows), fresh=False),
        Case("longest", Task(rows, stops=STOPS[-1:])),
        Case("sweep", Task(rows, CHUNKS, RATES, STOPS), peers=("jax_mlflow", *PEERS)),
    ]
