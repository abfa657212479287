"""Saved views: what the UI will read, and where it will show it."""

from __future__ import annotations

import base64
import json
import re
import zlib
from typing import Any

import pytest

from harness.views import FULL_COLOUR, addresses, colours, saved_views, varying

SWEEP = "0123456789abcdef" * 2
SWEPT = ["chunksize", "learning_rate", "epochs", "optimizer.name"]


def states(**options: Any) -> dict[str, dict[str, Any]]:
    """The state of each view, by its tag's key."""
    options = {"held_out": True, "labels": False} | options
    views = saved_views(SWEEP, "a sweep", SWEPT, **options)
    return {key: unpacked(value) for key, value in views.items()}


def unpacked(value: str) -> dict[str, Any]:
    kind, _, packed = json.loads(value)["state"].partition(";")
    assert kind == "deflate"
    return json.loads(zlib.decompress(base64.b64decode(packed)))


def test_the_table_has_the_sweeps_runs_and_columns() -> None:
    for state in states().values():
        assert state["searchFilter"] == f"tags.sweep LIKE '%{SWEEP}%' and tags.kind = 'run'"
        assert state["selectedColumns"][:5] == [*(f"params.`{key}`" for key in SWEPT), "tags.`sample`"]
        assert {"metrics.`val/loss`", "metrics.`val/rmse`", "metrics.`updates`"} < set(state["selectedColumns"])
        assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`val/loss`", True)


@pytest.mark.parametrize(
    ("options", "there", "not_there"),
    [
        ({"held_out": False}, {"train/loss"}, {"val/loss", "val/rmse", "val/auc"}),
        ({"labels": True}, {"val/loss", "val/accuracy", "val/auc"}, {"val/rmse", "val/r2"}),
    ],
)
def test_columns_and_charts_are_of_metrics_that_the_runs_have(
    options: dict[str, bool], there: set[str], not_there: set[str]
) -> None:
    for state in states(**options).values():
        columns = {column.split("`")[1] for column in state["selectedColumns"]}
        charts = {chart["metricKey"] for chart in state["compareRunCharts"]}
        assert there < columns
        assert not columns & not_there
        assert "train/loss" in charts
        assert not charts & not_there


def test_each_chart_is_in_a_section_of_its_own_axis() -> None:
    state = next(iter(states().values()))
    sections = {section["uuid"]: section["name"] for section in state["compareRunSections"]}
    axes = {
        (sections[chart["metricSectionId"]], chart["xAxisKey"], chart["selectedXAxisMetricKey"])
        for chart in state["compareRunCharts"]
    }
    assert axes == {
        ("By epoch", "step", ""),
        ("By updates", "metric", "updates"),
        ("By training time", "metric", "time/train_s"),
        ("Loss of each chunk, by update", "step", ""),
    }
    assert len({chart["uuid"] for chart in state["compareRunCharts"]}) == len(state["compareRunCharts"])


def test_the_addresses_name_the_views_and_are_the_same_at_each_call() -> None:
    found = addresses("http://127.0.0.1:5000/", "7", SWEEP)
    assert list(found) == ["runs", "charts"]
    ids = [re.search(r"viewStateShareKey=([0-9a-f]{32})", address)[1] for address in found.values()]  # type: ignore[index]
    assert [f"mlflow.sharedViewState.{share}" for share in ids] == list(states())
    assert all(address.startswith("http://127.0.0.1:5000/#/experiments/7/runs?") for address in found.values())
    assert found["charts"].endswith("&compareRunsMode=CHART")
    assert found == addresses("http://127.0.0.1:5000", "7", SWEEP) != addresses("http://127.0.0.1:5000", "7", "f" * 32)


def test_a_view_is_small_enough_for_a_tag() -> None:
    """MLflow takes 5,000 characters."""
    swept = [f"model.some_long_argument_{number}" for number in range(60)]
    views = saved_views(SWEEP, "n" * 5000, swept, held_out=True, labels=False)
    assert max(map(len, views.values())) < 5000


def test_what_sets_runs_apart() -> None:
    common = {"chunksize": "1", "learning_rate": "0.1", "epochs": "2", "runtime.threads": "1"}
    runs = [
        common | {"optimizer.name": "adam", "optimizer.beta_1": "0.9", "seed": "0"},
        common | {"optimizer.name": "sgd", "seed": "0", "runtime.threads": "2", "data.path": "elsewhere"},
    ]
    assert varying(runs) == ["chunksize", "learning_rate", "epochs", "optimizer.name"]


def test_colours() -> None:
    found = colours(["1000", "full", "100", "10", "100"])
    assert found["full"] == FULL_COLOUR
    assert sorted(found) == ["10", "100", "1000", "full"]
    blues = [found[size] for size in ("10", "100", "1000")]
    assert all(re.fullmatch("#[0-9A-F]{6}", colour) for colour in blues)
    assert blues == sorted(blues, reverse=True)  # Darker and darker.
    assert colours(["10"])["10"] != colours(["100000"])["100000"]
