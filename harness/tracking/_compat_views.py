"""Saves two views of a sweep in MLflow's UI: the table of its runs, and their charts.

Reason: the UI keeps saved views in tags of the experiment, in an undocumented format; there is no API for them.
Gain: a sweep's runs and charts are one click away, with the columns and axes that matter. Test:
`tests/tracking/test_browser.py` opens both views in a browser. Fallback: a UI version that does not understand the
format shows the experiment's page with its default columns.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
import uuid
import zlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from harness.config.metrics import BY_UPDATE, epoch_metrics, greater_is_better
from harness.tracking.pages import view_page

_FIRST_COLUMNS = ("attributes.`Run Name`",)


def saved_views(
    sweep_id: str, name: str, swept: Sequence[str], recorded: Collection[str], deciding: str
) -> dict[str, str]:
    """Return the tags of the experiment that hold a sweep's two views.

    Args:
        sweep_id: Id of the summary run.
        name: The views' name in the UI.
        swept: Params to show as columns.
        recorded: Metrics of the runs.
        deciding: The deciding metric.
    """
    scores = [key for key in epoch_metrics(recorded) if key != "train/loss"]
    losses = list(dict.fromkeys([deciding, *scores, "train/loss"]))
    metrics = [*losses, "updates", "time/alone_s", "memory/update_mb"]
    # The deciding metric comes first, since a laptop's screen has room for only a few columns.
    columns = [f"metrics.`{deciding}`", *(f"params.`{key}`" for key in swept), "tags.`sample`"]
    columns += [f"metrics.`{key}`" for key in metrics[1:]]
    state = {
        "searchFilter": f"tags.sweep LIKE '%{sweep_id}%' and tags.kind = 'run'",
        "orderByKey": f"metrics.`{metrics[0]}`",
        "orderByAsc": not greater_is_better(deciding),
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": columns,
        "columnOrder": [*_FIRST_COLUMNS, *columns],
        "columnWidths": dict.fromkeys(_FIRST_COLUMNS, 230) | dict.fromkeys(columns, 100),
        "runsHiddenMode": "SHOW_ALL",
        "hideEmptyCharts": True,
        "isAccordionReordered": True,
        **_charts(sweep_id, metrics),
    }
    return {
        f"mlflow.sharedViewState.{_share_id(sweep_id, kind)}": _packed(f"{title}: {name}", state)
        for kind, title in (("runs", "Runs"), ("charts", "Charts"))
    }


def addresses(server: str, experiment_id: str, sweep_id: str) -> dict[str, str]:
    """Return the URLs of a sweep's views on a server, keyed by what they show: `runs` and `charts`."""
    runs, charts = (
        f"{server.rstrip('/')}/{view_page(experiment_id, _share_id(sweep_id, kind))}" for kind in ("runs", "charts")
    )
    return {"runs": runs, "charts": f"{charts}&compareRunsMode=CHART"}


def _charts(sweep_id: str, metrics: Sequence[str]) -> dict[str, Any]:
    """Return the charts of both views, with a section for each x-axis."""
    first = ("val/loss", "train/loss", metrics[0], "val/rmse", "val/accuracy")
    losses = [key for key in dict.fromkeys(first) if key in metrics]
    by_update = [f"{BY_UPDATE}{key}" for key in losses if key in (metrics[0], "val/loss", "train/loss")]
    shown = {"By epoch": losses, "By updates": by_update, "Loss of each chunk, by update": ["train/chunk_loss"]}
    sections, charts = [], []
    for title, keys in shown.items():
        section = _uuid(sweep_id, title)
        sections.append({"uuid": section, "name": title, "display": True, "isReordered": True, "columns": 2})
        charts += [_line(_uuid(sweep_id, title, key), section, key) for key in keys]
    return {"compareRunCharts": charts, "compareRunSections": sections}


def _line(chart: str, section: str, key: str) -> dict[str, Any]:
    return {
        "type": "LINE",
        "uuid": chart,
        "metricSectionId": section,
        "metricKey": key,
        "selectedMetricKeys": [key],
        "xAxisKey": "step",
        "selectedXAxisMetricKey": "",
        "useGlobalXaxisKey": False,
        # Full-sample runs make hundreds of times fewer updates than batch runs.
        "xAxisScaleType": "log" if key == "train/chunk_loss" or key.startswith(BY_UPDATE) else "linear",
        "scaleType": "linear",
        "lineSmoothness": 0,
        "useGlobalLineSmoothing": False,
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "range": {},
        "runsCountToCompare": 100,
        "deleted": False,
        "isGenerated": False,
    }


def _share_id(sweep_id: str, kind: str) -> str:
    return hashlib.blake2b(f"{sweep_id} {kind}".encode(), digest_size=16).hexdigest()


def _uuid(*words: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, " ".join(words)))


def _packed(name: str, state: Mapping[str, Any]) -> str:
    now = int(time.time() * 1000)
    packed = base64.b64encode(zlib.compress(json.dumps(state).encode(), 9)).decode()
    return json.dumps({"name": name[:80], "createdAt": now, "updatedAt": now, "state": f"deflate;{packed}"})
