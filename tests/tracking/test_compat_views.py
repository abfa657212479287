"""Saved views: what the UI reads, and where it shows it."""

from __future__ import annotations

import base64
import itertools
import json
import re
import zlib
from typing import Any

import numpy as np
import pytest

from harness.config.metrics import BINARY, REGRESSION
from harness.tracking._compat_views import addresses, saved_views
from harness.tracking.run_colour import FULL_COLOUR, colour

SWEEP = "0123456789abcdef" * 2
SWEPT = ["chunksize", "learning_rate", "epochs", "optimizer.name"]


def states(**options: Any) -> dict[str, dict[str, Any]]:
    """The state of each view, by its tag's key."""
    options = {"recorded": ["train/loss", "val/loss", *REGRESSION], "deciding": "val/loss"} | options
    views = saved_views(SWEEP, "a sweep", SWEPT, **options)
    return {key: unpacked(value) for key, value in views.items()}


def unpacked(value: str) -> dict[str, Any]:
    kind, _, packed = json.loads(value)["state"].partition(";")
    assert kind == "deflate"
    return json.loads(zlib.decompress(base64.b64decode(packed)))


def test_the_table_has_the_sweeps_runs_and_columns() -> None:
    for state in states().values():
        assert state["searchFilter"] == f"tags.sweep LIKE '%{SWEEP}%' and tags.kind = 'run'"
        first = ["metrics.`val/loss`", *(f"params.`{key}`" for key in SWEPT), "tags.`sample`"]
        assert state["selectedColumns"][:6] == first
        assert {"metrics.`val/loss`", "metrics.`val/rmse`", "metrics.`updates`"} < set(state["selectedColumns"])
        assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`val/loss`", True)


@pytest.mark.parametrize(
    ("options", "there", "not_there"),
    [
        ({"recorded": ["train/loss"], "deciding": "train/loss"}, {"train/loss"}, {"val/loss", "val/rmse", "val/auc"}),
        (
            {"recorded": ["train/loss", "val/loss", *BINARY], "deciding": "val/auc"},
            {"val/loss", "val/accuracy", "val/auc"},
            {"val/rmse", "val/r2"},
        ),
    ],
)
def test_columns_and_charts_are_of_metrics_that_the_runs_have(
    options: dict[str, Any], there: set[str], not_there: set[str]
) -> None:
    for state in states(**options).values():
        assert state["orderByKey"] == f"metrics.`{options['deciding']}`"
        assert state["orderByAsc"] == (options["deciding"] == "train/loss")
        columns = {column.split("`")[1] for column in state["selectedColumns"]}
        charts = {chart["metricKey"].removeprefix("by_update/") for chart in state["compareRunCharts"]}
        assert there < columns
        assert not columns & not_there
        assert "train/loss" in charts
        assert not charts & not_there


def test_each_chart_is_in_a_section_of_its_own_axis() -> None:
    state = next(iter(states().values()))
    sections = {section["uuid"]: section["name"] for section in state["compareRunSections"]}
    axes = {
        (sections[chart["metricSectionId"]], chart["xAxisKey"], chart["xAxisScaleType"])
        for chart in state["compareRunCharts"]
    }
    assert axes == {
        ("By epoch", "step", "linear"),
        ("By updates", "step", "log"),
        ("Loss of each chunk, by update", "step", "log"),
    }
    assert len({chart["uuid"] for chart in state["compareRunCharts"]}) == len(state["compareRunCharts"])


def test_addresses_name_the_views_and_do_not_change() -> None:
    found = addresses("http://127.0.0.1:5000/", "7", SWEEP)
    assert list(found) == ["runs", "charts"]
    ids = [re.search(r"viewStateShareKey=([0-9a-f]{32})", address)[1] for address in found.values()]  # type: ignore[index]
    assert [f"mlflow.sharedViewState.{share}" for share in ids] == list(states())
    assert all(address.startswith("http://127.0.0.1:5000/#/experiments/7/runs?") for address in found.values())
    assert found["charts"].endswith("&compareRunsMode=CHART")
    assert found == addresses("http://127.0.0.1:5000", "7", SWEEP) != addresses("http://127.0.0.1:5000", "7", "f" * 32)


def test_a_view_is_small_enough_for_a_tag() -> None:
    """MLflow accepts 5,000 characters."""
    swept = [f"model.some_long_argument_{number}" for number in range(60)]
    views = saved_views(SWEEP, "n" * 5000, swept, ["train/loss", "val/loss", *REGRESSION], "val/loss")
    assert max(map(len, views.values())) < 5000


# Matrices from linear RGB to the linear RGB that people with normal vision, and those without green, red or blue
# cones, perceive (Machado, Oliveira and Fernandes, 2009).
SIGHTS = [
    [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
]


def seen(shade: str, sight: list[list[float]]) -> np.ndarray:
    """A color in CIELAB, in which a distance of 2 is just noticeable."""
    channels = np.array(list(bytes.fromhex(shade[1:]))) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.array(sight) @ linear, 0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ linear
    x, y, z = np.cbrt(np.maximum(xyz / [0.9505, 1.0, 1.089], 0.008856))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("sight", SIGHTS)
def test_the_colour_blind_can_tell_the_colours_apart(sight: list[list[float]]) -> None:
    shades = [seen(colour(str(10**power)), sight) for power in range(8)]
    steps = [np.linalg.norm(after - before) for before, after in itertools.pairwise(shades)]
    assert min(steps) > 8
    assert np.linalg.norm(seen(colour("32"), sight) - seen(colour("256"), sight)) > 8
    assert min(np.linalg.norm(shade - seen(FULL_COLOUR, sight)) for shade in shades) > 30
    assert np.all(np.diff([lightness for lightness, *_ in shades]) < 0)


def test_a_colour_follows_from_the_chunksize() -> None:
    assert colour("full") == FULL_COLOUR
    assert all(re.fullmatch("#[0-9A-F]{6}", colour(size)) for size in ("1", "50", "1000", "123456789"))
    assert colour("10000000") == colour("20000000")


def test_colours_are_legible_on_light_and_dark_pages() -> None:
    def luminance(shade: str) -> float:
        channels = np.array(list(bytes.fromhex(shade[1:]))) / 255
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722]) + 0.05

    shades = [luminance(colour(size)) for size in ("full", *(str(int(10 ** (power / 4))) for power in range(29)))]
    assert luminance("#FFFFFF") / max(shades) >= 3
    assert min(shades) / luminance("#11171C") >= 3
