"""Tasks and outcomes, which the benchmark's processes send each other."""

from dataclasses import dataclass, field
from typing import NamedTuple

FULL = "full"
COLUMNS = ("sqft_living", "price")  # Feature and target, two of the file's 21 columns.


@dataclass(frozen=True)
class Task:
    """Configurations of a model to train on the first `rows` of a CSV.

    They are the grid of `chunks` (rows of one update, or `full`), Adam's learning `rates` and `stops` (epochs,
    ascending). The model is linear, or a multilayer perceptron with hidden `units`. `columns` are the features and the
    target, scaled by `mean` and `std`, so that all peers train on the same values. The harness works in `folder`, and
    gets `options` as additional arguments.
    """

    rows: int
    chunks: tuple[int | str, ...] = (100,)
    rates: tuple[float, ...] = (0.01,)
    stops: tuple[int, ...] = (1,)
    columns: tuple[str, ...] = COLUMNS
    units: tuple[int, ...] = ()
    path: str = ""
    mean: tuple[float, ...] = (0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0)
    folder: str = ""
    options: tuple[str, ...] = ()

    def size(self, chunk: int | str) -> int:
        """Return the number of rows per update."""
        return self.rows if chunk == FULL else min(int(chunk), self.rows)

    def updates(self, chunk: int | str) -> int:
        """Return the number of updates per epoch."""
        return -(-self.rows // self.size(chunk))

    @property
    def configurations(self) -> int:
        """Number of configurations."""
        return len(self.chunks) * len(self.rates) * len(self.stops)

    @property
    def configuration_rows(self) -> int:
        """Number of rows on which all configurations together train, over all epochs."""
        return len(self.chunks) * len(self.rates) * sum(self.stops) * self.rows


class Fit(NamedTuple):
    """One configuration's result: the loss, and a linear model's intercept and slope for scaled values."""

    chunk: int | str
    rate: float
    epochs: int
    weights: list[float]
    loss: float = 0.0


@dataclass
class Outcome:
    """How long a task took, in seconds, and its results.

    `laps` are repeated measurements of `lap_epochs` epochs each, after one `read`. `startup` covers imports and the
    creation of an MLflow store. `epochs` are the training seconds of each epoch, as the harness records them.
    """

    rows: int
    laps: list[float]
    fits: list[Fit] = field(default_factory=list)
    compile: float = 0.0
    read: float = 0.0
    lap_epochs: int = 1
    startup: float = 0.0
    peak_mb: float = 0.0
    figures: dict[str, float] = field(default_factory=dict)
    epochs: list[float] = field(default_factory=list)
