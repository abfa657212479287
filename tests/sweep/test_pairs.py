"""Two processes that address one store differently, started at once, train and record each run once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from tests.servers import Server
from tests.sweep.folders import numbers_of
from tests.warm import Warm

pytestmark = pytest.mark.slow

PAIRS = 10
WORDS = [
    *("train", "-m", "data.rows=20000", "chunksize=full,100", "learning_rate=0.01,0.1", "epochs=10"),
    "runtime.time_alone=false",
]
RUNS = 4

Call = tuple[Path, Mapping[str, str], Sequence[str]]
"""A folder, variables and arguments."""


Pair = Callable[[Sequence[Call]], list[int]]


@pytest.fixture(scope="module")
def pair(warm: Warm) -> Pair:
    """Run calls at once, and return their exit codes."""

    def run(calls: Sequence[Call]) -> list[int]:
        with ThreadPoolExecutor() as pool:
            return list(pool.map(lambda call: warm.run(call[0], *call[2], environment=call[1]), calls))

    return run


def numbers(uri: str) -> dict:
    """Return the numbers of the runs, after checking that each run occurs only once."""
    client = MlflowClient(uri)
    (experiment,) = client.search_experiments(filter_string="name = 'harness'")
    records = client.search_runs([experiment.experiment_id], "tags.kind = 'run'")
    assert Counter(record.info.status for record in records) == {"FINISHED": RUNS}
    assert len({record.data.tags["signature"] for record in records}) == RUNS
    summaries = client.search_runs([experiment.experiment_id], "tags.kind = 'sweep'")
    assert {record.info.status for record in summaries} == {"FINISHED"}
    return numbers_of(client, records)


@pytest.fixture(scope="module")
def undisturbed(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> dict:
    folder = tmp_path_factory.mktemp("undisturbed")
    assert pair([(folder, {}, WORDS)]) == [0]
    return numbers(f"sqlite:///{folder}/mlflow.db")


def calls(folder: Path, uris: Sequence[str]) -> list[Call]:
    """Return a call for each address, each with its own working folder, temporary folder and home."""
    found = []
    for index, uri in enumerate(uris):
        own = folder / f"user {index}"
        (own / "tmp").mkdir(parents=True)
        variables = {"TMPDIR": str(own / "tmp"), "HOME": str(own), "USER": f"u{index}", "LOGNAME": f"u{index}"}
        found.append((own, variables, [*WORDS, f"tracking.uri='{uri}'"]))
    return found


@pytest.mark.parametrize("number", range(PAIRS))
def test_two_names_of_a_database(number: int, pair: Pair, undisturbed: dict, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "other.db").symlink_to("real/mlflow.db")
    names = ["link/mlflow.db", "other.db", "real/../link//mlflow.db", "real/%6Dlflow.db"]
    one = f"sqlite:///{tmp_path}/real/mlflow.db"
    other = f"sqlite:///{tmp_path}/{names[number]}" if number < len(names) else "sqlite:///../real/mlflow.db"
    assert pair(calls(tmp_path, [one, other])) == [0, 0], [log.read_text()[-2000:] for log in tmp_path.rglob("log")]
    assert numbers(one) == undisturbed


def test_two_names_of_a_server(pair: Pair, undisturbed: dict, tmp_path: Path) -> None:
    server = Server(tmp_path)
    try:
        uris = [server.uri, server.uri.replace("127.0.0.1", "localhost") + "/"]
        assert pair(calls(tmp_path, uris)) == [0, 0], [log.read_text()[-2000:] for log in tmp_path.rglob("log")]
        assert numbers(server.uri) == undisturbed
    finally:
        server.kill()
