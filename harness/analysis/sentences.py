"""Summarizes a sweep's tables in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.analysis.comparison import Comparison
from harness.analysis.confirmed import TRIAL, contenders
from harness.analysis.objective import Objective, Run, has
from harness.analysis.replicates import COUNT, SPREAD
from harness.config.metrics import TEST, VAL
from harness.formatting import count, data_size, number
from harness.tracking.ranking import LOST
from harness.tracking.run_tags import EFFORT, PRUNED, RESTORED_EPOCH, STOPPED

_MEMORY = "memory/update_mb"
MOST_SIZES = 4
"""Maximum number of chunksizes that a sentence lists individually."""


def best_runs(runs: Sequence[Run], objective: Objective) -> list[str]:
    """Describe the best batch run and the best full-sample run in one sentence each; `runs` are sorted, best first."""
    sentences = []
    for sample in ("batch", "full"):
        for best in contenders(runs, objective, sample)[:1]:
            kind = "full-sample run" if sample == "full" else f"batch run (chunks of {best['chunksize']} rows)"
            epochs, last = _epochs(best)
            effort = f"{count(_updates(best), 'update')} in {count(epochs, 'epoch')}"
            effort += f", the best of {last:g} epochs" if epochs < last else ""
            result = f"{objective.metric} {number(best[objective.metric])}{_of_several(best)}{_test(best, objective)}"
            sentences.append(f"Best {kind}: {result} after {effort}{_memory(best)}.")
    return [*sentences, *choice(runs, objective)]


def missing_kind(runs: Sequence[Run], objective: Objective) -> list[str]:
    """Return advice if all finished runs are batch runs, or all are full-sample runs."""
    kinds = {run["sample"] for run in runs if objective.decides(run)}
    if kinds == {"batch"}:
        return ["There is no full-sample run to compare with. Add full to chunksize."]
    if kinds == {"full"}:
        return ["There is no batch run to compare with. Add chunks, for example chunksize=full,100."]
    return []


def choice(runs: Sequence[Run], objective: Objective) -> list[str]:
    """Explain the bias if the best runs were chosen by the metric shown; `runs` are sorted."""
    finished = [run for run in runs if objective.decides(run)]
    bests = [run for sample in ("batch", "full") for run in contenders(runs, objective, sample)[:1]]
    if bests and all(has(run, TRIAL) for run in bests):
        return _confirmed(bests, objective)
    tried = [run for run in runs if objective.decides(run) or has(run, PRUNED)]
    sizes = [sum(run["sample"] == sample for run in tried) for sample in ("batch", "full")]
    test = test_key(objective.metric)
    if max(sizes) < 2 or not test:
        return []
    if any(has(run, test) for run in finished):
        return [f"{test} is computed on rows that were not used for training or for choosing the best runs."]
    what = "setting" if any(has(run, COUNT) and run[COUNT] > 1 for run in tried) else "run"
    names = (f"batch {what}", f"full-sample {what}")
    kinds = [count(size, name) for size, name in zip(sizes, names, strict=True) if size]
    verb = "are" if len(kinds) > 1 else "is"
    favored = f", especially for the kind with more {what}s" if min(sizes) and sizes[0] != sizes[1] else ""
    return [
        f"The best of {' and '.join(kinds)} {verb} chosen by the {objective.metric} shown, whose value is therefore "
        f"optimistic{favored}. data.test=0.1 sets aside rows on which only the chosen runs are evaluated."
    ]


def _confirmed(bests: Sequence[Run], objective: Objective) -> list[str]:
    """Explain what confirmed runs are, and how their difference compares with the variation over seeds."""
    metric = objective.metric
    sentences = [
        f"The best settings were chosen by the {metric} of one trial each; the values shown come from other runs of "
        "the same settings, with other seeds."
    ]
    if len(bests) == 2 and all(has(run, SPREAD) for run in bests):
        better, gain = (
            min(bests, key=lambda run: objective.sign * run[metric]),
            abs(bests[0][metric] - bests[1][metric]),
        )
        error = sum(run[SPREAD] ** 2 / run[COUNT] for run in bests) ** 0.5
        kind = "batch" if better["sample"] == "batch" else "full-sample"
        sentences.append(
            f"The best {kind} setting is better by {number(gain)} on average; the standard error of this difference "
            f"over seeds is {number(error)}."
        )
    return sentences


def _epochs(run: Run) -> tuple[float, float]:
    """Return the epoch whose model a run has kept, and its last epoch."""
    last = float(run[STOPPED] if has(run, STOPPED) else run["epochs"])
    return float(run[RESTORED_EPOCH]) if has(run, RESTORED_EPOCH) else last, last


def _updates(run: Run) -> float:
    """Return the number of updates behind a run's result."""
    kept, last = _epochs(run)
    return run["updates"] * kept / last


def test_key(metric: str) -> str:
    """Return the test metric that corresponds to a holdout metric, or an empty string."""
    return metric.replace(VAL, TEST, 1) if metric.startswith(VAL) else ""


def _of_several(run: Run) -> str:
    """Return how many runs a result is the mean of, and the result of its trial in a search, as text."""
    several = has(run, COUNT) and run[COUNT] > 1
    how = "mean of {:.0f} runs" if has(run, SPREAD) else "equal in {:.0f} repetitions"
    mean = how.format(run[COUNT]) if several else ""
    lost = f"{count(run[LOST], 'other run')} did not finish" if has(run, LOST) and run[LOST] else ""
    trial = f"{number(run[TRIAL])} as a trial" if has(run, TRIAL) else ""
    told = ", ".join(filter(None, (mean, lost, trial)))
    return f" ({told})" if told else ""


def _test(run: Run, objective: Objective) -> str:
    key = test_key(objective.metric)
    return f", {key} {number(run[key])}" if key and has(run, key) else ""


def conclusion(runs: Sequence[Run], objective: Objective) -> str:
    """Describe the best run, and how the best run of the other kind compares; `runs` are sorted, best first."""
    metric = objective.metric
    bests = [run for sample in ("batch", "full") for run in contenders(runs, objective, sample)[:1]]
    bests.sort(key=runs.index)
    if not bests:
        return "No run has finished."
    best = bests[0]
    text = f"The best run is {best['name']}: {metric} {number(best[metric])}{_test(best, objective)} "
    text += f"after {count(_updates(best), 'update')}"
    if len(bests) == 1:
        return f"{text}{_memory(best)}."
    other = bests[1]
    kind = "full-sample" if other["sample"] == "full" else "batch"
    more = _more(other[metric], best[metric]) if objective.sign > 0 else ""
    text += f"; the best {kind} run, {other['name']}, reaches {number(other[metric])}{more}{_test(other, objective)} "
    text += f"after {count(_updates(other), 'update')}"
    if not (has(best, _MEMORY) and has(other, _MEMORY)):
        return f"{text}."
    ratio = other[_MEMORY] / best[_MEMORY]
    needs = f"{number(ratio)} times the memory" if ratio >= 1 else f"1/{number(1 / ratio)} of the memory"
    return f"{text} and needs {needs} per update."


def verdict(comparisons: Sequence[Comparison]) -> list[str]:
    """Summarize how often each chunksize is better than the full sample, and why some runs cannot be compared."""
    sentences = []
    axes = {"epochs": "number of epochs (and rows)", "updates": "number of updates", "time": "training time"}
    for axis, title in axes.items():
        pairs = [each for each in comparisons if each.axis == axis]
        fair = [each for each in pairs if each.better]
        if fair:
            alone = ", measured alone and scaled" if any(each.is_alone for each in fair) else ""
            missing = len(pairs) - len(fair)
            left_out = f" ({missing} more {'has' if missing == 1 else 'have'} no point in common)" if missing else ""
            sentences.append(f"After the same {title}{alone}, {_wins(fair)}{left_out}.")
        elif pairs:
            sentences.append(pairs[0].reason)
    return list(dict.fromkeys([*sentences, *_repetitions(comparisons)]))


def _wins(fair: Sequence[Comparison]) -> str:
    """Count the wins of each chunksize, or of all together if there are many."""
    sizes = sorted({each.chunksize for each in fair}, reverse=True)
    groups = [(f"chunks of {size:,} rows", [each for each in fair if each.chunksize == size]) for size in sizes]
    if len(sizes) > MOST_SIZES:
        groups = [(f"{len(sizes)} chunksizes", list(fair))]
    what = "comparison" if len(sizes) > MOST_SIZES else "setting"
    found = []
    for title, some in groups:
        batch, equal = (sum(each.better == side for each in some) for side in ("batch", "equal"))
        ties = f" and tie in {equal}" if equal else ""
        if found:
            found.append(f"{title} in {batch} of {len(some)}{ties}")
        else:
            found.append(f"{title} beat the full sample in {batch} of {count(len(some), what)}{ties}")
    *others, last = found
    return f"{', '.join(others)}, and {last}" if others else last


def _repetitions(comparisons: Sequence[Comparison]) -> list[str]:
    """Explain the intervals, or why there are none."""
    repeated = [each for each in comparisons if each.seeds > 1]
    sentences = []
    if any(not each.varies for each in repeated):
        sentences.append(
            "Runs that differ only in seed or split are bit-identical: nothing varied, so there is no interval. Use "
            "model.init=random, data.order=shuffled, data.split_seed or data.folds to make repetitions differ."
        )
    several = max((each.adjusted_for for each in repeated), default=0)
    if several > 1:
        sentences.append(
            f"Intervals are adjusted for {several} comparisons (Holm): if there were no difference anywhere, at most "
            "one sweep in twenty would have an interval that excludes 0."
        )
    intervals = [each.interval for each in repeated if each.interval and each.axis == "epochs"]
    if intervals:
        clear = sum(low > 0 or high < 0 for low, high in intervals)
        if clear == len(intervals):
            found = "every interval excludes 0"
        elif clear:
            found = f"{clear} of {len(intervals)} intervals exclude 0; elsewhere, differences may be due to chance"
        else:
            found = "no interval excludes 0, so differences may be due to chance"
        sentences.append(f"After the same number of epochs, {found}.")
    return sentences


def tuned(tags: Mapping[str, str]) -> list[str]:
    """Describe how the runs of a search were tuned, given the tags of its summary run."""
    pruned = " Pruned runs are not compared." if tags.get(EFFORT, "").startswith("halving") else ""
    return [f"Tuned by {tags[EFFORT]}.{pruned}"] if EFFORT in tags else []


def shared_scan(runs: Sequence[Run]) -> list[str]:
    """Explain the times if runs shared a scan."""
    lanes = lanes_of_scans(runs)
    if not lanes:
        return []
    if any(has(run, "time/alone_s") for run in runs):
        together = f"All {lanes} lanes were trained together by one scan, whose time is"
        if " or " in lanes or len(runs) > int(lanes) * len({run["epochs"] for run in runs}):
            together = f"The {lanes} lanes of a scan were trained together; the time of all scans is"
        return [
            "alone s is a run's number of updates times the time of one update, measured on its own after "
            f"training. {together} in the summary run."
        ]
    return [
        f"scan s and scan rows/s are measured for a whole scan of {lanes} lanes, not for single runs. Runs that differ "
        "only in epochs share a lane."
    ]


def lanes_of_scans(runs: Sequence[Run]) -> str:
    """Return how many lanes the scans of `runs` had, such as `4 or 12`; empty if no run shared a scan."""
    lanes = {int(run["time/shared_by"]) for run in runs if has(run, "time/shared_by")}
    return " or ".join(map(str, sorted(lanes))) if lanes - {1} else ""


def _more(value: float, best: float) -> str:
    ratio = value / best if value > best > 0 else 1
    return "" if ratio == 1 else f" ({ratio - 1:.2%} higher)" if ratio < 2 else f" ({ratio:.3g} times as high)"


def _memory(run: Run) -> str:
    return f", {data_size(1e6 * run[_MEMORY])} per update" if has(run, _MEMORY) else ""
