"""Text tables: runs side by side, full sample vs. batch, and the time to a target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pandas as pd

from harness.analysis.comparison import Comparison
from harness.analysis.confirmed import TRIAL
from harness.analysis.objective import Run, chunksize, has, objective, settings
from harness.analysis.replicates import COUNT, SPREAD
from harness.analysis.time_to_target import TimeToTarget
from harness.config.metrics import epoch_metrics, greater_is_better, test_metrics
from harness.formatting import data_size, millions, number, score
from harness.runtime.secrets import shown
from harness.tracking.frames import SHORT, Sweep, state_of
from harness.tracking.ranking import LOST
from harness.tracking.run_tags import PRUNED, RESTORED_EPOCH, STOPPED

Column = list[str]
"""A title, possibly of several lines, and one cell per row."""

Format = Callable[[float], str]
BETTER = "*"
LONGEST_CELL = 30
"""Maximum number of characters of a setting in the table of runs."""


ALONE = "time/alone_s"


class Metric(NamedTuple):
    """A column of the table of runs: its title, the metric's key, and how values are formatted."""

    title: str
    key: str
    write: Format = number


def _megabytes(value: float) -> str:
    return data_size(1e6 * value)


UPDATES = Metric("updates", "updates")
OTHERS = (
    Metric("inter-\ncept", "intercept"),
    Metric("slope", "slope"),
    Metric("train\ns", "time/train_s", "{:.2g}".format),
    Metric("alone\ns", ALONE, "{:.2g}".format),
    Metric("rows\n/s", "rows_per_second", millions),
    Metric("memory/\nupdate", "memory/update_mb", _megabytes),
)
"""Columns of `harness compare` and the report after the metrics; columns without values are dropped."""

_SCAN_KEYS = ("time/train_s", "rows_per_second")
"""Equal for all runs of a scan, so the times of single updates are shown instead if available."""

_SCAN_TITLES = {"train\ns": "scan\ns", "rows\n/s": "scan\nrows/s"}
"""Titles used if several runs shared a scan."""


def one_line(title: str) -> str:
    """Return a column's title without line breaks."""
    return " ".join(title.replace("-\n", "").replace("/\n", "/").replace("_\n", "_").split())


def _repetitions(run: Run) -> str:
    """Return how many repetitions of a setting finished and, if some failed or were pruned, how many there were."""
    of = f" of {run[COUNT] + run[LOST]:.0f}" if has(run, LOST) and run[LOST] else ""
    return f"{run[COUNT]:.0f}{of}" if has(run, COUNT) else ""


def run_columns(sweep: Sweep, runs: Sequence[Run]) -> list[Column]:
    """Return the table of `runs`: first the settings that vary, then the metrics, the least important last."""
    columns = [["run", *(str(run["run_id"])[:SHORT] for run in runs)]]
    columns += [_setting_column(key, runs) for key in settings(sweep)]
    shared = any(has(run, "time/shared_by") and run["time/shared_by"] > 1 for run in runs)
    deciding = objective(sweep.runs).metric
    is_alone = shared and any(has(run, ALONE) for run in runs)
    shown_metrics = [metric for metric in _metrics(sweep) if not (is_alone and metric.key in _SCAN_KEYS)]
    metrics = [_metric_column(metric, runs, deciding) for metric in shown_metrics]
    metrics = [[_SCAN_TITLES.get(title, title) if shared else title, *cells] for title, *cells in metrics if any(cells)]
    # For runs that did not finish, the first metric's column shows how they ended.
    first = metrics.pop(0) if metrics else ["", *("" for _ in runs)]
    if any(has(run, COUNT) for run in runs):
        columns += [["runs", *map(_repetitions, runs)]]
    if any(has(run, TRIAL) for run in runs):
        columns += [["as\ntrial", *(number(run[TRIAL]) if has(run, TRIAL) else "" for run in runs)]]
    if any(has(run, STOPPED) for run in runs):
        columns += [["stopped\nat", *(f"{run[STOPPED]:g}" if has(run, STOPPED) else "" for run in runs)]]
    if any(has(run, RESTORED_EPOCH) for run in runs):
        columns += [["kept\nepoch", *(f"{run[RESTORED_EPOCH]:g}" if has(run, RESTORED_EPOCH) else "" for run in runs)]]
    columns += [[first[0], *(_ending(run) or cell for run, cell in zip(runs, first[1:], strict=True))]]
    return columns + metrics


def _metrics(sweep: Sweep) -> list[Metric]:
    """Return the metrics to show; the deciding one comes first."""
    deciding = objective(sweep.runs).metric
    keys = [key for key in epoch_metrics(sweep.runs) if key == deciding or key.split("/")[1] != "mae"]  # Like val/rmse.
    keys.sort(key=lambda key: key not in ("train/loss", "val/loss", deciding))
    keys += [key for key in test_metrics(sweep.runs) if key.split("/")[1] != "mae"]
    shown = [Metric(_metric_title(key), key, score if greater_is_better(key) else number) for key in keys]
    return [UPDATES, *shown, *OTHERS]


def _metric_title(key: str) -> str:
    """Split a metric's key into lines: one per part, and one per word of the metric's own name."""
    part, *rest = key.split("/")
    return "/\n".join([part, *(each.replace("_", "_\n") if index == 0 else each for index, each in enumerate(rest))])


def comparison_columns(comparisons: Sequence[Comparison]) -> list[Column]:
    """Return the table of full sample vs. batch, one row per chunksize and setting; `*` marks the better one."""
    by_setting: dict[tuple, dict[str, Comparison]] = {}
    for each in comparisons:
        by_setting.setdefault((each.chunksize, *each.setting.items()), {})[each.axis] = each
    rows = list(by_setting.values())
    same = [row["epochs"] for row in rows]
    columns = [["chunk", *(str(each.chunksize) for each in same)]] if same else []
    columns += _shared_settings([each.setting for each in same])
    columns += _sides(same, "same\nepochs")
    columns += _intervals(same)
    for title, key, write in (("updates", "updates", "{:,.0f}".format), ("memory", "memory_mb", _megabytes)):
        for side in ("full", "batch"):
            columns += [[f"\n{title}\n{side}", *(_cell(getattr(each, f"{side}_{key}"), write) for each in same)]]
    for axis, write in (("updates", "{:,.0f}".format), ("time", "{:.3g}s".format)):
        each_row = [row[axis] for row in rows]
        if any(each.better for each in each_row):
            title = f"same\n{axis}{' alone' if any(each.is_alone for each in each_row) else ''}"
            columns += [[f"{title}\n", *(_cell(each.at, write) for each in each_row)]]
            columns += _sides(each_row, title)
    return columns


def target_columns(times: Sequence[TimeToTarget]) -> list[Column]:
    """Return the table of how long each chunksize and setting takes to reach a target."""
    if not times:
        return []
    shared = any((each.shared_by or 1) > 1 for each in times)
    is_alone = any(each.is_alone for each in times)
    columns = [["chunk", *(str(each.chunksize or "full") for each in times)]]
    columns += _shared_settings([each.setting for each in times])
    columns += [
        ["epochs", *("not reached" if each.epochs is None else number(each.epochs) for each in times)],
        ["updates", *(_cell(each.updates) for each in times)],
        [
            "s alone" if is_alone else "scan s" if shared else "train s",
            *(_cell(each.seconds, "{:.2g}".format) for each in times),
        ],
    ]
    if any(each.seeds > 1 for each in times):
        columns += [["seeds", *(f"{each.reached} of {each.seeds}" for each in times)]]
    return columns


def _shared_settings(rows: Sequence[dict[str, Any]]) -> list[Column]:
    keys = dict.fromkeys(key for row in rows for key in row)
    return [[_title(key), *(_cell(row.get(key)) for row in rows)] for key in keys]


def _sides(comparisons: Sequence[Comparison], title: str) -> list[Column]:
    def cell(each: Comparison, side: str) -> str:
        value, std = getattr(each, side), getattr(each, f"{side}_std")
        if value is None:
            return "-"
        return number(value) + (_spread(std) if std is not None else "") + (BETTER if each.better == side else " ")

    return [
        [f"{title}\nfull", *(cell(each, "full") for each in comparisons)],
        [f"{title}\nbatch", *(cell(each, "batch") for each in comparisons)],
    ]


def _intervals(comparisons: Sequence[Comparison]) -> list[Column]:
    """Return the columns of repetitions, if there are any."""
    if all(each.seeds < 2 for each in comparisons):
        return []
    columns = [["pairs", *(str(each.seeds) for each in comparisons)]]
    if any(each.interval for each in comparisons):
        columns += [["batch - full,\nmean [95% interval]", *(_interval(each) for each in comparisons)]]
    return columns


def _interval(each: Comparison) -> str:
    if each.difference is None or each.interval is None:
        return "-"
    mean, low, high = map(_signed, (each.difference, *each.interval))
    return f"{mean} [{low}, {high}]"


def _signed(value: float) -> str:
    return f"{value:+.2g}" if abs(value) < 99.5 else f"{value:+,.0f}"


def _spread(std: float) -> str:
    return f"±{std:.1g}" if std < 9.5 else f"±{std:,.0f}"


def _cell(value: Any, write: Format = "{:g}".format) -> str:
    if isinstance(value, str):
        return shown(value.rpartition(".")[-1])
    return "-" if value is None or pd.isna(value) else write(value)


def _title(key: str) -> str:
    short = {"chunksize": "chunk", "learning_rate": "lr"}
    return short.get(key) or shown(key.removesuffix("._target_").removesuffix(".name").rpartition(".")[-1])


def _setting_column(key: str, runs: Sequence[Run]) -> Column:
    if key == "chunksize":
        return ["chunk", *map(chunksize, runs)]
    values = [run[key] if has(run, key) else "" for run in runs]
    cells = [f"{value:g}" if isinstance(value, float) else shown(value) for value in values]
    if max(map(len, cells), default=0) > LONGEST_CELL:
        cells = _what_differs(cells)
    return [_title(key), *(cell.rpartition(".")[-1] if key.endswith("_target_") else cell for cell in cells)]


def _what_differs(cells: Sequence[str]) -> list[str]:
    """Shorten long settings: for lists, show only the entries that differ; cut other text."""
    lists = [cell[1:-1].split(",") if cell[:1] + cell[-1:] == "[]" else [cell] for cell in cells]
    common = set.intersection(*map(set, lists))
    own = [[entry for entry in each if entry not in common] for each in lists]
    kept = [",".join(["...", *each] if common else each) for each in own]
    return [text if len(text) <= LONGEST_CELL else f"{text[: LONGEST_CELL - 3]}..." for text in kept]


def _metric_column(metric: Metric, runs: Sequence[Run], deciding: str) -> Column:
    def cell(run: Run) -> str:
        if not has(run, metric.key) or _ending(run):
            return ""
        spread = _spread(run[SPREAD]) if metric.key == deciding and has(run, SPREAD) else ""
        return metric.write(run[metric.key]) + spread

    return [metric.title, *map(cell, runs)]


def _ending(run: Run) -> str:
    """Return how a run ended, or an empty string if it finished."""
    if run["status"] == "FINISHED":
        return ""
    if has(run, PRUNED):
        return f"pruned at {run[PRUNED]:g}"
    return state_of(run["status"], diverged=has(run, "diverged_at"))
