"""What is measured: sizes, and cases made of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from experiments.peers.task import FULL, Task

TARGET = "price"
ONE = ("sqft_living",)
MANY = (
    "bedrooms",
    "bathrooms",
    "sqft_living",
    "sqft_lot",
    "floors",
    "waterfront",
    "view",
    "condition",
    "grade",
    "sqft_above",
    "sqft_basement",
    "yr_built",
    "yr_renovated",
    "zipcode",
    "lat",
    "long",
    "sqft_living15",
    "sqft_lot15",
)
UNITS = (64, 64)
CHUNKS = (100, 1000, 10_000, FULL)
RATES = (0.003, 0.01, 0.03, 0.1)
STOPS = (2, 4, 7, 10)

LINEAR = ("jax", "fit_memory", "fit_generator", "fit_csv", "compiled", "loop", "sgd", "vw")
SOME = ("jax", "fit_memory", "sgd")
NETWORK = ("jax", "fit_memory")


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        small: Rows of most cases, and of the file whose beginning slow peers are timed on.
        large: Rows of those that show a sweep.
        huge: Rows of one more file; 0 means none.
        epochs: Of the long runs on the small file.
        repeats: Of each measurement.
        gigabytes: Of CSV, for the peak of memory.
    """

    small: int
    large: int
    huge: int = 0
    epochs: tuple[int, ...] = (10,)
    repeats: int = 3
    gigabytes: tuple[int, ...] = (1,)


SIZES = {
    "": Sizes(2_000_000, 20_000_000),
    "full": Sizes(2_000_000, 20_000_000, 200_000_000, (10, 100), gigabytes=(1, 10, 100)),
    "tiny": Sizes(20_000, 40_000, repeats=1, gigabytes=()),
}
"""By the value of `BENCH`; `tiny` shows within some minutes that all of it works, and its figures mean nothing."""


@dataclass(frozen=True)
class Case:
    """A task of the harness, and who else does it.

    Attributes:
        key: By which goals find it; empty if none does.
        task: Its columns' constants and its folder are still missing.
        fresh: Whether the table is not there yet.
        peers: Their names.
        alone: Whether each repetition has a process of its own; a fresh one always has.
    """

    key: str
    task: Task
    fresh: bool = False
    peers: tuple[str, ...] = ()
    alone: bool = False

    @property
    def name(self) -> str:
        """What it is, in words."""
        task = self.task
        model = f"MLP {'-'.join(map(str, task.units))}" if task.units else ""
        features = f"{len(task.features)} feature{'s' if len(task.features) > 1 else ''}"
        sizes = ", ".join(f"{chunk:,}" if isinstance(chunk, int) else chunk for chunk in task.chunks)
        what = f"chunk {sizes}" if task.configurations == 1 else f"{task.configurations:,} runs, chunks {sizes}"
        epochs = f"{task.passes} epoch{'s' if task.passes > 1 else ''}"
        device = f"device={task.device}" if task.device != "auto" else ""
        table = "first contact" if self.fresh else "table there"
        return ", ".join(part for part in (rows(task.rows), model, features, what, epochs, device, table) if part)


def rows(count: int) -> str:
    """Write a number of rows."""
    return f"{count / 1e6:g} M rows" if count >= 1e6 else f"{count:,} rows"


def cases(sizes: Sizes) -> list[Case]:
    """Return all cases, those of one file together, first contact first."""
    small, large = _task(sizes.small), _task(sizes.large)
    many = replace(small, features=MANY)
    sweep = {"chunks": CHUNKS, "rates": RATES, "stops": STOPS}
    found = [
        *(Case("", replace(small, chunks=(chunk,)), peers=LINEAR) for chunk in CHUNKS),
        *(Case("", replace(small, stops=(epochs,)), peers=LINEAR) for epochs in sizes.epochs),
        Case("", many, peers=SOME),
        # Enough updates to come to something, however small the file.
        Case("", replace(many, chunks=(min(1000, sizes.small // 200),), units=UNITS, stops=(3,)), peers=NETWORK),
        Case("first", large, True, LINEAR),
        Case("there", large, peers=LINEAR, alone=True),
        Case("longest", replace(large, stops=STOPS[-1:]), True, LINEAR),
        Case("sweep", replace(large, **sweep), True, ("jax_tracked", *LINEAR)),
    ]
    if sizes.huge:
        wide = tuple(float(f"{0.001 * 100 ** (i / 256):.6g}") for i in range(256))
        huge = _task(sizes.huge)
        found += [
            Case("", replace(small, chunks=CHUNKS, rates=wide), peers=("jax", "jax_tracked")),
            Case("", replace(large, chunks=CHUNKS, rates=wide), peers=("jax", "jax_tracked")),
            Case("", huge, True, LINEAR),
            Case("", replace(huge, stops=STOPS[-1:]), peers=LINEAR),
            Case("", replace(huge, **sweep), True, LINEAR),
        ]
    return found


def gpu_cases(sizes: Sizes) -> list[Case]:
    """Return what shows whether `device=auto` gives good advice, where there is a GPU."""
    linear = _task(sizes.small)
    lanes = tuple(float(f"{0.0001 * 100 ** (i / 1000):.6g}") for i in range(1000))
    # On a CPU a thousand of them go through some three thousand rows a second.
    network = replace(_task(sizes.small // 10), features=MANY, units=UNITS, chunks=(1000,), rates=lanes)
    return [
        Case(f"{key} {device}", replace(task, device=device))
        for key, task in (("linear", linear), ("network", network))
        for device in ("cpu", "gpu", "auto")
    ]


def _task(count: int) -> Task:
    return Task("", ONE, TARGET, (), (), count, (100,))
