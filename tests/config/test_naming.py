"""The settings in which runs differ, and the names of sweeps."""

from __future__ import annotations

from harness.config.naming import differing, sweep_name, varying

COMMON = {"chunksize": "1", "learning_rate": "0.1", "epochs": "2", "runtime.threads": "1"}
RUNS = [
    COMMON | {"optimizer.name": "adam", "optimizer.beta_1": "0.9", "seed": "0"},
    COMMON | {"optimizer.name": "sgd", "seed": "0", "runtime.threads": "2", "data.path": "elsewhere"},
]


def test_the_settings_in_which_runs_differ() -> None:
    assert varying(RUNS) == ["chunksize", "learning_rate", "epochs", "optimizer.name"]
    assert differing(RUNS) == ["runtime.threads", "optimizer.name"]
    assert differing([]) == differing([COMMON]) == []


def test_a_sweep_is_named_after_its_arguments() -> None:
    assert sweep_name("harness train -m chunksize=1,2") == "chunksize=1,2"
    assert sweep_name("make bench") == "make bench"
    assert len(sweep_name("harness train " + "x " * 300)) == 200


def test_long_arguments_are_cut_in_the_name_of_a_sweep() -> None:
    command = f"harness train -m 'data.features=[{','.join(['column'] * 9)}]' epochs=1,2"
    assert sweep_name(command) == "'data.features=[column,column,column,co… epochs=1,2"
