"""A sweep's saved views in MLflow's UI: the table of its runs, and their charts."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import time
import uuid
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

FULL_COLOUR = "#D55E00"
"""Of full-sample runs; the vermilion of Okabe and Ito's palette, which the colour-blind tell from every blue."""

_LIGHT, _DARK = (0x6F, 0xC1, 0xF2), (0x00, 0x2F, 0x5C)
_FIRST_COLUMNS = ("attributes.`Run Name`",)
_ALWAYS = ("chunksize", "learning_rate", "epochs")
_APART = ("runtime.", "tracking.", "data.path", "data.rows", "data.origin")


def varying(params: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the params that set a sweep's runs apart: chunksize, learning rate, epochs, and what else differs.

    A setting that only some runs have, one of an optimizer for example, is no difference: the optimizer's name is.
    """
    keys = dict.fromkeys(key for values in params for key in values if not key.startswith(_APART))
    differ = (key for key in keys if len({str(values[key]) for values in params if key in values}) > 1)
    return [*_ALWAYS, *(key for key in differ if key not in _ALWAYS)]


def colours(chunksizes: Sequence[str]) -> dict[str, str]:
    """Return a colour for each chunksize: `full` has its own, numbers are blues, darker the longer the chunk.

    One number alone has the blue of its magnitude, so that runs of jobs that know nothing of each other differ too.
    """
    numbers = sorted({size for size in chunksizes if size != "full"}, key=int)
    shades = {"full": FULL_COLOUR}
    for place, size in enumerate(numbers):
        depth = place / (len(numbers) - 1) if len(numbers) > 1 else min(math.log10(int(size)) / 6, 1)
        mixed = (round(light + depth * (dark - light)) for light, dark in zip(_LIGHT, _DARK, strict=True))
        shades[size] = "#" + "".join(f"{channel:02X}" for channel in mixed)
    return shades


def saved_views(sweep_id: str, name: str, swept: Sequence[str], *, held_out: bool, labels: bool) -> dict[str, str]:
    """Return the experiment's tags that hold a sweep's two views.

    Args:
        sweep_id: The summary run's.
        name: What the views are called in the UI.
        swept: Params to show as columns.
        held_out: Whether there are metrics of a holdout.
        labels: Whether labels are predicted.
    """
    scores = ["val/accuracy", "val/auc"] if labels else ["val/rmse", "val/mae", "val/r2"]
    losses = ["val/loss", *scores, "train/loss"] if held_out else ["train/loss"]
    metrics = [*losses, "updates", "time/train_s", "memory/update_mb"]
    columns = [*(f"params.`{key}`" for key in swept), "tags.`sample`", *(f"metrics.`{key}`" for key in metrics)]
    state = {
        "searchFilter": f"tags.sweep LIKE '%{sweep_id}%' and tags.kind = 'run'",
        "orderByKey": f"metrics.`{metrics[0]}`",
        "orderByAsc": True,
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
    """Return where a server shows a sweep's views, by what they show."""
    page = f"{server.rstrip('/')}/#/experiments/{experiment_id}/runs?workflowType=machine_learning&viewStateShareKey="
    runs, charts = (_share_id(sweep_id, kind) for kind in ("runs", "charts"))
    return {"runs": f"{page}{runs}", "charts": f"{page}{charts}&compareRunsMode=CHART"}


def _charts(sweep_id: str, metrics: Sequence[str]) -> dict[str, Any]:
    """Return the charts of both views: a section for each thing that losses are compared against."""
    losses = [key for key in ("val/loss", "train/loss", "val/rmse") if key in metrics]
    axes = {"By epoch": "", "By updates": "updates", "By training time": "time/train_s"}
    sections, charts = [], []
    for title, metric in axes.items():
        section = _uuid(sweep_id, title)
        sections.append({"uuid": section, "name": title, "display": True, "isReordered": True})
        charts += [_line(_uuid(sweep_id, title, key), section, key, metric) for key in losses]
    section = _uuid(sweep_id, "chunks")
    sections.append({"uuid": section, "name": "Loss of each chunk, by update", "display": True, "isReordered": True})
    charts.append(_line(_uuid(sweep_id, "chunk_loss"), section, "train/chunk_loss", ""))
    return {"compareRunCharts": charts, "compareRunSections": sections}


def _line(chart: str, section: str, key: str, axis_metric: str) -> dict[str, Any]:
    return {
        "type": "LINE",
        "uuid": chart,
        "metricSectionId": section,
        "metricKey": key,
        "selectedMetricKeys": [key],
        "xAxisKey": "metric" if axis_metric else "step",
        "selectedXAxisMetricKey": axis_metric,
        "useGlobalXaxisKey": False,
        # Full-sample runs take hundreds of times fewer updates than batch runs; the UI has logarithms for steps only.
        "xAxisScaleType": "log" if key == "train/chunk_loss" else "linear",
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
