"""The figure of a search, drawn from its record."""

from __future__ import annotations

import json
from typing import Any

from harness.analysis.figures import FIGURES
from tests.sweeps import run, sweep_of

TAGS = {"search_effort": "halving, 4 trials for each of 2 choices of chunksize", "search_seed": "0"}


def searched(text: str | None) -> Any:
    rows, groups = [], []
    for size, shift in ((100, 0.0), ("full", 1.0)):
        losses = (0.9, 0.5, 0.7, 0.4)
        trials = [run(size, [loss + shift], rate=str(rate), status="FINISHED") for rate, loss in enumerate(losses, 1)]
        trials[2]["status"] = "KILLED"
        rows += [*trials, *(run(size, [0.45 + shift + seed / 10], rate="4", seed=str(seed)) for seed in (1, 2))]
        ids = range(len(rows) - 6, len(rows) - 2)
        found = [
            {"run_id": str(each), "name": "", "value": loss + shift} for each, loss in zip(ids, losses, strict=True)
        ]
        found[1] |= {"value": None}
        found[2] |= {"pruned_at": 1}
        groups.append({"chunksize": str(size), "runs": found})
    record = json.dumps({"trials": groups}) if text is None else text
    return sweep_of(*rows, tags=TAGS, sweep_id="s", artifact=lambda sweep_id, name: record)


def test_trials_stand_in_their_order_beside_what_confirms_the_best() -> None:
    figure = FIGURES["search"](searched(None))
    assert figure
    (axis,) = figure.axes
    crosses = [line for line in axis.lines if line.get_marker() == "x"]
    assert [line.get_xdata().tolist() for line in crosses] == [[3], [3]]
    steps = [line.get_ydata().tolist()[-1] for line in axis.lines if line.get_drawstyle() == "steps-post"]
    assert steps == [0.4, 1.4]
    means = [bars.lines[0].get_ydata()[0] for bars in axis.containers]
    assert sorted(round(float(mean), 6) for mean in means) == [0.6, 1.6]


def test_a_record_that_cannot_be_read_gives_no_figure() -> None:
    assert FIGURES["search"](searched("{")) is None
    assert FIGURES["search"](searched('{"trials": [{"runs": [{"run_id": 3}]}]}')) is None
