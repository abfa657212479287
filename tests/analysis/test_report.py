"""Reports and figures of all kinds of sweeps."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.analysis import report
from harness.analysis.confusion import confusion_matrices
from harness.analysis.figures import FIGURES, costs, fitted_lines, heat_map, loss_curves
from harness.config import DataConfig, Missing
from harness.data.sample import ROWS, sample_csv
from harness.data.tables.builder import open_table
from harness.data.tables.table import Table
from tests.sweeps import run, sweep_of

DATA = [{"name": "houses", "digest": "0" * 32, "rows": {"training": 800, "holdout": 200}}]


def lines(count: int) -> pd.DataFrame:
    x = np.linspace(1, 10, count)
    return pd.DataFrame({"x": x, "y": 3 + 2 * x})


def grid(chunks: list[Any], rates: list[str], epochs: int = 5, **more: Any) -> list[dict[str, Any]]:
    return [
        run(chunk, [1 / (1 + epoch * float(rate)) for epoch in range(1, epochs + 1)], rate=rate, **more)
        for chunk in chunks
        for rate in rates
    ]


LOST = run(10, [], rate="9", status="FAILED", diverged_at="3", epochs="5")
SWEEPS = {
    "two runs": sweep_of(*grid(["full", 100], ["0.1"])),
    "24 runs": sweep_of(
        *grid(["full", 1000, 100], [f"{rate}" for rate in (0.1, 0.2, 0.3, 0.4)], 5), *grid([10], ["0.1"])
    ),
    "1,000 runs": sweep_of(*grid(["full", *range(1, 100)], [f"{0.1 * n:.1f}" for n in range(1, 11)], 2)),
    "many chunksizes": sweep_of(*grid(["full", *range(1, 30)], ["0.1"], 2)),
    "failed and diverged": sweep_of(*grid(["full", 10], ["0.1"]), LOST, run(10, [0.9], rate="8", status="KILLED")),
    "all failed": sweep_of(LOST, LOST | {"learning_rate": "8", "diverged_at": None}),
    "no run": sweep_of(),
    "one chunksize": sweep_of(*grid([100], ["0.1", "0.2"])),
    "one run": sweep_of(*grid([100], ["0.1"])),
    "one epoch": sweep_of(*grid(["full", 100], ["0.1", "0.2"], 1)),
    "seeds": sweep_of(*(row for seed in "0123" for row in grid(["full", 100], ["0.1", "0.2"], seed=seed))),
    "another loss": sweep_of(*grid(["full", 100], ["0.1"], loss="binary_crossentropy", **{"val/auc": 0.7})),
    "huge and tiny losses": sweep_of(run("full", [1e30, 1e3, 1e-3]), run(10, [0.5, 0.4, 1e-9])),
    "nothing learnt": sweep_of(run("full", [0.0, 0.0]), run(10, [0.0, 0.0])),
    "a shared scan": sweep_of(*grid(["full", 100], ["0.1"], shared_by=2)),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "1,000 runs" else ()) for name in SWEEPS]
)
def test_a_report_can_be_made_of_any_sweep(name: str, tmp_path: Path) -> None:
    sweep = dataclasses.replace(SWEEPS[name], name=name, data=DATA)
    page = report.write(sweep, tmp_path / "made" / "now")
    text = page.read_text()
    assert page == tmp_path / "made" / "now" / "report.html"
    assert f"<h1>{name}</h1>" in text
    assert "houses: 1,000 rows, 800 for training, 200 (20%) held out" in text
    pictures = sorted(path.stem for path in page.parent.glob("*.svg"))
    assert text.count('<svg class="figure"') == len(pictures)
    assert ("losses" in pictures) == (len(sweep.curves) > 0)
    assert not re.search(r"(src|href)=\"(?!data:|#)", text)  # The page loads nothing from elsewhere.
    assert "nan" not in re.sub(r"base64,[^\"]*", "", text).lower().replace("financ", "")


def test_the_text_of_a_report() -> None:
    sweep = sweep_of(run("full", [0.9, 0.5], shared_by=2), run(500, [0.6, 0.4], shared_by=2), LOST, data=DATA)
    text = report.render(
        dataclasses.replace(sweep, tags={"command": "harness train -m chunksize=full,500 & <more>"}), {}
    )
    for sentence in (
        "The best run is 500 0.1 0: val/loss 0.4 after 4 updates; the best full-sample run, full 0.1 0, reaches 0.5 "
        "(25.00% higher) after 2 updates and needs 2 times the memory per update.",
        "After the same number of epochs (and rows), chunks of 500 rows beat the full sample in 1 of 1 setting.",
        "After the same number of updates, chunks of 500 rows beat the full sample in 0 of 1 setting.",
        "Training times cannot be compared: the runs shared a scan",
        "harness train -m chunksize=full,500 &amp; &lt;more&gt;",
        "2 finished, 1 diverged",
        "The full sample is vermilion (Okabe and Ito)",
    ):
        assert sentence in text, sentence


def test_the_table_shows_the_best_of_many_runs() -> None:
    text = report.render(SWEEPS["1,000 runs"], {})
    assert text.count('<tr class="batch">') + text.count('<tr class="full">') == report.TABLE_ROWS
    assert "900 more runs" in text


@pytest.mark.parametrize("name", ["two runs", "many chunksizes", "failed and diverged"])
def test_a_legend_has_few_entries(name: str) -> None:
    for draw in (loss_curves, costs):
        figure = draw(SWEEPS[name])
        assert figure is not None
        (legend,) = figure.legends
        texts = [text.get_text() for text in legend.get_texts()]
        assert 2 <= len(texts) <= 6
        assert texts[0].startswith("full sample")


def test_each_run_has_a_line() -> None:
    figure = loss_curves(SWEEPS["24 runs"])
    assert figure is not None
    assert [len(axis.lines) for axis in figure.axes] == [13, 13]
    assert [axis.get_xlabel() for axis in figure.axes] == ["epochs", "updates"]
    assert figure.axes[0].get_ylabel() == "val/loss (1 is the target's variance)"


def test_cells_are_means_over_seeds() -> None:
    rows = [
        run(chunk, [loss], seed=seed)
        for chunk, low in (("full", 0.5), (10, 0.2))
        for seed, loss in (("0", low), ("1", low + 0.1))
    ]
    figure = heat_map(sweep_of(*rows))
    assert figure is not None
    values = figure.axes[0].images[0].get_array()
    assert values is not None
    np.testing.assert_allclose(np.asarray(values), [[0.55], [0.25]])  # The full sample is on top.


def test_the_cell_of_a_diverged_run_says_so() -> None:
    figure = heat_map(sweep_of(*grid(["full", 10], ["0.1"]), LOST))
    assert figure is not None
    assert sorted(text.get_text() for text in figure.axes[0].texts if not text.get_text()[0].isdigit()) == ["-", "div."]


def test_the_label_of_the_time_axis() -> None:
    labels = [costs(SWEEPS[name]).axes[1].get_xlabel() for name in ("two runs", "a shared scan")]  # type: ignore[union-attr]
    assert labels == ["training time", "training time of the scan, shared by 2 lanes"]


@pytest.mark.parametrize(
    ("logs", "expected"),
    [
        ("[]", [5, 23]),
        ("[x]", [3, 3 + 2 * np.log(10)]),
        ("[y]", np.exp([5, 23])),
        ("[x,y]", np.exp([3, 3 + 2 * np.log(10)])),
    ],
)
def test_the_fitted_line_is_drawn_in_original_units(logs: str, expected: list[float]) -> None:
    rows = [row | {"intercept": 3.0, "slope": 2.0, "data.log_columns": logs} for row in grid(["full", 10], ["0.1"])]
    figure = fitted_lines(sweep_of(*rows, sample=lines(50)))
    assert figure is not None
    for line in figure.axes[0].lines:
        np.testing.assert_allclose(np.asarray(line.get_ydata())[[0, -1]], expected)
    assert (figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()) == ("x", "y")


def test_no_fit_without_a_sample_or_a_slope() -> None:
    rows = [row | {"intercept": 3.0, "slope": 2.0} for row in grid(["full", 10], ["0.1"])]
    assert fitted_lines(sweep_of(*rows)) is None
    assert fitted_lines(sweep_of(*grid(["full", 10], ["0.1"]), sample=lines(50))) is None


def test_figures_have_names() -> None:
    assert list(FIGURES) == list(report.CAPTIONS)


@pytest.mark.parametrize(("metric", "corner"), [("val/loss", "lower left"), ("val/r2", "upper left")])
def test_the_best_runs_are_where_the_caption_says(metric: str, corner: str) -> None:
    row = run(10, [0.5]) | {"val/r2": 0.5, "objective.metric": metric}
    assert f"The best runs are at the {corner}" in report.render(sweep_of(row, metric=metric), {"costs": "<svg/>"})


def test_a_sample_has_training_rows_in_original_units(tmp_path: Path) -> None:
    x = np.arange(1, 10_001)
    path = tmp_path / "file.csv"
    pd.DataFrame({"x": x, "y": 2 * x}).to_csv(path, index=False)

    def table(features: list[str], logs: list[str]) -> Table:
        data = DataConfig(features, "y", str(path), log_columns=logs, missing=Missing.error)
        return open_table(data, tmp_path / "cache")

    text = sample_csv(table(["x"], ["x", "y"]))
    (tmp_path / "sample.csv").write_text(text)
    rows = pd.read_csv(tmp_path / "sample.csv")
    assert (len(rows), list(rows)) == (ROWS, ["x", "y"])
    np.testing.assert_allclose(rows["y"], 2 * rows["x"], rtol=1e-5)
    assert rows["x"].min() < 200
    assert rows["x"].max() > 9800  # The sample comes from the whole file.
    assert rows["x"].round().isin(x).all()


def test_the_sample_of_a_small_table_is_the_whole_table(make_table: Any) -> None:
    assert sample_csv(make_table("a,y\n1,2\n3,4.5\n")) == "a,y\n1,2\n3,4.5\n"
    assert sample_csv(make_table("a,b,y\n1,2,3\n3,4,5\n", features=["a", "b"])) == ""


def test_the_confusion_matrices_of_the_best_runs_are_side_by_side() -> None:
    texts = {"0": "class,=u,v\n=u,3,1\nv,2,4\n", "1": "class,=u,v\n=u,5,0\nv,1,0\n"}
    sweep = dataclasses.replace(
        sweep_of(run("full", [0.5]), run(10, [0.5])), artifact=lambda run_id, name: texts.get(run_id)
    )
    figure = confusion_matrices(sweep)
    assert figure is not None
    assert [axis.get_title() for axis in figure.axes] == [
        "chunks of 10: val/loss 0.5",
        "full sample: val/loss 0.5",
    ]
    assert [text.get_text() for text in figure.axes[1].texts] == ["3", "1", "2", "4"]
    for damaged in ("", "class\n", "class,u\nu,many\n", "class,u,v\nu,1,2\n"):
        assert confusion_matrices(dataclasses.replace(sweep, artifact=lambda run_id, name: damaged)) is None  # noqa: B023


@pytest.mark.parametrize("scores", [[-1e9, -3.0, -2.0], [0.2, 0.9, 0.95], [1.0, 1.0]])
def test_scores_of_any_size_can_decide(scores: list[float]) -> None:
    more = {"val/r2": scores[-1], "objective.metric": "val/r2"}
    rows = [run(size, scores, **more) for size in ("full", 100)]
    for draw in (loss_curves, heat_map, costs):
        figure = draw(sweep_of(*rows, metric="val/r2"))
        assert figure is not None
        assert np.isfinite(figure.axes[0].get_ylim()).all()
