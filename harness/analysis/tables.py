"""Text tables: runs side by side, full sample against batch, and the time to a target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pandas as pd

from harness.analysis.comparison import Comparison
from harness.analysis.objective import Run, chunksize, has, objective, settings
from harness.analysis.time_to_target import TimeToTarget
from harness.config.metrics import epoch_metrics, greater_is_better
from harness.formatting import memory, millions, number, score
from harness.runtime.secrets import shown
from harness.tracking.frames import SHORT, Sweep, state_of
from harness.tracking.run_tags import PRUNED, STOPPED

Column = list[str]
"""A title, which may have several lines, and one cell per row."""

Format = Callable[[float], str]
BETTER = "*"
LONGEST_CELL = 30
"""Maximum number of characters of a setting in the table of runs."""


class Metric(NamedTuple):
    """A column of the table of runs: its title, the metric's key, and how values are formatted."""

    title: str
    key: str
    write: Format = number


UPDATES = Metric("updates", "updates")
OTHERS = (
    Metric("inter-\ncept", "intercept"),
    Metric("slope", "slope"),
    Metric("train\ns", "time/train_s", "{:.2g}".format),
    Metric("rows\n/s", "rows_per_second", millions),
    Metric("memory/\nupdate", "memory/update_mb", memory),
)
"""Columns of `harness compare` and the report after the metrics; columns without values are dropped."""

_SCAN_TITLES = {"train\ns": "scan\ns", "rows\n/s": "scan\nrows/s"}
"""Titles where several runs shared a scan."""


def one_line(title: str) -> str:
    """Return a column's title without line breaks."""
    return " ".join(title.replace("-\n", "").replace("/\n", "/").split())


def ranked(runs: pd.DataFrame) -> list[Run]:
    """Return the finished runs, best first, then all others."""
    found = objective(runs)
    rows = runs.to_dict("records")
    return sorted(rows, key=lambda run: found.sign * run[found.metric] if found.decides(run) else float("inf"))


def run_columns(sweep: Sweep, runs: Sequence[Run]) -> list[Column]:
    """Return the table of `runs`: first the settings that vary, then the metrics, the least important last."""
    columns = [["run", *(str(run["run_id"])[:SHORT] for run in runs)]]
    columns += [_setting_column(key, runs) for key in settings(sweep)]
    shared = any(has(run, "time/shared_by") and run["time/shared_by"] > 1 for run in runs)
    metrics = [_metric_column(metric, runs) for metric in _metrics(sweep)]
    metrics = [[_SCAN_TITLES.get(title, title) if shared else title, *cells] for title, *cells in metrics if any(cells)]
    # For runs that did not finish, the first metric's column shows how they ended.
    first = metrics.pop(0) if metrics else ["", *("" for _ in runs)]
    if any(has(run, STOPPED) for run in runs):
        columns += [["stopped\nat", *(str(run[STOPPED]) if has(run, STOPPED) else "" for run in runs)]]
    columns += [[first[0], *(_ending(run) or cell for run, cell in zip(runs, first[1:], strict=True))]]
    return columns + metrics


def _metrics(sweep: Sweep) -> list[Metric]:
    """Return the metrics to show; the one that decides comes before the others."""
    deciding = objective(sweep.runs).metric
    keys = [key for key in epoch_metrics(sweep.runs) if key == deciding or key.split("/")[1] != "mae"]  # As val/rmse.
    keys.sort(key=lambda key: key not in ("train/loss", "val/loss", deciding))
    shown = [Metric(key.replace("/", "/\n"), key, score if greater_is_better(key) else number) for key in keys]
    return [UPDATES, *shown, *OTHERS]


def comparison_columns(comparisons: Sequence[Comparison]) -> list[Column]:
    """Return the table of full sample against batch, one row per setting; `*` marks the better run of a pair."""
    by_setting: dict[tuple, dict[str, Comparison]] = {}
    for each in comparisons:
        by_setting.setdefault(tuple(each.setting.items()), {})[each.axis] = each
    rows = list(by_setting.values())
    same = [row["epochs"] for row in rows]
    columns = _shared_settings([each.setting for each in same])
    columns += _sides(same, "same\nepochs")
    for title, key, write in (("updates", "updates", "{:,.0f}".format), ("memory", "memory_mb", memory)):
        for side in ("full", "batch"):
            columns += [[f"\n{title}\n{side}", *(_cell(getattr(each, f"{side}_{key}"), write) for each in same)]]
    if any(each.interval for each in same):
        columns += [["seeds", *(str(each.seeds) for each in same)]]
        columns += [["batch - full,\nmean [95 % interval]", *(_interval(each) for each in same)]]
    for axis, write in (("updates", "{:,.0f}".format), ("time", "{:.3g}s".format)):
        each_row = [row[axis] for row in rows]
        if any(each.better for each in each_row):
            columns += [[f"same\n{axis}\n", *(_cell(each.at, write) for each in each_row)]]
            columns += _sides(each_row, f"same\n{axis}")
    return columns


def target_columns(times: Sequence[TimeToTarget]) -> list[Column]:
    """Return the table of how long each chunksize and setting takes to reach a target."""
    if not times:
        return []
    shared = any((each.shared_by or 1) > 1 for each in times)
    columns = [["chunk", *(str(each.chunksize or "full") for each in times)]]
    columns += _shared_settings([each.setting for each in times])
    columns += [
        ["epochs", *("not reached" if each.epochs is None else number(each.epochs) for each in times)],
        ["updates", *(_cell(each.updates) for each in times)],
        ["scan s" if shared else "train s", *(_cell(each.seconds, "{:.2g}".format) for each in times)],
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
        return number(value) + (f"±{std:.1g}" if std is not None else "") + (BETTER if each.better == side else " ")

    return [
        [f"{title}\nfull", *(cell(each, "full") for each in comparisons)],
        [f"{title}\nbatch", *(cell(each, "batch") for each in comparisons)],
        [f"{title}\nchunk", *(str(each.chunksize or "-") for each in comparisons)],
    ]


def _interval(each: Comparison) -> str:
    if each.difference is None or each.interval is None:
        return "-"
    return f"{each.difference:+.2g} [{each.interval[0]:+.2g}, {each.interval[1]:+.2g}]"


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
    """Shorten long settings: of lists, only the entries that not all have are shown; other text is cut."""
    lists = [cell[1:-1].split(",") if cell[:1] + cell[-1:] == "[]" else [cell] for cell in cells]
    common = set.intersection(*map(set, lists))
    own = [[entry for entry in each if entry not in common] for each in lists]
    kept = [",".join(["...", *each] if common else each) for each in own]
    return [text if len(text) <= LONGEST_CELL else f"{text[: LONGEST_CELL - 3]}..." for text in kept]


def _metric_column(metric: Metric, runs: Sequence[Run]) -> Column:
    cells = [metric.write(run[metric.key]) if has(run, metric.key) and not _ending(run) else "" for run in runs]
    return [metric.title, *cells]


def _ending(run: Run) -> str:
    """Return how a run ended, or an empty string if it finished."""
    if run["status"] == "FINISHED":
        return ""
    if has(run, PRUNED):
        return f"pruned at {run[PRUNED]}"
    return state_of(run["status"], diverged=has(run, "diverged_at"))
