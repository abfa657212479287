"""What users see in MLflow after a sweep, in a real browser, at the addresses that `harness ui` prints."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.tracking.pages import run_page
from harness.tracking.reader import RunReader
from harness.tracking.run_colour import colour

pytestmark = pytest.mark.slow
sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
COMMAND = Path(sys.executable).with_name("harness")
WAIT = 60_000
"""Milliseconds to wait for a page."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the real command has trained 24 runs."""
    if CHROMIUM is None:
        pytest.skip("there is no chromium")
    folder = tmp_path_factory.mktemp("sweep")
    words = ["train", "experiment=house_prices", "sweep=full_vs_batch", "data.rows=3000", "tracking.log_model=none"]
    subprocess.run([COMMAND, *words], cwd=folder, env=_environment(), check=True, capture_output=True, timeout=300)
    return folder


@pytest.fixture(scope="module")
def addresses(folder: Path) -> Iterator[dict[str, str]]:
    """The addresses that `harness ui` prints, by what they show."""
    process = subprocess.Popen(
        [COMMAND, "ui"], cwd=folder, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        found: dict[str, str] = {}
        while "charts" not in found:
            line = process.stdout.readline()  # type: ignore[union-attr]
            assert line, "the UI has ended"
            if said := re.fullmatch(r"newest sweep's (\w+): (http\S+)\n", line):
                found[said[1]] = said[2]
        yield found
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


@pytest.fixture
def page() -> Iterator[Any]:
    """A page that is large enough for the grid to draw all of its cells."""
    with sync_api.sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser.new_page(viewport={"width": 2600, "height": 1500})
        browser.close()


def test_the_table_shows_the_runs_with_what_was_swept_and_measured(
    addresses: dict[str, str], folder: Path, page: Any
) -> None:
    page.goto(addresses["runs"])
    rows = page.locator(".ag-center-cols-container [role=row]")
    rows.nth(23).wait_for(timeout=WAIT)
    assert rows.count() == 24
    # Headers are in any order in the page too.
    read = "cells => cells.map(cell => [cell.getBoundingClientRect().left, cell.innerText])"
    titles = [title for _, title in sorted(page.locator("[role=columnheader]").evaluate_all(read))]
    swept = ["chunksize", "learning_rate", "epochs"]
    wanted = ["val/loss", *swept, "val/rmse", "val/r2"]
    assert [title for title in dict.fromkeys(titles) if title in wanted] == wanted
    # Rows are in any order in the page, and are placed by their index.
    read = "[row.getAttribute('row-index'), [...row.querySelectorAll('[role=gridcell]')]"
    cells = f"{read}.map(cell => [cell.getAttribute('col-id'), cell.innerText])]"
    found = rows.evaluate_all(f"rows => rows.map(row => {cells})")
    shown = [dict(pairs) for _, pairs in sorted(found, key=lambda row: int(row[0]))]
    runs = RunReader(f"sqlite:///{folder}/mlflow.db").load().runs
    keys = [*(f"params.`{key}`" for key in swept), "metrics.`val/loss`"]
    assert sorted([row[key] for key in keys] for row in shown) == sorted(
        ["full" if row["sample"] == "full" else str(row["chunksize"])]
        + [str(row[key]) for key in ("learning_rate", "epochs", "val/loss")]
        for row in runs.to_dict("records")
    )
    losses = [float(row["metrics.`val/loss`"]) for row in shown]
    assert losses == sorted(losses)


def test_the_charts_draw_full_sample_and_batch_runs(addresses: dict[str, str], page: Any) -> None:
    page.goto(addresses["charts"])
    plots = page.locator(".js-plotly-plot")
    plots.nth(3).wait_for(timeout=WAIT)
    page.wait_for_function(
        "[...document.querySelectorAll('.js-plotly-plot')].every(plot => plot.data && plot.data.length >= 24)",
        timeout=WAIT,
    )
    read = "line.name, (line.line && line.line.color) || (line.marker && line.marker.color), line.x.length"
    lines = plots.first.evaluate(f"plot => plot.data.map(line => [{read}])")
    drawn = {name: shade for name, shade, points in lines if points in (5, 20) and shade}
    assert len(drawn) == 24
    for name, shade in drawn.items():
        size = name.split()[0].removeprefix("chunk=")
        assert shade[:7].upper() == colour(size), name  # Some lines are drawn faintly.
    # One chart is by epoch, the other by update.
    assert {"linear", "log"} == set(plots.evaluate_all("plots => plots.map(plot => plot.layout.xaxis.type)"))


def test_the_page_of_a_run_leads_with_curves(addresses: dict[str, str], folder: Path, page: Any) -> None:
    server, experiment = re.match(r"(http://[^/]+)/#/experiments/(\d+)/", addresses["runs"]).groups()  # type: ignore[union-attr]
    run = RunReader(f"sqlite:///{folder}/mlflow.db").load().runs["run_id"].iloc[0]
    page.goto(f"{server}/{run_page(experiment, run, 'model-metrics')}")
    page.locator(".js-plotly-plot").nth(1).wait_for(timeout=WAIT)
    page.wait_for_function(
        "[...document.querySelectorAll('.js-plotly-plot')].slice(0, 2)"
        ".every(plot => plot.data && plot.data.some(line => line.x && line.x.length > 1))",
        timeout=WAIT,
    )


def test_the_report_opens_as_an_artifact(addresses: dict[str, str], folder: Path, page: Any) -> None:
    server, experiment = re.match(r"(http://[^/]+)/#/experiments/(\d+)/", addresses["runs"]).groups()  # type: ignore[union-attr]
    sweep = RunReader(f"sqlite:///{folder}/mlflow.db").newest_sweep()
    page.goto(f"{server}/{run_page(experiment, sweep, 'artifacts/report/report.html')}")
    report = page.frame_locator("iframe")
    report.get_by_text("The best run is").wait_for(timeout=WAIT)
    assert report.locator("h1").inner_text().startswith("Full sample vs. chunks of ")
    assert "3,000 rows" in report.locator("dl").inner_text()
    images = report.locator("svg.figure").evaluate_all("images => images.map(image => image.clientWidth)")
    assert len(images) >= 5
    assert min(images) > 300  # All runs are drawn.


def _environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "HYDRA_"))}
