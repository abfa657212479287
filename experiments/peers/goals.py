"""What is wanted of the harness, against what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from experiments.peers.process import PER_CHUNK
from experiments.peers.rounds import Row
from experiments.peers.standing import Goal, Standing, ratio

KERAS = ("fit_memory", "fit_generator", "fit_csv")


def goals(rows: Sequence[Row], parts: Mapping[str, float]) -> list[Goal]:
    """Return all goals; those whose rows or peers are missing have not been measured.

    Args:
        rows: Of the table.
        parts: Figures of single parts: `update_us`, `lanes` and `beside_s`.
    """
    found = {row.case.key: row for row in rows if row.case.key}
    first, there, longest, sweep = (found.get(key) for key in ("first", "there", "longest", "sweep"))
    size = sweep.case.task.configurations if sweep else 64
    run, all_runs = "one run, chunk 100, times the best loop over pandas chunks", f"sweep of {size}"
    return [
        Goal(f"{run}, first contact, compilation counted", 20, _best(first, PER_CHUNK, compiling=True)),
        Goal(f"{run}, first contact, compilation apart", 20, _best(first, PER_CHUNK)),
        Goal(f"{run}, table there, compilation counted", 200, _best(there, PER_CHUNK, compiling=True)),
        Goal(f"{run}, table there, compilation apart", 200, _best(there, PER_CHUNK)),
        Goal(f"{all_runs}, times the best of Keras", 100, _best(sweep, KERAS)),
        Goal(f"{all_runs}, times scikit-learn", 100, _best(sweep, ("sgd",))),
        Goal(f"{all_runs}, times the plain loop", 10_000, _best(sweep, ("loop",))),
        Goal(f"{all_runs}, times JAX, compilation counted", 1, _best(sweep, ("jax",), compiling=True)),
        Goal(f"{all_runs}, times JAX, compilation apart", 1, _best(sweep, ("jax",))),
        Goal(f"{all_runs}, times JAX with its runs in MLflow, compilation apart", 1, _best(sweep, ("jax_tracked",))),
        Goal(f"{all_runs}, first contact, in bare pandas parses, compilation apart", 2, _parses(sweep), False),
        Goal(f"{all_runs}, first contact, in bare pandas parses, compilation counted", 3, _parses(sweep, True), False),
        Goal(f"T({size})/T(1), compilation counted", 1.5, _against(sweep, longest), False),
        Goal("lanes that ran together", 1024, parts.get("lanes")),
        Goal("64 lanes, chunk 100, microseconds an update", 10, parts.get("update_us"), False),
        Goal("composing, folders and MLflow for 64 runs, seconds", 3, parts.get("beside_s"), False),
    ]


def _best(row: Row | None, names: Sequence[str], *, compiling: bool = False) -> float | None:
    """Return how many times as long as the harness the fastest of some peers takes."""
    ratios = [ratio(row.peers.get(name), row.ours, compiling=compiling) for name in names] if row else []
    return min((found for found in ratios if found is not None), default=None)


def _parses(row: Row | None, compiling: bool = False) -> float | None:
    """Return how many bare parses by pandas the harness takes."""
    if row is None or "parse_pandas" not in row.least:
        return None
    return (row.ours.work.mid + compiling * row.ours.compile.mid) / row.least["parse_pandas"]


def _against(row: Row | None, other: Row | None) -> float | None:
    def ours(row: Row | None) -> Standing | None:
        return row.ours if row else None

    return ratio(ours(row), ours(other), compiling=True)
