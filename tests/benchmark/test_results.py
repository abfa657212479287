"""The benchmark's arithmetic, goals and output, on made-up measurements; nothing is timed."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.benchmark import __main__ as command
from experiments.benchmark import measure, report
from experiments.benchmark.cases import Case, cases
from experiments.benchmark.goals import Goal, goals
from experiments.benchmark.measure import Benchmark
from experiments.benchmark.task import Fit, Outcome, Task
from experiments.benchmark.timing import Part, Row, Span, Timing, ratio, span, timing, total


def fake(name: str, work: float, compile: float = 0.0, measured_rows: int = 0) -> Timing:
    return Timing(name, span([work]), span([6.0]), span([compile]), 100.0, measured_rows)


@pytest.fixture
def rows() -> list[Row]:
    """Return rows as if they had been measured; only the sweep has JAX."""
    first, longest = Case("first", Task(2000)), Case("longest", Task(2000, stops=(4,)))
    sweep = Case("sweep", Task(2000, rates=(0.1, 0.2), stops=(2, 4)))
    slow = {"loop": fake("loop", 100.0, measured_rows=20), "sklearn": fake("sklearn", 50.0, measured_rows=20)}
    return [
        Row(first, fake("harness", 1.0, 1.0), slow),
        Row(longest, fake("harness", 4.0), {}),
        Row(sweep, fake("harness", 5.0, 1.0), slow | {"jax": fake("jax", 10.0)}),
    ]


PARTS = {
    "parse_pandas": Part("bare parse", span([2.0])),
    "update/64/100": Part("update", span([11.0]), "us"),
    "lanes": Part("lanes", span([1024.0]), ""),
}


def test_spans_are_medians_with_their_range() -> None:
    assert total([span([3.0, 1.0, 2.0]), Span(2, 4, 6)]) == Span(3, 6, 9)
    assert str(span([3.0, 1.0, 2.0])) == "2 (1 to 3)"
    assert str(span([1234.5])) == "1,234"


def test_first_rows_are_scaled_to_the_task() -> None:
    # Reading 100 rows takes 1 s, and an epoch on them 1 s (1 to 3); the task has 1,000 rows, two rates, 3 + 4 epochs.
    task = Task(1000, rates=(0.1, 0.2), stops=(3, 4))
    part = Outcome(100, [2, 2, 6], startup=5, compile=0.5, read=1, lap_epochs=2, peak_mb=7)
    found = timing("loop", task, [part])
    assert found.work == Span(10 + 140, 10 + 140, 10 + 420)
    assert found.wall.mid == 150 + 5.5
    assert (found.measured_rows, found.peak_mb) == (100, 7)
    assert found.rate(task) == 14_000 / 155.5
    assert timing("vw", Task(1000, (100, 1000)), [Outcome(100, [1.0])]).work.mid == 20


def test_repetitions_are_one_timing() -> None:
    outcomes = [Outcome(10, [lap], read=1, compile=2, startup=1, peak_mb=lap) for lap in (3.0, 4.0, 8.0)]
    found = timing("jax", Task(10), outcomes)
    assert (found.work, found.compile.mid, found.peak_mb, found.measured_rows) == (Span(4, 5, 9), 2, 8, 0)
    assert ratio(found, fake("harness", 2.5, 1.0)) == 2.0
    assert ratio(found, fake("harness", 2.5, 1.0), compiling=True) == 2.0
    assert ratio(None, found) is None


def test_goals_are_reached_missed_or_not_measured(rows: list[Row]) -> None:
    found = {goal.what: (goal.measured, goal.verdict) for goal in goals(rows, PARTS)}
    run, sweep = "one run, chunk 100, speed-up over the best pandas loop", "sweep of 4"
    assert found[f"{run}, CSV not yet parsed, with compilation"] == (25, "reached")
    assert found[f"{run}, CSV not yet parsed, without compilation"] == (50, "reached")
    assert found[f"{run}, table cached, without compilation"] == (None, "not measured")
    assert found[f"{sweep}, speed-up over scikit-learn"] == (10, "not reached")
    assert found[f"{sweep}, speed-up over Keras"] == (None, "not measured")
    assert found[f"{sweep}, speed-up over JAX, without compilation"] == (2, "reached")
    assert found[f"{sweep}, CSV not yet parsed, relative to a plain pandas parse, without compilation"] == (
        2.5,
        "not reached",
    )
    assert found["T(4)/T(1), with compilation"] == (1.5, "reached")
    assert found["64 lanes, chunk 100, microseconds per update"] == (11.0, "not reached")
    assert found["lanes trained by one scan"] == (1024, "reached")


def test_goals_have_names_that_stores_accept() -> None:
    assert report.metric_name(Goal("256 proposals, % of (all) a/b", 5, 1.0)) == "goal/256 proposals of all a b"


def test_tables_mark_scaled_and_missing_peers(rows: list[Row]) -> None:
    header, first, _, sweep = report.ratio_table(rows)
    assert header == [
        "case",
        "JAX, vmap and scan, polars",
        "plain loop: pandas chunks, eager Adam",
        "scikit-learn partial_fit",
    ]
    assert first[1:] == ["-", "100*", "50*"]
    assert sweep[1:] == ["2", "20*", "10*"]
    assert report.time_table(rows)[1][1:] == ["harness", "8", "6", "1", "1", "250", "100", "all"]
    assert report.time_table(rows)[2][-1] == "20 rows, scaled"
    assert "\\*" in report.markdown(report.ratio_table(rows))


def test_results_are_tables_a_page_a_figure_and_runs(
    rows: list[Row], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlflow.tracking import MlflowClient

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Benchmark, "rows", lambda self: rows)
    monkeypatch.setattr(Benchmark, "parts", lambda self: PARTS)
    monkeypatch.setattr(measure, "missing", lambda name: "no JAX" if name == "jax" else "")
    monkeypatch.setattr(command, "lacks_postgres", lambda: "PostgreSQL is not tried")
    assert command.main(["--results", "results", "--only", "rows"]) == 0
    assert "no JAX" in capsys.readouterr().out
    (page,) = Path("results").glob("*.md")
    assert "| sweep of 4, speed-up over scikit-learn | at least 100 | 10 | not reached |" in page.read_text()
    assert "`make bench BENCH='--results results --only rows'`, python" in page.read_text()
    assert page.with_suffix(".png").read_bytes()[:4] == b"\x89PNG"
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("benchmark")
    assert experiment
    runs = client.search_runs([experiment.experiment_id])
    (summary,) = [run for run in runs if run.data.tags["kind"] == "sweep"]
    others = [run for run in runs if run.data.tags.get("sweep") == summary.info.run_id]
    assert len(others) == 8
    (jax,) = [run for run in others if run.data.params["peer"] == "jax"]
    assert jax.data.metrics["times_the_harness"] == 2
    assert summary.data.metrics["goal/sweep of 4 speed-up over scikit-learn"] == 10
    assert {file.path for file in client.list_artifacts(summary.info.run_id)} == {page.name, f"{page.stem}.png"}


def test_missing_wrong_and_failing_peers_are_remarks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def run(name: str, tasks: list[Task]) -> list[Outcome]:
        """Return at once; scikit-learn's result is wrong, and the compiled loop fails."""
        if name == "compiled":
            raise RuntimeError("it exited with code 1")
        weights = [9.0, 9.0] if name == "sklearn" else [0.0, 0.0]
        fits = [
            [Fit("line", 0, 0, [0.0, 0.0], 1.0)] * 2 if name == "reference" else [Fit(100, 0.01, 1, weights)] * 64
        ] * len(tasks)
        return [Outcome(task.rows, [1.0], each, epochs=[1.0, 1.0]) for task, each in zip(tasks, fits, strict=True)]

    monkeypatch.setattr(measure, "run_peer", run)
    monkeypatch.setattr(
        measure, "missing", lambda name: f"{name}: skipped" if name in ("jax", "jax_mlflow", "vw") else ""
    )
    benchmark = Benchmark(500, 1, tmp_path, tmp_path, lambda line: None)
    found = benchmark.rows()
    assert [row.case.key for row in found] == ["first", "there", "longest", "sweep", "mlp"]
    assert [list(row.peers) for row in found] == [["keras", "loop"]] * 4 + [["keras"]]
    assert "jax: skipped" in benchmark.remarks
    assert "not counted: it exited with code 1" in benchmark.remarks
    assert any(line.startswith("not counted: scikit-learn partial_fit") for line in benchmark.remarks)
    assert not benchmark.failed


def test_a_failing_harness_is_reported_as_a_remark(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def run(name: str, tasks: list[Task]) -> list[Outcome]:
        raise RuntimeError(f"{name} exited with code 1")

    monkeypatch.setattr(measure, "run_peer", run)
    benchmark = Benchmark(500, 1, tmp_path, tmp_path, lambda line: None)
    assert benchmark.rows() == []
    assert "failed: 500 rows, chunk 100, 1 epoch, CSV not yet parsed: harness exited with code 1" in benchmark.remarks
    assert benchmark.failed


def test_the_default_sweep_is_64_runs_on_20_million_rows() -> None:
    (sweep,) = [case for case in cases(command.ROWS) if case.key == "sweep"]
    assert (sweep.task.configurations, sweep.task.rows, sweep.fresh) == (64, 20_000_000, True)
    (mlp,) = [case for case in cases(command.ROWS) if case.key == "mlp"]
    assert mlp.name == "200,000 rows, MLP 64-64, 18 features, 64 runs, chunks 1,000, 3 epochs, table cached"
    assert sweep.name == "20,000,000 rows, 64 runs, chunks 100, 1,000, 10,000, full, 10 epochs, CSV not yet parsed"
