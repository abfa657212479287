"""How a sweep's arguments become a search; nothing is trained."""

from __future__ import annotations

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra

from harness.cli.compose import CONF, register_schema
from harness.cli.search_words import search_of
from harness.errors import ConfigError
from harness.sweep.search.search import Search

RATE = "learning_rate=tag(log,interval(1e-4,1))"


def read(*words: str) -> Search | None:
    register_schema()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        plain = [word for word in words if "interval" not in word and "," not in word]
        config = hydra.compose("config", ["model=mlp", *plain])
        return search_of(GlobalHydra.instance().config_loader(), words, config)


def test_an_interval_makes_a_sweep_a_search() -> None:
    found = read(RATE, "chunksize=full,100", "epochs=9", "search.trials=6", "optimizer=choice(adam,sgd)", "seed=3")
    assert found
    assert str(found.space) == (
        "learning_rate=tag(log,interval(0.0001,1)) chunksize=full,100 epochs=9 optimizer=adam,sgd seed=3"
    )
    assert (found.epochs, found.seed, found.trials_each) == (9, 3, 3)
    jobs = found.propose([])
    assert {word for job in jobs for word in job if word.startswith("optimizer")} == {"optimizer=adam", "optimizer=sgd"}
    assert all(job[2] == "epochs=9" for job in jobs)
    assert found.describe()[1].startswith("        3 trials to epoch 3, 1 trial to epoch 9")
    whole = read("seed=int(interval(1,4))", "search=sobol", "search.confirm=null")
    assert whole
    assert all(1 <= int(job[0].removeprefix("seed=")) <= 4 for job in whole.propose([]))


@pytest.mark.parametrize("epochs", ["int(interval(1,50))", "50,20"])
def test_searched_epochs_count_as_the_most(epochs: str) -> None:
    found = read(f"epochs={epochs}", RATE, "search=sobol", "search.lane_epochs=100")
    assert found
    assert found.trials_each == 2
    assert not any(int(job[0].removeprefix("epochs=")) > 50 for job in found.propose([]))
    assert found.describe() == [
        "search: sobol, 2 trials, at most 100 epochs in all",
        "        2 trials of at most 50 epochs",
        "        then the best 2 again with 5 other seeds: 10 runs of at most 50 epochs",
    ]


def test_lists_make_a_grid() -> None:
    assert read("learning_rate=0.1,0.01", "chunksize=range(100,300,100)") is None


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["learning_rate=0.1,0.01", "search.trials=9"],
            "search.trials=9: this is a grid, which trains all combinations. Search an interval instead, such as "
            "learning_rate=tag(log,interval(1e-4,1)).",
        ),
        (
            ["epochs=interval(1,9)", "search=sobol"],
            "epochs=interval(1,9): epochs is a whole number. Write epochs=int(interval(1,9)).",
        ),
        (
            ["seed=tag(log,interval(1.5,9))", "search=sobol"],
            "seed=tag(log,interval(1.5,9)): seed is a whole number. Write seed=int(tag(log,interval(1.5,9))).",
        ),
        (
            ["chunksize=int(interval(10,100))"],
            "chunksize=int(interval(10,100)): list the chunk sizes to try, as in chunksize=full,1000,100. Each needs "
            "its own compiled loop, and gets its own trials.",
        ),
        (
            ["learning_rate=interval(1,0.1)"],
            "learning_rate=interval(1,0.1): the first endpoint must be less than the second.",
        ),
        ([RATE, "search.trials=9,27"], "search.trials=9,27: settings of a search take one value."),
    ],
)
def test_refused(words: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read(*words)
    assert str(refused.value) == sentence
