"""The goals, and whether they are reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from experiments.benchmark.process import PANDAS_LOOPS
from experiments.benchmark.timing import Part, Row, ratio, three_digits


@dataclass(frozen=True)
class Goal:
    """A wanted figure; `measured` is None where a case or peer is missing."""

    what: str
    wanted: float
    measured: float | None
    at_least: bool = True

    @property
    def reached(self) -> bool | None:
        """Whether the goal is reached; None if it was not measured."""
        if self.measured is None:
            return None
        return self.measured >= self.wanted if self.at_least else self.measured <= self.wanted

    @property
    def cells(self) -> list[str]:
        """The goal as a line of a table."""
        measured = "-" if self.measured is None else three_digits(self.measured)
        verdict = {True: "reached", False: "not reached", None: "not measured"}[self.reached]
        return [
            self.what,
            f"{'at least' if self.at_least else 'at most'} {three_digits(self.wanted)}",
            measured,
            verdict,
        ]


def goals(rows: Sequence[Row], parts: Mapping[str, Part]) -> list[Goal]:
    """Return all goals."""
    found = {row.case.key: row for row in rows}
    first, there, longest, sweep = (found.get(key) for key in ("first", "there", "longest", "sweep"))
    size = sweep.case.task.configurations if sweep else 64
    run, runs = "one run, chunk 100, times the best loop over pandas chunks", f"sweep of {size}"
    figures = {key: part.value.mid for key, part in parts.items()}
    return [
        Goal(f"{run}, first contact, compilation counted", 20, _best(first, PANDAS_LOOPS, compiling=True)),
        Goal(f"{run}, first contact, compilation apart", 20, _best(first, PANDAS_LOOPS)),
        Goal(f"{run}, table there, compilation counted", 200, _best(there, PANDAS_LOOPS, compiling=True)),
        Goal(f"{run}, table there, compilation apart", 200, _best(there, PANDAS_LOOPS)),
        Goal(f"{runs}, times Keras", 100, _best(sweep, ("keras",))),
        Goal(f"{runs}, times scikit-learn", 100, _best(sweep, ("sklearn",))),
        Goal(f"{runs}, times the plain loop", 10_000, _best(sweep, ("loop",))),
        Goal(f"{runs}, times JAX, compilation counted", 1, _best(sweep, ("jax",), compiling=True)),
        Goal(f"{runs}, times JAX, compilation apart", 1, _best(sweep, ("jax",))),
        Goal(f"{runs}, times JAX with its runs in MLflow, compilation apart", 1, _best(sweep, ("jax_mlflow",))),
        Goal(f"{runs}, first contact, in bare pandas parses, compilation apart", 2, _parses(sweep, figures), False),
        Goal(
            f"{runs}, first contact, in bare pandas parses, compilation counted",
            3,
            _parses(sweep, figures, True),
            False,
        ),
        Goal(f"T({size})/T(1), compilation counted", 1.5, _growth(sweep, longest), False),
        Goal("lanes trained by one scan", 1024, figures.get("lanes")),
        Goal("64 lanes, chunk 100, from rows, microseconds per update", 10, figures.get("from rows/64/100/1"), False),
        Goal("64 runs: composing, folders and MLflow, seconds", 3, figures.get("beside"), False),
    ]


def _best(row: Row | None, names: Sequence[str], *, compiling: bool = False) -> float | None:
    """Return how many times as long as the harness the fastest of some peers takes."""
    ratios = [ratio(row.peers.get(name), row.harness, compiling=compiling) for name in names] if row else []
    return min((found for found in ratios if found is not None), default=None)


def _parses(row: Row | None, figures: Mapping[str, float], compiling: bool = False) -> float | None:
    """Return the time of the harness in bare parses by pandas."""
    if row is None or "parse_pandas" not in figures:
        return None
    return (row.harness.work.mid + compiling * row.harness.compile.mid) / figures["parse_pandas"]


def _growth(sweep: Row | None, longest: Row | None) -> float | None:
    """Return T(64)/T(1), both with as many epochs."""
    return ratio(sweep.harness, longest.harness, compiling=True) if sweep and longest else None
