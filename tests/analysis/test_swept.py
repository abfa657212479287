"""Figures of sweeps over three or more keys."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from harness.analysis.importance import importance, importance_bars
from harness.analysis.parallel import parallel_coordinates
from tests.sweeps import run, sweep_of

COST = {"full": 0.3, 1000: 0.1, 100: 0.0}


def grid(**more: Any) -> list[dict[str, Any]]:
    """Results depend on the chunksize, a little on the learning rate, and not on the hidden units."""
    return [
        run(chunk, [0.9, 0.5 + COST[chunk] + float(rate) / 10], rate=rate, **{"model.hidden": hidden, **more})
        for chunk, rate, hidden in itertools.product(COST, ("0.1", "0.3"), ("[8]", "[64]", "[64,64]"))
    ]


def texts(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def test_the_importance_of_keys_is_their_influence_on_finished_runs() -> None:
    failed = [run(10, [1e9], rate="9", status="KILLED", **{"model.hidden": "[8]"})] * 5
    found = importance(sweep_of(*grid(), *failed))
    assert found is not None
    assert list(found.shares) == ["chunksize", "learning_rate", "model.hidden"]
    assert (found.shares["chunksize"], found.shares["model.hidden"]) > (0.8, 0)
    assert found.shares["model.hidden"] < 0.01
    assert (found.settings, round(sum(found.shares.values()), 9)) == (18, 1)
    repeated = importance(sweep_of(*grid(), *grid(seed="1"), *grid(seed="2")))
    assert repeated == found  # Seeds are not a key, and do not add settings.
    figure = importance_bars(sweep_of(*grid()))
    assert figure is not None
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(found.shares)


def test_no_importance_without_enough_keys_runs_or_differences() -> None:
    rows = grid()
    for few in (
        sweep_of(*(row | {"model.hidden": "[8]"} for row in rows[::3])),
        sweep_of(*rows[5:9]),
        sweep_of(*(row | {"val/loss": 0.5} for row in rows)),
        sweep_of(*(row | {"status": "FAILED"} for row in rows)),
        sweep_of(),
    ):
        assert importance(few) is None
        assert importance_bars(few) is None
    random = np.random.default_rng(0)
    assert importance(sweep_of(*(row | {"val/loss": random.random()} for row in rows))) is None


def test_a_line_crosses_an_axis_for_each_key_and_one_for_the_result() -> None:
    killed = run(100, [0.4], rate="0.1", status="KILLED", **{"model.hidden": "[8]"})
    figure = parallel_coordinates(sweep_of(*grid(), killed))
    assert figure is not None
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 4]
    assert len(lines) == 18
    heights = np.array([line.get_ydata() for line in lines])
    assert np.all(np.diff(heights[:, -1]) <= 0)  # The best line is drawn last.
    assert heights[-1, :2].round(1).tolist() == [-0.1, -0.1]  # A chunk of 100 and a rate of 0.1 are at the bottom.
    shown = texts(figure)
    for text in ("chunksize", "learning_rate", "model.\nhidden", "val/loss", "full", "1,000", "[64,64]", "0.3"):
        assert text in shown, text
    assert shown.index("[8]") < shown.index("[64]") < shown.index("[64,64]")
    assert figure.axes[0].get_title() == "18 settings (1 unfinished run left out)"


def test_many_numbers_have_a_continuous_axis_and_other_values_stand_above_it() -> None:
    rates = np.geomspace(1e-3, 1, 40)
    rows = [
        run("full" if place % 2 else 100, [0.5 + place / 100], rate=f"{rate:.6f}", **{"model.dropout": str(rate / 2)})
        for place, rate in enumerate(rates)
    ]
    del rows[3]["model.dropout"]
    figure = parallel_coordinates(sweep_of(*rows))
    assert figure is not None
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 4]
    heights = np.array([line.get_ydata() for line in lines])
    np.testing.assert_allclose(np.sort(heights[:, 1]), np.linspace(0, 1, 40), atol=1e-3)  # Logarithmic.
    assert heights[:, 2].max() == 1
    assert texts(figure).count("not set") == 1
    assert {"0.001", "0.003", "0.01", "0.03", "0.1", "0.3", "1"} <= set(texts(figure))


def test_no_lines_without_three_keys() -> None:
    assert parallel_coordinates(sweep_of(*(row | {"model.hidden": "[8]"} for row in grid()[::3]))) is None
    assert parallel_coordinates(sweep_of()) is None
