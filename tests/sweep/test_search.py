"""Which trials a search has, and which of them are confirmed."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

import pytest

from harness.config import Sampler, SearchConfig
from harness.config.search import Prior
from harness.errors import ConfigError
from harness.sweep.proposer import Result
from harness.sweep.search import time_budget, tpe
from harness.sweep.search.search import Known, Search
from harness.sweep.search.sobol import sobol
from harness.sweep.search.space import Choices, Interval, Space

RATE = Interval("learning_rate", 1e-4, 1.0, is_log=True)
SIZES = Choices("chunksize", ("full", "100"))


def search(*axes: Any, epochs: int = 9, **settings: Any) -> Search:
    return Search(Space(axes or (RATE, SIZES)), SearchConfig(**settings), epochs, 0)


def test_every_choice_gets_the_same_trials_and_rungs_of_its_own() -> None:
    found = search(trials=19)
    jobs = found.propose([])
    assert len(jobs) == 18
    rates, sizes = zip(*jobs, strict=True)
    assert [*sizes] == ["chunksize=full"] * 9 + ["chunksize=100"] * 9
    assert rates[:9] == rates[9:]
    assert len({*rates}) == 9
    assert found.bracket
    assert (found.bracket.eta, found.bracket.rungs) == (3, (1, 3))
    assert found.bracket.groups == (tuple(range(9)), tuple(range(9, 18)))
    assert found.lanes_by_rung(9) == [(9, 1), (3, 3), (1, 9)]
    assert found.lane_epochs == 2 * (9 * 1 + 3 * 2 + 1 * 6)
    assert found.effort == "halving, 9 trials for each of 2 choices of chunksize, at most 42 epochs in all"
    assert search(RATE, Choices("chunksize", ("100",)), trials=1).effort.startswith("halving, 1 trial, at most")


def test_more_trials_begin_with_the_same_ones() -> None:
    assert search(trials=32).propose([])[:8] == search(trials=16).propose([])[:8]
    assert search(trials=16, seed=1).propose([]) != search(trials=16).propose([])
    assert sobol(0, 2, 0) == [[], []]


@pytest.mark.parametrize(
    ("axis", "least", "most"),
    [(Interval("k", 1, 4, is_whole=True), 1, 4), (Interval("k", 1, 100, is_log=True, is_whole=True), 1, 100)],
)
def test_whole_numbers_include_both_ends(axis: Interval, least: int, most: int) -> None:
    values = [int(axis.value(share / 1000)) for share in range(1000)]
    assert (min(values), max(values)) == (least, most)


def test_fractions_have_three_digits_and_stay_inside() -> None:
    values = [RATE.value(share / 1000) for share in range(1000)]
    assert all(len(value.strip("0.").split("e")[0].replace(".", "")) <= 3 for value in values)
    assert Interval("k", 0.12345, 0.12346).value(0.0) == "0.12345"


@pytest.mark.parametrize(("low", "high", "is_log"), [(0.99, 0.9999, False), (1000, 1004, False), (1000, 1004, True)])
def test_trials_of_a_narrow_interval_differ(low: float, high: float, is_log: bool) -> None:
    axis = Interval("k", low, high, is_log=is_log)
    values = [float(axis.value(share)) for (share,) in sobol(1, 32, 0)]
    assert len({*values}) >= 30
    assert low <= min(values) < low + (high - low) / 20
    assert high - (high - low) / 20 < max(values) <= high


def test_a_space_is_written_with_all_digits() -> None:
    texts = [str(Interval("k", 0.12345678, high)) for high in (0.12345679, 0.1234567900001)]
    assert texts == ["interval(0.12345678,0.12345679)", "interval(0.12345678,0.1234567900001)"]


def test_a_budget_of_epochs_decides_how_many() -> None:
    assert search(lane_epochs=42).trials_each == 9
    assert search(lane_epochs=41).trials_each == 4
    assert search(lane_epochs=1000, trials=4).trials_each == 2
    assert search(name=Sampler.sobol, lane_epochs=41).trials_each == 2


@pytest.mark.parametrize(
    ("epochs", "trials", "settings", "rungs"),
    [
        (9, 27, {}, (1, 3)),
        (20, 27, {}, (2, 6)),
        (27, 9, {}, (3, 9)),  # There is no rung that would leave less than one trial.
        (9, 2, {}, ()),
        (2, 27, {}, ()),
        (9, 4, {"rungs": [2, 4, 9]}, (2, 4)),
        (16, 16, {"eta": 2}, (1, 2, 4, 8)),
        (9, 27, {"name": Sampler.sobol}, ()),
    ],
)
def test_rungs(epochs: int, trials: int, settings: dict, rungs: tuple[int, ...]) -> None:
    assert search(RATE, epochs=epochs, **settings).rungs(trials) == rungs


def test_the_best_of_each_choice_are_confirmed_with_other_seeds() -> None:
    found = search(trials=6, confirm={"top": 1, "seeds": 2})
    values = [3.0, 1.0, 2.0, math.inf, 0.5, 0.7]
    asked: list[int] = []
    results = [
        Result(tuple(words), value, 1 if value == 0.5 else None, lambda: asked.append(0) is None)
        for words, value in zip(found.propose([]), values, strict=True)
    ]
    best = [[*results[1].words, f"seed={seed}"] for seed in (1, 2)]
    best += [[*results[5].words, f"seed={seed}"] for seed in (1, 2)]
    assert found.propose(results) == best
    assert len(asked) == 2  # Only for confirmed settings, since each check builds a model.
    assert found.bracket is None
    assert found.propose(results) == []


@pytest.mark.parametrize(
    ("axes", "settings", "sentence"),
    [
        ((RATE, SIZES), {"trials": 1}, "search.trials=1 is less than one trial for each of 2 choices of chunksize."),
        (
            (RATE, SIZES),
            {"lane_epochs": 17},
            "search.lane_epochs=17 is not enough for one trial for each of 2 choices; 18 would be.",
        ),
        (
            (RATE, Choices("epochs", ("5", "9"))),
            {},
            "epochs=5,9: search=halving itself decides how long trials train. Use search=sobol to search epochs.",
        ),
        (
            (RATE, Choices("data.order", ("file", "shuffled"))),
            {},
            "data.order=file,shuffled: search=halving compares runs on the same data. Use search=sobol to search "
            "data.order.",
        ),
        (
            (RATE, Choices("seed", ("0", "1"))),
            {},
            "search.confirm trains with other seeds: set seed to a single value, or set search.confirm=null.",
        ),
        (
            (RATE,),
            {"each": "model"},
            "search.each: model has no list of choices in this sweep. Set one, such as KEY=1,2.",
        ),
        ((RATE,), {"rungs": [1, 30]}, "search.rungs must not exceed epochs=9; too large: 30."),
    ],
)
def test_refused(axes: tuple, settings: dict, sentence: str) -> None:
    with pytest.raises(ConfigError) as refused:
        search(*axes, **settings)
    assert str(refused.value) == sentence


@pytest.mark.parametrize(
    ("ends", "sentence"),
    [
        ((1.0, 0.1), "k=interval(1,0.1): the first endpoint must be less than the second."),
        ((0.0, 1.0, True), "k=tag(log,interval(0,1)): a logarithmic interval must start above 0."),
        ((0.0, math.inf), "k=interval(0,inf): its endpoints must be finite."),
    ],
)
def test_intervals_refused(ends: tuple, sentence: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Interval("k", *ends)
    assert str(refused.value) == sentence


def test_tpe_proposes_from_results_and_the_same_again() -> None:
    pytest.importorskip("optuna", reason="Optuna is not installed; the extra tpe brings it.")

    def run() -> list[list[str]]:
        found = search(Interval("learning_rate", 1e-4, 1.0, is_log=True), SIZES, name=Sampler.tpe, trials=32)
        results: list[Result] = []
        sizes = []
        while jobs := found.propose(results):
            sizes.append(len(jobs))
            rates = [float(job[0].split("=")[1]) for job in jobs]
            # The best rate depends on the chunk size.
            best = [1e-1 if job[1] == "chunksize=full" else 1e-3 for job in jobs]
            costs = [abs(math.log(rate / at)) for rate, at in zip(rates, best, strict=True)]
            results += [Result(tuple(job), cost) for job, cost in zip(jobs, costs, strict=True)]
        assert sizes == [8, 8, 8, 8, 20]
        last = [result for result in results[24:32] if "chunksize=full" in result.words]
        assert min(result.objective for result in last) < 1
        return [list(result.words) for result in results]

    assert run() == run()


def test_a_time_budget_is_recorded_and_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time_budget.time, "monotonic", lambda: now)

    def run(seconds: float, recorded: str = "") -> tuple[list[list[str]], str]:
        """Run a search whose generations take these numbers of seconds."""
        nonlocal now
        found, results, texts = search(minutes=1, confirm=None), list[Result](), [recorded]
        assert found.budget
        found.budget.repeat(recorded)
        found.budget.record = texts.append
        while jobs := found.propose(results):
            if found.bracket:
                assert found.bracket.groups == (tuple(range(27)), tuple(range(27, 54)))
            results += [Result(tuple(job), 1.0) for job in jobs]
            now += seconds
        assert found.groups[0][26:28] in ([26, 54], [26])
        return [list(result.words) for result in results], texts[-1]

    whole, recorded = run(20)
    assert (len(whole), recorded) == (3 * 54, "20.0 40.0 over")
    assert [words for words in whole if words[1] == "chunksize=full"] == search(trials=162).propose([])[:81]
    # Repeated on a faster machine, or resumed on one after the second generation has begun.
    assert run(1, recorded) == (whole, recorded)
    assert run(20, "20.0 ") == (whole, recorded)
    assert len(run(100)[0]) == 54
    assert run(100, "not a record") == (whole[:54], "over")


def test_the_effort_of_a_time_budget_is_described() -> None:
    found = search(minutes=2.5)
    assert found.describe()[:2] == [
        "search: halving, 27 trials at a time for each of 2 choices of chunksize, at most 2.5 minutes",
        "        27 trials to epoch 1, 9 trials to epoch 3, 3 trials to epoch 9 for each of 2 choices of chunksize",
    ]
    found.propose([])
    assert found.effort == "halving, 27 trials for each of 2 choices of chunksize, at most 2.5 minutes"
    with pytest.raises(ConfigError, match=r"search\.minutes and search\.lane_epochs both limit the effort"):
        search(minutes=1, lane_epochs=9)
    with pytest.raises(ConfigError, match=r"search\.prior has no effect with search=halving"):
        search(prior=Prior.experiment)


def test_tpe_learns_from_earlier_runs() -> None:
    pytest.importorskip("optuna", reason="Optuna is not installed; the extra tpe brings it.")

    def second(known: Known) -> list[list[str]]:
        found = search(name=Sampler.tpe, trials=16)
        results = [Result(tuple(job), float(cost)) for cost, job in enumerate(found.propose([]))]
        found.known = known
        return [list(job) for job in found.propose(results)]

    plain, other = (second(known) for known in ([], [({"learning_rate": "0.002", "chunksize": "full"}, -1.0)] * 5))
    assert [left == right for left, right in zip(plain, other, strict=True)] == [False] * 2 + [True] * 2


def test_tpe_learns_from_earlier_runs_if_a_listed_key_has_one_value(monkeypatch: pytest.MonkeyPatch) -> None:
    learned: list[Sequence[object]] = []

    def propose(axes: object, known: Sequence[object], count: int, seed: int) -> list[dict[str, str]]:
        learned.append(known)
        return [{"learning_rate": "0.1"}] * count

    monkeypatch.setattr(tpe, "propose", propose)
    found = search(RATE, Choices("chunksize", ("100",)), name=Sampler.tpe, trials=8)
    results = [Result(tuple(job), 1.0) for job in found.propose([])]
    found.known = [({"learning_rate": "0.002"}, -1.0)]
    found.propose(results)
    assert learned[0][-1] == found.known[0]
    assert tpe.number(Interval("objective.delta", 1, 5, is_whole=True), "3.0") == 3


def test_tpe_without_optuna_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match="search=tpe needs Optuna"):
        _ = search(name=Sampler.tpe).facts
