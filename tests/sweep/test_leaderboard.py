"""Which setting leads if settings have several runs, and whose weights represent it; nothing is trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from harness.config import Order, SearchConfig
from harness.sweep.leaderboard import Leaderboard
from harness.sweep.plan import Run, prepare
from harness.sweep.run_fields import run_params
from harness.sweep.search.prior import from_json, known_runs, to_json
from harness.sweep.search.record import _log_study
from harness.sweep.search.search import Search
from harness.sweep.search.seeds import describe_unseeded, is_seeded
from harness.sweep.search.space import Interval, Space
from harness.sweep.search.study_log import study_log
from harness.training.events import EpochEnd
from tests.sweep.test_recorder import Recording

NOTHING = (np.zeros(0), np.zeros(0))
SCORES = {  # By learning rate and seed; 0 is the seed of the trials.
    (0.1, 0): 1.0,
    (0.2, 0): 2.0,
    (0.3, 0): 3.0,
    (0.1, 1): 5.0,
    (0.1, 2): 5.0,
    (0.2, 1): 4.5,
    (0.2, 2): 0.5,
}


@pytest.fixture
def runs(tmp_path: Path) -> dict[tuple[float, int], Run]:
    config = Recording(tmp_path).config(1)
    configs = [replace(config, learning_rate=rate, seed=seed) for rate, seed in SCORES]
    found = prepare(configs, lambda state: None)
    for number, run in enumerate(found):
        run.run_id = str(number)
    return dict(zip(SCORES, found, strict=True))


def end(board: Leaderboard, run: Run, score: float, status: str = "FINISHED") -> None:
    board.update(run, EpochEnd(0, 1, 8, score, {"val/loss": score}, 0.5, NOTHING))
    run.status = status
    board.settle(run)
    if status == "FINISHED":
        board.keep_best(run, [np.array([run.config.learning_rate, run.config.seed])])


def leader(board: Leaderboard) -> tuple[float, int]:
    assert board.best
    run, weights = board.best
    assert weights[0].tolist() == [run.config.learning_rate, run.config.seed]
    return run.config.learning_rate, run.config.seed


def test_what_a_search_confirms_leads_by_its_mean_and_not_by_its_luckiest_run(runs: dict) -> None:
    board = Leaderboard(trial_seed=0)
    trials = [key for key in SCORES if key[1] == 0]
    board.add([runs[key] for key in trials])
    for key in trials:
        end(board, runs[key], SCORES[key])
    assert leader(board) == (0.1, 0)
    others = [key for key in SCORES if key[1]]
    board.add([runs[key] for key in others])
    for key in reversed(others):
        end(board, runs[key], SCORES[key])
    assert leader(board) == (0.2, 1)
    facts, arrays = board.state()
    assert facts["kept"] == {runs[0.2, 1].signature: 1}
    again = Leaderboard(trial_seed=0)
    again.restore([*runs.values()], facts, arrays)
    again.add([*runs.values()])
    assert leader(again) == (0.2, 1)
    scores = {result.name: result.score for result in board.results() if result.score is not None}
    assert [*scores.values()] == [5.0, 2.5]
    assert [*scores] == [f"chunk=10 lr={rate} epochs=1, mean of 2" for rate in (0.1, 0.2)]
    assert board.improves_on(None)
    assert not board.improves_on(2.5)
    runs[0.1, 0].has_model = True  # The best model is logged even if an earlier sweep has logged a trial's.
    assert board.improves_on(None)


def test_a_seed_that_fails_leaves_its_place_to_the_next_but_its_setting_does_not_lead(runs: dict) -> None:
    board = Leaderboard()
    some = [runs[key] for key in ((0.2, 1), (0.2, 2), (0.3, 0))]
    board.add(some)
    end(board, runs[0.2, 2], 0.5)
    end(board, runs[0.2, 1], np.inf, "FAILED")
    assert leader(board) == (0.2, 2)
    assert [result.lost for result in board.results()] == [0, 1, 0]
    end(board, runs[0.3, 0], 3.0)
    assert leader(board) == (0.3, 0)


@pytest.mark.parametrize("order", [1, -1])
def test_only_the_weights_of_the_best_setting_are_kept(runs: dict, order: int) -> None:
    board = Leaderboard()
    some = [runs[rate, seed] for rate in (0.1, 0.2) for seed in (0, 1, 2)]
    board.add(some)
    for run in some[::order]:
        end(board, run, SCORES[run.config.learning_rate, run.config.seed])
    assert leader(board) == (0.2, 0)
    assert [*board.state()[0]["kept"]] == [runs[0.2, 0].signature]


def test_a_sweep_that_is_resumed_has_the_same_first_run(runs: dict) -> None:
    some = [runs[0.1, seed] for seed in (0, 1, 2)]
    board = Leaderboard()
    board.plan(some)
    board.add(some[1:2])  # It has already ended.
    board.add([some[2], some[0]])
    for run in (some[1], some[0], some[2]):
        end(board, run, 1.0)
    assert board.runs == some
    assert leader(board) == (0.1, 0)


def test_a_model_that_was_logged_for_its_first_seed_is_ranked_by_all_of_them(runs: dict) -> None:
    board = Leaderboard()
    board.add([*runs.values()])
    runs[0.1, 0].has_model = True
    for key, run in runs.items():
        end(board, run, SCORES[key])
    assert board.rank(runs[0.1, 0]).score > board.rank(runs[0.2, 0]).score > SCORES[0.1, 0]
    assert board.improves_on(SCORES[0.1, 0], runs[0.1, 0].run_id)
    assert not board.improves_on(SCORES[0.1, 0], "another")


def test_seeds_change_nothing_where_weights_start_from_constants(runs: dict) -> None:
    run = runs[0.1, 0]
    sentence = describe_unseeded([run])
    assert not is_seeded(run)
    assert sentence.endswith("give the same results: model=linear starts from constants, and data.order=file")
    other = replace(run, config=replace(run.config, model={"_target_": "harness.models.mlp", "units": [2]}))
    shuffled = replace(run, table=replace(run.table, order=Order.shuffled))
    assert describe_unseeded([other, shuffled]) == ""
    assert describe_unseeded([run, shuffled]) == ""  # Others of this model depend on the seed.


def test_a_model_that_does_not_fit_into_memory_is_not_built_to_learn_whether_seeds_matter(runs: dict) -> None:
    run = runs[0.1, 0]
    large = replace(run, config=replace(run.config, model={"_target_": "harness.models.mlp", "units": [10**7] * 2}))
    assert is_seeded(large)


def test_runs_that_differ_only_in_the_space_are_known_beforehand(runs: dict) -> None:
    def record(run: Run, cost: float, status: str = "FINISHED", digest: str = "") -> Any:
        params = {key: str(value) for key, value in run_params(run.config).items()}
        data = SimpleNamespace(digest=digest or run.table.digest, name="some (training)", profile="{}")
        return SimpleNamespace(
            info=SimpleNamespace(status=status),
            data=SimpleNamespace(params=params, metrics={"val/loss": cost, "best/val/loss": 0.0}),
            inputs=SimpleNamespace(dataset_inputs=[SimpleNamespace(dataset=data, tags=[])]),
        )

    run = runs[0.1, 0]
    longer = replace(run, config=replace(run.config, epochs=2))
    records = [
        record(runs[0.2, 1], 2.0),
        record(runs[0.3, 0], 3.0),
        record(runs[0.1, 1], 1.0, "KILLED"),
        record(runs[0.1, 2], 1.0, digest="other"),
        record(longer, 1.0),
    ]
    assert known_runs(records, run, [Interval("learning_rate", 0, 2, is_whole=True)]) == []
    axes = [Interval("learning_rate", 0.01, 0.25)]
    known = known_runs(records, run, axes)
    assert known == [({"learning_rate": "0.2"}, 2.0)]
    assert from_json(to_json(known)) == known
    assert from_json("[1]") is None


def test_optuna_reads_the_study(runs: dict, tmp_path: Path) -> None:
    optuna = pytest.importorskip("optuna", reason="Optuna is not installed; the extra tpe brings it.")
    found = Search(Space((Interval("learning_rate", 1e-4, 1.0, is_log=True),)), SearchConfig(trials=3), 9, 0)
    jobs = found.propose([])
    proposed = [*runs.values()][:3]
    for run, cost in zip(proposed, (3.0, 2.0, np.inf), strict=True):
        run.cost = cost
    proposed[0].pruned_at = 1
    text = study_log(found, "some", proposed)
    assert text
    (tmp_path / "study.log").write_text(text)
    said: list[str] = []
    found.groups[0].append(10**6)  # There is no such run.
    _log_study(cast("Any", SimpleNamespace(say=said.append)), "some", found, proposed)
    assert said == ["search: study.log is missing (IndexError: list index out of range)."]
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "study.log"))
    study = optuna.load_study(study_name="some", storage=optuna.storages.JournalStorage(backend))
    assert [trial.state.name for trial in study.trials] == ["PRUNED", "COMPLETE", "FAIL"]
    assert (study.best_value, study.trials[0].intermediate_values) == (2.0, {1: 3.0})
    assert [f"learning_rate={trial.params['learning_rate']}" for trial in study.trials] == [job[0] for job in jobs]
