"""Summarizes a sweep's tables in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from harness.analysis.comparison import Comparison
from harness.analysis.objective import Objective, Run, has
from harness.formatting import count, memory, number
from harness.tracking.run_tags import STOPPED

_MEMORY = "memory/update_mb"


def best_runs(runs: Sequence[Run], objective: Objective) -> list[str]:
    """Return a sentence on the best batch run and one on the best full-sample run; `runs` are sorted, best first."""
    sentences = []
    for sample in ("batch", "full"):
        best = next((run for run in runs if objective.decides(run) and run["sample"] == sample), None)
        if best is not None:
            kind = "full-sample run" if sample == "full" else f"batch run (chunks of {best['chunksize']} rows)"
            epochs = best[STOPPED] if has(best, STOPPED) else best["epochs"]
            effort = f"{count(best['updates'], 'update')} in {count(float(epochs), 'epoch')}"
            result = f"{objective.metric} {number(best[objective.metric])}"
            sentences.append(f"Best {kind}: {result} after {effort}{_memory(best)}.")
    return sentences


def conclusion(runs: Sequence[Run], objective: Objective) -> str:
    """Describe the best run, and how the best run of the other kind compares; `runs` are sorted, best first."""
    metric = objective.metric
    finished = [run for run in runs if objective.decides(run)]
    if not finished:
        return "No run has finished."
    best = finished[0]
    text = f"The best run is {best['name']}: {metric} {number(best[metric])} after {count(best['updates'], 'update')}"
    other = next((run for run in finished if run["sample"] != best["sample"]), None)
    if other is None:
        return f"{text}{_memory(best)}."
    kind = "full-sample" if other["sample"] == "full" else "batch"
    more = _more(other[metric], best[metric]) if objective.sign > 0 else ""
    text += f"; the best {kind} run, {other['name']}, reaches {number(other[metric])}{more} "
    text += f"after {count(other['updates'], 'update')}"
    if not (has(best, _MEMORY) and has(other, _MEMORY)):
        return f"{text}."
    ratio = other[_MEMORY] / best[_MEMORY]
    return f"{text} and needs {number(ratio) if ratio >= 1 else f'1/{number(1 / ratio)}'} times the memory per update."


def verdict(comparisons: Sequence[Comparison]) -> list[str]:
    """Summarize how often each kind of run is better, and why some runs cannot be compared."""
    sentences = []
    axes = {"epochs": "epochs (and so the same rows)", "updates": "number of updates", "time": "training time"}
    for axis, title in axes.items():
        pairs = [each for each in comparisons if each.axis == axis]
        fair = [each for each in pairs if each.better]
        if fair:
            batch, full, equal = (sum(each.better == side for each in fair) for side in ("batch", "full", "equal"))
            ties = f"; {equal} {'is a tie' if equal == 1 else 'are ties'}" if equal else ""
            left_out = f" ({len(pairs) - len(fair)} more have no point in common)" if len(pairs) > len(fair) else ""
            sentences.append(
                f"With the same {title}, the best batch run wins in {batch} of {count(len(fair), 'setting')} and the "
                f"full-sample run in {full}{ties}{left_out}."
            )
        elif pairs:
            sentences.append(pairs[0].reason)
    return list(dict.fromkeys(sentences))


def shared_scan(runs: Sequence[Run]) -> list[str]:
    """Explain what the times mean if runs shared a scan."""
    shared = {int(run["time/shared_by"]) for run in runs if has(run, "time/shared_by")}
    if not shared - {1}:
        return []
    lanes = " or ".join(map(str, sorted(shared)))
    return [
        f"scan s and scan rows/s are measured for a whole scan of {lanes} lanes, not for single runs. Runs that differ "
        "only in epochs share a lane."
    ]


def _more(value: float, best: float) -> str:
    ratio = value / best if value > best > 0 else 1
    return "" if ratio == 1 else f" ({ratio - 1:.2%} higher)" if ratio < 2 else f" ({ratio:.3g} times as high)"


def _memory(run: Run) -> str:
    return f", {memory(run[_MEMORY])} per update" if has(run, _MEMORY) else ""
