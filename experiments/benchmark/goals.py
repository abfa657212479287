"""The benchmark's goals, and whether they are reached."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from experiments.benchmark.timing import Part, Row, ratio, three_digits


class Goal(NamedTuple):
    """A target value; `measured` is None if a case or a peer is missing."""

    what: str
    wanted: float
    measured: float | None
    at_least: bool = True

    @property
    def verdict(self) -> str:
        """Whether the goal is reached."""
        if self.measured is None:
            return "not measured"
        reached = self.measured >= self.wanted if self.at_least else self.measured <= self.wanted
        return "reached" if reached else "not reached"

    @property
    def cells(self) -> list[str]:
        """The goal as a row of a table."""
        measured = "-" if self.measured is None else three_digits(self.measured)
        bound = "at least" if self.at_least else "at most"
        return [self.what, f"{bound} {three_digits(self.wanted)}", measured, self.verdict]


def goals(rows: Sequence[Row], parts: Mapping[str, Part]) -> list[Goal]:
    """Return all goals."""
    found = {row.case.key: row for row in rows}
    first, there, longest, sweep = (found.get(key) for key in ("first", "there", "longest", "sweep"))
    size = sweep.case.task.configurations if sweep else 64
    run, runs = "one run, chunk 100, speed-up over the best pandas loop", f"sweep of {size}"
    parses = f"{runs}, CSV not yet parsed, relative to a plain pandas parse"
    figures = {key: part.value.mid for key, part in parts.items()}
    counted, apart = "with compilation", "without compilation"
    loops = ("loop", "compiled", "sklearn")
    parse = figures.get("parse_pandas")
    work = [sweep.harness.work.mid, sweep.harness.compile.mid] if sweep else []
    growth = ratio(sweep.harness, longest.harness, compiling=True) if sweep and longest else None
    return [
        Goal(f"{run}, CSV not yet parsed, {counted}", 20, _best(first, loops, compiling=True)),
        Goal(f"{run}, CSV not yet parsed, {apart}", 20, _best(first, loops)),
        Goal(f"{run}, table cached, {counted}", 200, _best(there, loops, compiling=True)),
        Goal(f"{run}, table cached, {apart}", 200, _best(there, loops)),
        Goal(f"{runs}, speed-up over Keras", 100, _best(sweep, ["keras"])),
        Goal(f"{runs}, speed-up over scikit-learn", 100, _best(sweep, ["sklearn"])),
        Goal(f"{runs}, speed-up over the plain loop", 10_000, _best(sweep, ["loop"])),
        Goal(f"{runs}, speed-up over JAX, {counted}", 1, _best(sweep, ["jax"], compiling=True)),
        Goal(f"{runs}, speed-up over JAX, {apart}", 1, _best(sweep, ["jax"])),
        Goal(f"{runs}, speed-up over JAX with MLflow runs, {apart}", 1, _best(sweep, ["jax_mlflow"])),
        Goal(f"{parses}, {apart}", 2, work[0] / parse if work and parse else None, at_least=False),
        Goal(f"{parses}, {counted}", 3, sum(work) / parse if work and parse else None, at_least=False),
        Goal(f"T({size})/T(1), {counted}", 1.5, growth, at_least=False),
        Goal("lanes trained by one scan", 1024, figures.get("lanes")),
        Goal("64 lanes, chunk 100, microseconds per update", 10, figures.get("update/64/100"), at_least=False),
        Goal("64 runs, seconds for composing, folders and MLflow", 3, figures.get("beside"), at_least=False),
        Goal("checksums, % of ingesting", 1, figures.get("checksums/of_ingest"), at_least=False),
        Goal("checksums, % of reading and scaling", 3, figures.get("checksums/of_reading"), at_least=False),
    ]


def _best(row: Row | None, names: Sequence[str], *, compiling: bool = False) -> float | None:
    """Return the time of the fastest of the given peers divided by the harness's."""
    ratios = [ratio(row.peers.get(name), row.harness, compiling=compiling) for name in names] if row else []
    return min((found for found in ratios if found is not None), default=None)
