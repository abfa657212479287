"""Launchers that train in other processes, such as Hydra's plugins for joblib and submitit."""

from __future__ import annotations

import importlib.util
import pickle
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hydra.core.utils import JobReturn, JobStatus

from harness.cli import main
from harness.cli.app import App
from harness.cli.job_results import JobResult, run_ids
from harness.errors import ConfigError
from tests.warm import Warm

ROWS = "".join(f"{row % 7},{3 * (row % 7) + row % 2}\n" for row in range(60))
DATA = ["data=csv", "data.path=rows.csv", "data.features=[x]", "data.target=y"]
LAUNCHERS = {
    "joblib": ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"],
    "submitit": ["hydra/launcher=submitit_local", "hydra.launcher.timeout_min=5"],
}


def ended(value: object, status: JobStatus = JobStatus.COMPLETED) -> JobReturn:
    job = JobReturn(overrides=["seed=1"], status=status)
    job.return_value = value
    return job


def test_a_result_is_a_number_that_knows_its_run() -> None:
    copy = pickle.loads(pickle.dumps(JobResult(0.25, "abc")))
    assert (copy + 1, copy.run_id) == (1.25, "abc")
    assert run_ids([ended(copy), ended(JobResult(float("inf"), "def"))], 2, "joblib") == ["abc", "def"]


@pytest.mark.parametrize("jobs", [None, [], [ended(0.25)]])
def test_a_launcher_that_does_not_wait_is_refused(jobs: list[JobReturn] | None) -> None:
    with pytest.raises(ConfigError, match=r"hydra/launcher=odd returned 0 results for 2 jobs, so their runs are"):
        run_ids(jobs, 2, "odd")  # type: ignore[arg-type]


def test_the_error_of_a_job_is_raised() -> None:
    with pytest.raises(MemoryError):
        run_ids([ended(JobResult(1, "abc")), ended(MemoryError(), JobStatus.FAILED)], 2, "joblib")


def test_other_sweepers_are_refused_with_such_a_launcher() -> None:
    app = App(["-m", "seed=0,1"])
    with pytest.raises(ConfigError, match="works only with hydra/sweeper=harness") as raised:
        pickle.dumps(app)
    assert app.error is raised.value
    app.collects = True
    assert pickle.loads(pickle.dumps(app)).runs == []


@pytest.mark.parametrize("words", [["hydra/launcher=basic"], ["hydra/launcher=basic", "hydra/sweeper=basic"]])
def test_runs_that_are_trained_one_by_one_are_not_tuned(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rows.csv").write_text(f"x,y\n{ROWS}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="This launcher trains each run on its own, but tiles are for runs that are"):
        main.cli.main(["tune", "-m", *words, *DATA, "seed=0,1"], standalone_mode=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", LAUNCHERS)
def test_real_launchers_train_one_sweep(name: str, warm: Warm, tmp_path: Path) -> None:
    if not importlib.util.find_spec(f"hydra_plugins.hydra_{name}_launcher"):
        pytest.skip(f"hydra-{name}-launcher is not installed")
    (tmp_path / "rows.csv").write_text(f"x,y\n{ROWS}")
    words = ["train", "-m", *LAUNCHERS[name], *DATA, "optimizer=sgd", "learning_rate=0.01,1e12", "chunksize=20"]
    assert warm.run(tmp_path, "plan", *words[1:], seconds=120) == 0
    assert "2 new" in (tmp_path / "log").read_text()
    assert not (tmp_path / "mlflow.db").exists()
    for times in range(1 if name == "submitit" else 2):  # The second time, every run is in the store.
        assert warm.run(tmp_path, *words, log=tmp_path / f"log{times}", seconds=240) == 1
        log = (tmp_path / f"log{times}").read_text()
        assert re.search(r"Best batch run \(chunks of 20 rows\)", log)
        assert log.count("failed: chunk=20 lr=1e+12 epochs=5: diverged at update ") == 1, log
        assert re.search("Sweep [0-9a-f]{8} is recorded", log)
        with closing(sqlite3.connect(tmp_path / "mlflow.db")) as store:
            query = "SELECT value, status FROM runs JOIN tags USING (run_uuid) WHERE key = 'kind' ORDER BY 1, 2"
            assert store.execute(query).fetchall() == [("run", "FAILED"), ("run", "FINISHED"), ("sweep", "FAILED")]
            assert store.execute("SELECT count(*) FROM tags WHERE key = 'sweep'").fetchone() == (2,)
