"""Two processes that name one store differently, started at once: each run is trained once and recorded once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from tests.servers import Server

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PAIRS = 10
WORDS = ["train", "-m", "data.rows=20000", "chunksize=full,100", "learning_rate=0.01,0.1", "epochs=10"]
RUNS = 4
TIMES = ("time/", "rows_per_second", "system/", "memory/")
PROGRAM = """
import json, os, sys, tempfile
from harness.cli import main
from harness.runtime.imports import import_tensorflow
import_tensorflow()
import harness.analysis.figures, harness.analysis.render, harness.sweep.runner
tempfile.tempdir = None
print("ready", flush=True)
for line in sys.stdin:
    children = []
    for folder, variables, words in json.loads(line):
        pid = os.fork()
        if pid:
            children.append(pid)
            continue
        code = 99
        try:
            os.environ.update(variables)
            os.chdir(folder)
            log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1), os.dup2(log, 2)
            sys.argv = ["harness", *words]
            main.main()
        except SystemExit as end:
            code = end.code or 0
        finally:
            os._exit(code)
    print([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children], flush=True)
"""


class Pairs:
    """Runs two commands at once, each in its folder and with variables of its own."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert self._process.stdout
        assert self._process.stdout.readline() == "ready\n"

    def run(self, calls: Sequence[tuple[Path, Mapping[str, str], Sequence[str]]]) -> list[int]:
        """Return the exit codes of the calls: folders, variables and arguments."""
        assert self._process.stdin
        assert self._process.stdout
        print(
            json.dumps([[str(folder), variables, words] for folder, variables, words in calls]),
            file=self._process.stdin,
            flush=True,
        )
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate(timeout=60)


@pytest.fixture(scope="module")
def pairs() -> Iterator[Pairs]:
    process = Pairs()
    yield process
    process.close()


def numbers(uri: str) -> dict[tuple[str | None, str], list[tuple[int, float]]]:
    """All points of the runs by name and metric, after checking that each run is there once and has each step once."""
    client, found = MlflowClient(uri), {}
    (experiment,) = client.search_experiments(filter_string="name = 'harness'")
    records = client.search_runs([experiment.experiment_id], "tags.kind = 'run'")
    assert Counter(record.info.status for record in records) == {"FINISHED": RUNS}
    assert len({record.data.tags["signature"] for record in records}) == RUNS
    for record in records:
        for key in record.data.metrics:
            points = [(point.step, point.value) for point in client.get_metric_history(record.info.run_id, key)]
            assert max(Counter(step for step, _ in points).values()) == 1
            if not key.startswith(TIMES):
                found[record.info.run_name, key] = sorted(points)
    summaries = client.search_runs([experiment.experiment_id], "tags.kind = 'sweep'")
    assert {record.info.status for record in summaries} == {"FINISHED"}
    return found


@pytest.fixture(scope="module")
def undisturbed(pairs: Pairs, tmp_path_factory: pytest.TempPathFactory) -> dict:
    folder = tmp_path_factory.mktemp("undisturbed")
    assert pairs.run([(folder, {}, WORDS)]) == [0]
    return numbers(f"sqlite:///{folder}/mlflow.db")


def calls(folder: Path, uris: Sequence[str]) -> list[tuple[Path, Mapping[str, str], Sequence[str]]]:
    """Return a call for each address, from a working folder, a temporary folder and a home of its own."""
    found = []
    for index, uri in enumerate(uris):
        own = folder / f"user {index}"
        (own / "tmp").mkdir(parents=True)
        variables = {"TMPDIR": str(own / "tmp"), "HOME": str(own), "USER": f"u{index}", "LOGNAME": f"u{index}"}
        found.append((own, variables, [*WORDS, f"tracking.uri='{uri}'"]))
    return found


@pytest.mark.parametrize("number", range(PAIRS))
def test_two_names_of_a_database(number: int, pairs: Pairs, undisturbed: dict, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "other.db").symlink_to("real/mlflow.db")
    names = ["link/mlflow.db", "other.db", "real/../link//mlflow.db", "real/%6Dlflow.db"]
    one = f"sqlite:///{tmp_path}/real/mlflow.db"
    other = f"sqlite:///{tmp_path}/{names[number]}" if number < len(names) else "sqlite:///../real/mlflow.db"
    assert pairs.run(calls(tmp_path, [one, other])) == [0, 0], [
        log.read_text()[-2000:] for log in tmp_path.rglob("log")
    ]
    assert numbers(one) == undisturbed


def test_two_names_of_a_server(pairs: Pairs, undisturbed: dict, tmp_path: Path) -> None:
    server = Server(tmp_path)
    try:
        uris = [server.uri, server.uri.replace("127.0.0.1", "localhost") + "/"]
        assert pairs.run(calls(tmp_path, uris)) == [0, 0], [log.read_text()[-2000:] for log in tmp_path.rglob("log")]
        assert numbers(server.uri) == undisturbed
    finally:
        server.kill()
