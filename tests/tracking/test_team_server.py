"""A team's server as docs/team-server.md sets it up: PostgreSQL, artifacts on S3 or in a folder, passwords, TLS."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import NamedTuple

import mlflow
import pytest
from mlflow import MlflowClient

from experiments.benchmark.servers import HOST, free_port, lacks_postgres, mlflow_server, postgres
from harness.errors import ConfigError
from harness.tracking._compat_server_version import server_version
from harness.tracking.store import open_store
from tests.warm import Warm

DOCS = (Path(__file__).parents[2] / "docs" / "team-server.md").read_text()
WORDS = ["data=csv", "data.path=rows.csv", "data.features=[x]", "data.target=y", "epochs=1", "tracking.wait=20"]
ROWS = "x,y\n" + "".join(f"{row % 7},{3 * (row % 7) + row % 2}\n" for row in range(60))
ADMIN, READER = "correct horse", "battery staple"
LACKING = [name for name in ("flask_wtf", "boto3", "moto") if importlib.util.find_spec(name) is None]


class Team(NamedTuple):
    """A server with passwords and TLS, and the bucket of its artifacts."""

    uri: str
    authority: Path
    folder: Path

    def login(self, user: str, password: str) -> dict[str, str | None]:
        names = {"https://NAME:5000": team.uri, "EXPERIMENT_ID": experiment.experiment_id}

    add_user, let_write = (_with(command, names) for command in documented("python -c"))
    subprocess.run(add_user, input=READER, text=True, check=True, capture_output=True, timeout=200)
    opening = f"harness: tracking.uri: cannot open the tracking store {team.uri} "
    reader = team.login("ada", READER)
    assert train(warm, tmp_path, reader, "compare")[0] == 0
    forbidden = "(this user may not do that; ask the server's administrator for permission)."
    assert train(warm, tmp_path, reader) == (2, opening + forbidden)
    subprocess.run(let_write, check=True, capture_output=True, timeout=200)
    assert train(warm, tmp_path, reader)[0] == 0
    for login in (team.login("admin", "wrong"), team.login("nobody", ADMIN), stored):
        code, line = train(warm, tmp_path, login)
        assert code == 2
        assert line.startswith(f"{opening}(the user name or password is missing or wrong; set MLFLOW_TRACKING_USER")
    code, line = train(warm, tmp_path, admin | {"MLFLOW_TRACKING_SERVER_CERT_PATH": None})
    assert code == 2
    assert line.startswith(f"{opening}(the server's certificate is not trusted; set MLFLOW_TRACKING_SERVER_CERT_PATH")
    # Only what the user wrote has a password.
    written = [path for path in [*tmp_path.rglob("*"), team.folder / "server.log"] if path.is_file()]
    assert not [path for path in written if any(word.encode() in path.read_bytes() for word in (ADMIN, READER))]
    runs = MlflowClient(team.uri).search_runs([experiment.experiment_id])
    assert sorted(run.info.status for run in runs) == ["FINISHED"] * 3  # Two runs and their sweep.


@pytest.mark.slow
def test_a_folder_and_two_processes(
    database: Mapping[str, str], warm: Warm, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    server = tmp_path_factory.mktemp("server")
    with mlflow_server(server, database) as uri:
        assert server_version(uri) == mlflow.__version__
        code, _ = train(warm, tmp_path, {"MLFLOW_TRACKING_URI": uri}, "train", "-m", "seed=3,4", *WORDS)
        assert code == 0
        assert len([*(server / "artifacts").rglob("config.yaml")]) == 2
    code, line = train(warm, tmp_path, {"MLFLOW_TRACKING_URI": uri})
    assert code == 2
    assert re.search(r"cannot open the tracking store http://\S+ \(.*Connection refused\)", line)


class Old(BaseHTTPRequestHandler):
    """A server of an old version."""

    def do_GET(self) -> None:
        body = b"2.22.0" if self.path == "/version" else b"{}"
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_an_old_server_is_refused() -> None:
    with ThreadingHTTPServer((HOST, 0), Old) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        uri = f"http://{HOST}:{server.server_port}"
        with pytest.raises(ConfigError, match=r"runs MLflow 2\.22\.0\. Upgrade it to MLflow 3 or newer\."):
            open_store(uri, "harness")
        server.shutdown()
