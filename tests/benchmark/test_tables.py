"""The benchmark's peers, made small, come to what the reference does; and its arithmetic, on made-up measurements."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from experiments import throughput
from experiments.peers import process, reference, rounds, written
from experiments.peers.cases import SIZES, Case, cases
from experiments.peers.goals import goals
from experiments.peers.process import PEERS, measure, missing
from experiments.peers.rounds import Rounds, Row
from experiments.peers.standing import Goal, Limits, Span, Standing, fault, ratio, scaled, whole
from experiments.peers.task import FULL, Fit, Outcome, Task, apart
from harness.data import synthetic_houses
from harness.errors import ConfigError

ROWS = 2030
TASK = Task("", ("sqft_living",), "price", (), (), ROWS, (100,), stops=(3,))


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    """Return a task on a file of its own, with a last, shorter chunk."""
    path = tmp_path_factory.mktemp("peers") / "houses.csv"
    synthetic_houses.generate(path, ROWS)
    return with_constants(replace(TASK, path=str(path)))


def with_constants(task: Task) -> Task:
    mean, std = (tuple(fit.weights) for fit in reference.constants(task).fits)
    return replace(task, mean=mean, std=std)


def test_reference_is_the_plain_loop_over_pandas_chunks(task: Task) -> None:
    import pandas as pd

    weights, first, second, step = np.array([0.1, 0.1]), np.zeros(2), np.zeros(2), 0
    for _ in range(3):
        for frame in pd.read_csv(task.path, chunksize=100):
            x = (frame["sqft_living"] - task.mean[0]) / task.std[0]
            y = (frame["price"] - task.mean[1]) / task.std[1]
            error = weights[0] + weights[1] * x - y
            gradient = np.array([2 * error.mean(), 2 * (error * x).mean()])
            step += 1
            first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
            corrected = first / (1 - 0.9**step), second / (1 - 0.999**step)
            weights = weights - 0.01 * corrected[0] / (np.sqrt(corrected[1]) + 1e-7 / np.sqrt(1 - 0.999**step))
    (fit,) = reference.train(task).fits
    assert fit.weights == pytest.approx(weights, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "chunk"),
    [
        ("loops:eager", 100),
        ("loops:compiled", 100),
        ("fit:memory", 100),
        ("fit:memory", FULL),
        ("fit:generator", 100),
        ("fit:csv", 100),
    ],
)
def test_peers_of_keras_come_to_the_reference(name: str, chunk: int | str, task: Task) -> None:
    import importlib

    task = replace(task, chunks=(chunk,))
    module, function = name.split(":")
    outcome = getattr(importlib.import_module(f"experiments.peers.{module}"), function)(task)
    peer = next(key for key, peer in PEERS.items() if peer.work == name)
    assert fault(peer, task, outcome, reference.train(task)) == ""
    assert len(outcome.laps) == 2  # The first epoch's compilation is told apart.


@pytest.mark.parametrize("name", ["jax", "jax_tracked", "sgd", "vw"])
def test_other_peers_come_to_the_reference_in_a_process_of_their_own(name: str, task: Task) -> None:
    if missing(name):
        pytest.skip(missing(name))
    task = replace(task, stops=(5, 20))
    if name.startswith("jax"):
        task = replace(task, chunks=(100, 1000, FULL), rates=(0.01, 0.1), stops=(1, 3))
    (outcome,) = measure(name, [task])
    assert fault(name, task, outcome, reference.train(task)) == ""
    assert outcome.startup > 0
    assert outcome.peak_mb > 10
    if name.startswith("jax"):
        assert len(outcome.fits) == task.configurations


@pytest.mark.slow
def test_jax_comes_to_the_reference_in_slices(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jax")
    from experiments.peers import scan

    monkeypatch.setattr(scan, "SLICE_ROWS", 64)
    task = replace(task, chunks=(100, 128, FULL), rates=(0.01, 0.1), stops=(3,))
    assert fault("jax", task, scan.train(task), reference.train(task)) == ""


@pytest.mark.slow
def test_networks_of_peers_learn_more_than_a_line(task: Task) -> None:
    features = ("sqft_living", "grade", "yr_built", "lat", "long")
    task = with_constants(replace(task, features=features, units=(16,), chunks=(50,), stops=(6,)))
    known = reference.train(task)
    from experiments.peers import fit

    assert fault("fit_memory", task, fit.memory(task), known) == ""
    if not missing("jax"):
        assert fault("jax", task, measure("jax", [task])[0], known) == ""


@pytest.mark.slow
def test_the_harness_comes_to_the_reference_by_its_command(task: Task, tmp_path: Path) -> None:
    task = replace(task, chunks=(100, FULL), rates=(0.01, 0.1), stops=(1, 3), folder=str(tmp_path))
    one = replace(task, chunks=(100,), rates=(0.01,), stops=(3,))
    sweep, run = measure("ours", [task, one])
    assert fault("ours", task, sweep, reference.train(task)) == ""
    assert fault("ours", one, run, reference.train(one)) == ""
    assert len(sweep.fits) == 8
    assert run.compile > 0
    assert sweep.device


def test_wrong_results_are_found(task: Task) -> None:
    known = reference.train(task)
    (right,) = known.fits
    bent = Outcome(ROWS, fits=[replace(right, weights=[right.weights[0] + 0.01, right.weights[1]])])
    assert fault("loop", task, bent, known).endswith("a weight is 0.01 away from the reference's")
    assert "where" in fault("sgd", task, Outcome(ROWS, fits=[replace(right, weights=[3.0, 0.0])]), known)
    assert "no less than a line's" in fault("jax", replace(task, units=(4,)), Outcome(ROWS, fits=[right]), known)
    assert fault("jax", task, Outcome(ROWS), known) == "JAX, vmap and scan, polars told of no result"


def test_compiling_is_what_the_first_epoch_takes_longer() -> None:
    assert apart([5.0, 1.0, 2.0, 3.0]) == (3.0, [1.0, 2.0, 3.0])
    assert apart([1.0, 2.0, 3.0]) == (0.0, [2.0, 3.0])


def test_spans_are_medians_with_their_range() -> None:
    span = Span.of([3.0, 1.0, 2.0])
    assert span == Span(1.0, 2.0, 3.0)
    assert span * 2 + span == Span(3.0, 6.0, 9.0)
    assert str(span) == "2 (1 to 3)"
    assert str(Span.of([1234.5])) == "1,234"


def test_a_part_stands_for_the_whole() -> None:
    # 100 rows read in 1 s and 2 s (1 to 3) an epoch: 1,000 rows, two rates, 3 + 4 epochs.
    task = replace(TASK, rows=1000, rates=(0.1, 0.2), stops=(3, 4))
    part = Outcome(100, startup=5, compile=0.5, read=1, laps=[2, 2, 6], lap_epochs=2, peak_mb=7)
    standing = scaled("loop", task, {100: [part]})
    assert standing.work == Span(10 + 140, 10 + 140, 10 + 420)
    assert standing.wall.mid == 150 + 5.5
    assert (standing.measured_rows, standing.peak_mb) == (100, 7)
    assert standing.rate(task) == 14_000 / 155.5


def test_who_updates_each_row_is_timed_once_for_all_chunks() -> None:
    task = replace(TASK, rows=1000, chunks=(100, 1000), stops=(1,))
    assert scaled("vw", task, {100: [Outcome(100, laps=[1.0])]}).work.mid == 20


def test_repeated_processes_are_one_standing() -> None:
    outcomes = [Outcome(10, startup=1, compile=2, read=1, laps=[lap], peak_mb=lap) for lap in (3.0, 4.0, 8.0)]
    standing = whole("jax", outcomes)
    assert (standing.work, standing.compile.mid, standing.peak_mb) == (Span(4, 5, 9), 2, 8)
    assert standing.measured_rows == 0


def test_limits_leave_a_least_time() -> None:
    task = replace(TASK, rows=1000, stops=(2,))
    limits = Limits({"parse_pandas": Span(1, 2, 3)}, {"table": 16_000, "copy": 64_000, "matmul": 1e4})
    # 1,000 rows of two columns of four bytes, twice; a product and a sum of two weights, forward and backward.
    assert limits.least(task) == {"parse_pandas": 2, "table": 1.0, "copy": 0.5, "matmul": 1.6}


def standing(name: str, work: float, compile: float = 0.0, measured_rows: int = 0) -> Standing:
    return Standing(name, Span.of([work]), Span.of([6.0]), Span.of([compile]), 100.0, measured_rows)


def test_ratios_leave_startup_out_and_none_for_a_missing_peer() -> None:
    ours = standing("ours", 2.0, 2.0)
    assert ratio(standing("jax", 4.0), ours) == 2.0
    assert ratio(standing("jax", 4.0), ours, compiling=True) == 1.0
    assert ratio(None, ours) is None


@pytest.fixture
def made_up() -> list[Row]:
    """Return rows as if they had been measured; JAX is missing from one of them."""
    first = Case("first", replace(TASK, stops=(1,)), True)
    sweep = Case("sweep", replace(TASK, rates=(0.1, 0.2), stops=(2, 4)), True)
    longest = Case("longest", replace(TASK, stops=(4,)), True)
    slow = {"loop": standing("loop", 100.0, measured_rows=20), "sgd": standing("sgd", 50.0, measured_rows=20)}
    return [
        Row(first, standing("ours", 1.0, 1.0), slow, {"parse_pandas": 2.0}),
        Row(longest, standing("ours", 4.0)),
        Row(sweep, standing("ours", 5.0, 1.0), slow | {"jax": standing("jax", 10.0)}, {"parse_pandas": 2.0}),
    ]


def test_goals_are_reached_missed_or_not_measured(made_up: list[Row]) -> None:
    found = {goal.what: (goal.measured, goal.reached) for goal in goals(made_up, {"update_us": 11.0, "lanes": 1024})}
    run, sweep = "one run, chunk 100, times the best loop over pandas chunks", "sweep of 4"
    assert found[f"{run}, first contact, compilation counted"] == (25, True)
    assert found[f"{run}, first contact, compilation apart"] == (50, True)
    assert found[f"{run}, table there, compilation apart"] == (None, None)
    assert found[f"{sweep}, times scikit-learn"] == (10, False)
    assert found[f"{sweep}, times the best of Keras"] == (None, None)
    assert found[f"{sweep}, times JAX, compilation apart"] == (2, True)
    assert found[f"{sweep}, first contact, in bare pandas parses, compilation apart"] == (2.5, False)
    assert found["T(4)/T(1), compilation counted"] == (1.5, True)
    assert found["64 lanes, chunk 100, microseconds an update"] == (11.0, False)
    assert found["lanes that ran together"] == (1024, True)
    assert found["composing, folders and MLflow for 64 runs, seconds"] == (None, None)


def test_tables_say_what_is_scaled_and_what_is_missing(made_up: list[Row]) -> None:
    header, first, sweep = written.against_peers(made_up)
    assert header[1:] == [PEERS[name].label for name in ("jax", "loop", "sgd")]
    assert first[1:] == ["-", "100*", "50*"]
    assert sweep[1:] == ["2", "20*", "10*"]
    assert written.against_limits(made_up)[1][1:] == ["0.5"]
    assert written.measured(made_up)[1][1:] == ["8", "6", "1", "1", "254", "254", "100"]
    assert written.peers(made_up)[1][-1] == "20 rows, scaled"
    goal = Goal("speed", 20, None)
    assert written.wanted([goal])[1] == ["speed", "at least 20", "-", "not measured"]
    assert "\\*" in written.markdown(written.against_peers(made_up))


def test_results_are_a_table_a_file_a_figure_and_runs(
    made_up: list[Row], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlflow.tracking import MlflowClient

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Rounds, "all", lambda self: made_up)
    monkeypatch.setattr(rounds, "missing", lambda name: "no JAX: .[bench]" if name == "jax" else "")
    throughput.main("tiny", tmp_path / "results")
    out = capsys.readouterr().out
    assert "timed on a part and scaled" in out
    assert "no JAX: .[bench]" in out
    (page,) = (tmp_path / "results").glob("*.md")
    assert "| sweep of 4, times scikit-learn | at least 100 | 10 | not reached |" in page.read_text()
    assert page.with_suffix(".png").read_bytes()[:4] == b"\x89PNG"
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("throughput")
    assert experiment
    runs = client.search_runs([experiment.experiment_id])
    (summary,) = [run for run in runs if run.data.tags["kind"] == "sweep"]
    others = [run for run in runs if run.data.tags.get("sweep") == summary.info.run_id]
    assert len(others) == 8
    (jax,) = [run for run in others if run.data.params["peer"] == "jax"]
    assert jax.data.metrics["times_the_harness"] == 2
    assert jax.data.params["configurations"] == "4"
    assert summary.data.metrics["goal/sweep of 4 times scikit-learn"] == 10
    assert {file.path for file in client.list_artifacts(summary.info.run_id)} == {page.name, f"{page.stem}.png"}


def test_a_missing_or_wrong_peer_is_a_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    there = process.importlib.util.find_spec
    monkeypatch.setattr(process.importlib.util, "find_spec", lambda name: None if name == "jax" else there(name))
    (tmp_path / "there/.harness").mkdir(parents=True)
    (tmp_path / "there/.harness/table").write_bytes(b"0" * 100)

    def wrong(name: str, tasks: list[Task]) -> list[Outcome]:
        """Answer at once; scikit-learn alone is wrong."""
        if name in ("constants", "reference"):
            return [getattr(reference, {"constants": name}.get(name, "train"))(task) for task in tasks]
        known = [reference.train(replace(task, folder="")).fits if task.chunks else [] for task in tasks]
        if name == "sgd":
            known = [[Fit(fit.chunk, fit.rate, fit.epochs, [9.0, 9.0]) for fit in fits] for fits in known]
        pairs = zip(tasks, known, strict=True)
        return [Outcome(task.rows, laps=[1.0], fits=fits, amount=1e3, device="CPU") for task, fits in pairs]

    monkeypatch.setattr(rounds, "measure", wrong)
    said: list[str] = []
    found = Rounds(replace(SIZES["tiny"], small=500), tmp_path, tmp_path, said.append)
    monkeypatch.setattr(found, "_there", {(str(tmp_path / "harness-bench-500.csv"), TASK.features): tmp_path / "there"})
    row = found.row(Case("", replace(TASK, rows=500), peers=("jax", "loop", "sgd")))
    assert list(row.peers) == ["loop"]
    assert "JAX, vmap and scan, polars: skipped, no jax here (pip install -e '.[bench]')" in found.remarks
    assert any(line.startswith("not counted: scikit-learn partial_fit") for line in found.remarks)
    assert set(said) >= set(found.remarks)


def test_a_case_or_peer_that_fails_does_not_take_the_rest_along(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(name: str, tasks: list[Task]) -> list[Outcome]:
        if name in ("ours", "loop"):
            raise RuntimeError(f"{name} ended with 1")
        return [reference.constants(task) for task in tasks]

    monkeypatch.setattr(rounds, "measure", broken)
    found = Rounds(replace(SIZES["tiny"], small=300, large=400), tmp_path, tmp_path, lambda line: None)
    assert found.all() == []
    failed = [line for line in found.remarks if line.startswith("failed: ")]
    assert len(failed) == len(cases(SIZES["tiny"]))
    assert failed[0] == "failed: 300 rows, 1 feature, chunk 100, 1 epoch, table there: ours ended with 1"
    assert "not counted: loop ended with 1" in found.remarks


def test_sizes_have_what_goals_ask_for() -> None:
    for sizes in SIZES.values():
        keys = {case.key for case in cases(sizes)}
        assert keys >= {"first", "there", "longest", "sweep"}
    sweep = next(case for case in cases(SIZES[""]) if case.key == "sweep")
    assert (sweep.task.configurations, sweep.task.rows, sweep.fresh) == (64, 20_000_000, True)
    widest = max(cases(SIZES["full"]), key=lambda case: len(set(case.task.rates)))
    assert len(set(widest.task.rates)) * len(widest.task.chunks) == 1024


def test_a_size_that_is_not_known_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"BENCH expected nothing or one of full, tiny\. Received: long\."):
        throughput.main("long")


def test_no_gpu_is_said(made_up: list[Row]) -> None:
    assert throughput.device_remarks(made_up, "CPU") == ["No GPU: nothing here was measured on one."]


def test_advice_of_auto_is_checked_on_a_gpu() -> None:
    times = {"linear cpu": 1.0, "linear gpu": 4.0, "linear auto": 4.0, "network cpu": 9.0, "network gpu": 3.0}
    times["network auto"] = 3.0
    rows = [Row(Case(key, TASK), standing("ours", seconds)) for key, seconds in times.items()]
    linear, network = throughput.device_remarks(rows, "GPU (X)")
    assert linear == "device=auto on GPU (X), linear: cpu 1 s, gpu 4 s, auto 4 s; auto takes 4.00 of the best."
    assert network.endswith("auto takes 1.00 of the best.")


def test_tables_fit_a_terminal(made_up: list[Row], capsys: pytest.CaptureFixture[str]) -> None:
    written.show("Goals", written.wanted(goals(made_up, {})), Console(width=120))
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 120


def test_outcomes_survive_the_way_between_processes(task: Task) -> None:
    from dataclasses import asdict

    assert Task.of(json.loads(json.dumps(asdict(task)))) == task
