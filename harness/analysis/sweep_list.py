"""The table of a store's newest sweeps."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import pandas as pd

from harness.analysis.best_run import best_of
from harness.analysis.confirmed import confirmed_if_any
from harness.analysis.render import show_list, to_csv
from harness.analysis.replicates import averaged
from harness.formatting import age, number
from harness.runtime.secrets import shown
from harness.tracking.frames import SHORT, Sweep, frame_of, states
from harness.tracking.ranking import objective, ranked

if TYPE_CHECKING:
    from mlflow.entities import Run
    from rich.console import Console

STATES = ("finished", "diverged", "failed", "interrupted", "pruned")


def show_sweeps(sweeps: Iterable[tuple[Run, list[Run]]], console: Console) -> None:
    """Print one line per sweep: id, age, how its runs ended, the best run and the name."""
    titles = ["sweep", "age", "runs", "best run", "result", "name"]
    rows = [
        [
            shown(facts["sweep"])[:SHORT],
            age(time.time() - facts["started"]),
            ", ".join(f"{count:,} {state}" for state, count in facts["states"].items()) or "none",
            shown(facts["best"] or "-"),
            f"{facts['metric']} {number(facts['result'])}" if facts["best"] else "-",
            shown(facts["name"]),
        ]
        for facts in _facts(sweeps)
    ]
    columns = [list(column) for column in zip(titles, *rows, strict=True)]
    show_list(columns, console, "No sweeps yet. Run `harness train -m ...` first.")


def sweeps_as_csv(sweeps: Iterable[tuple[Run, list[Run]]]) -> str:
    """Return one line per sweep, with the number of runs in each state and the best run."""
    rows = []
    for facts in _facts(sweeps):
        started = pd.Timestamp(facts.pop("started"), unit="s", tz="UTC").isoformat(timespec="seconds")
        states = {state: facts["states"].get(state, 0) for state in STATES}
        rows.append({**facts, "started": started, "runs": facts["states"].total(), **states})
    frame = pd.DataFrame(rows, columns=None if rows else ["sweep"])
    return to_csv(frame.drop(columns="states", errors="ignore"))


def _facts(sweeps: Iterable[tuple[Run, list[Run]]]) -> Iterator[dict[str, Any]]:
    for head, members in sweeps:
        runs = frame_of(members, [head])
        params = tuple(dict.fromkeys(key for run in members for key in run.data.params))
        # Splits are not ranked against each other, and trials not against what confirms them.
        means = averaged(Sweep(runs, params, pd.DataFrame(), tags=head.data.tags)).runs
        means = confirmed_if_any(means, pd.Series("", index=means.index))
        found, first = objective(runs), next(iter(ranked(means)), None)
        best = first if first and found.decides(first) else None
        yield {
            "sweep": head.info.run_id,
            "name": head.info.run_name or "",
            "started": head.info.start_time / 1000,
            "states": Counter(states(runs)),
            "best": best["name"] if best else None,
            "best_id": best_of(members, [head]) or None,
            "metric": found.metric,
            "result": best[found.metric] if best else None,
        }
