"""The cases to measure."""

from dataclasses import dataclass

from experiments.benchmark.task import FULL, Task
from harness.data import synthetic_houses

CHUNKS = (100, 1000, 10_000, FULL)
RATES = (0.003, 0.01, 0.03, 0.1)
STOPS = (2, 4, 7, 10)
PEERS = ("jax", "keras", "compiled", "loop", "sklearn", "vw")
LANES = tuple(float(f"{0.0003 * 100 ** (lane / 63):.4g}") for lane in range(64))  # Rates from 0.0003 to 0.03.
NUMBERS = (*synthetic_houses.COLUMNS[3:], "price")  # All columns except id and date.


@dataclass(frozen=True)
class Case:
    """A task for the harness and its peers; `fresh` means that there is no table yet. Goals refer to cases by `key`."""

    key: str
    task: Task
    fresh: bool = True
    peers: tuple[str, ...] = PEERS

    @property
    def name(self) -> str:
        """The case as text."""
        task = self.task
        sizes = ", ".join(f"{chunk:,}" if isinstance(chunk, int) else chunk for chunk in task.chunks)
        grid = f"chunk {sizes}" if task.configurations == 1 else f"{task.configurations:,} runs, chunks {sizes}"
        model = f"MLP {'-'.join(map(str, task.units))}, {len(task.columns) - 1} features, " if task.units else ""
        epochs = f"{task.stops[-1]} epoch{'s' if task.stops[-1] > 1 else ''}"
        return f"{task.rows:,} rows, {model}{grid}, {epochs}, {'CSV not yet parsed' if self.fresh else 'table cached'}"


def cases(rows: int) -> list[Case]:
    """Return all cases."""
    return [
        Case("first", Task(rows)),
        Case("there", Task(rows), fresh=False),
        Case("longest", Task(rows, stops=STOPS[-1:])),
        Case("sweep", Task(rows, CHUNKS, RATES, STOPS), peers=("jax_mlflow", *PEERS)),
        Case("mlp", Task(max(rows // 100, 20_000), (1000,), LANES, (3,), NUMBERS, (64, 64)), False, ("jax", "keras")),
    ]
