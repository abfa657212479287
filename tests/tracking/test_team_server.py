"""A team's server set up as in docs/team-server.md: PostgreSQL, artifacts on S3 or in a folder, passwords, TLS."""

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
        names = {"MLFLOW_TRACKING_USERNAME": user, "MLFLOW_TRACKING_PASSWORD": password}
        return {"MLFLOW_TRACKING_URI": self.uri, "MLFLOW_TRACKING_SERVER_CERT_PATH": str(self.authority), **names}


def documented(pattern: str) -> list[str]:
    """Return the matching lines of the page's code."""
    return [line for line in DOCS.splitlines() if re.match(pattern, line)]


def _with(command: str, names: Mapping[str, str]) -> list[str]:
    """Return the words of a documented Python command, with this Python."""
    for name, value in names.items():
        command = command.replace(name, value)
    return [sys.executable, *shlex.split(command)[1:]]


@pytest.fixture(scope="module")
def database() -> Iterator[Mapping[str, str]]:
    if lacking := lacks_postgres():
        pytest.skip(lacking)
    with postgres(is_durable=False) as environment:
        yield environment


@pytest.fixture(scope="module")
def team(database: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    if LACKING:
        pytest.skip(f"{', '.join(LACKING)} not installed")
    import boto3
    from moto.server import ThreadedMotoServer

    folder = tmp_path_factory.mktemp("team")
    for command in documented("openssl "):
        words = shlex.split(command.replace("DNS:NAME", f"IP:{HOST}"))
        subprocess.run(words, cwd=folder, check=True, capture_output=True, timeout=60)
    (ini,) = re.findall(r"```\n(\[mlflow\]\ndefault_permission.*?)```", DOCS, re.DOTALL)
    (folder / "auth.ini").write_text(ini.replace("/srv/mlflow", str(folder)))
    port = free_port()
    with ExitStack() as stack:
        s3 = ThreadedMotoServer(HOST, port, verbose=False)
        s3.start()
        stack.callback(s3.stop)
        keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
        client = boto3.client(
            "s3",
            endpoint_url=f"http://{HOST}:{port}",
            region_name="us-east-1",
            aws_access_key_id="key",
            aws_secret_access_key="secret",
        )
        client.create_bucket(Bucket="team")
        environment = {
            **database,
            **keys,
            "MLFLOW_S3_ENDPOINT_URL": f"http://{HOST}:{port}",
            "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
            "MLFLOW_AUTH_ADMIN_USERNAME": "admin",
            "MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": "secret",
        }
        words = ["--app-name", "basic-auth", "--artifacts-destination", "s3://team/artifacts", "--uvicorn-opts"]
        words += [f"--ssl-keyfile={folder}/server.key --ssl-certfile={folder}/server.pem"]
        uri = stack.enter_context(mlflow_server(folder, environment, words, workers=1, scheme="https"))
        yield Team(uri, folder / "authority.pem", folder)
        stored = client.list_objects_v2(Bucket="team")["Contents"]
        assert any(thing["Key"].endswith("/config.yaml") for thing in stored)


def train(warm: Warm, folder: Path, environment: Mapping[str, str | None], *words: str) -> tuple[int, str]:
    """Run the command, and return its exit code and its last line."""
    (folder / "rows.csv").write_text(ROWS)
    (folder / "log").unlink(missing_ok=True)
    code = warm.run(folder, *(words or ("train", *WORDS)), environment=environment, seconds=200)
    return code, (folder / "log").read_text().splitlines()[-1]


@pytest.mark.slow
def test_passwords_tls_and_s3(team: Team, warm: Warm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    admin = team.login("admin", ADMIN)
    code, line = train(warm, tmp_path, admin, "train", "-m", "seed=0,1", *WORDS)
    assert (code, line[:6]) == (0, "Sweep "), line
    # The same from MLflow's credentials file.
    (tmp_path / ".mlflow").mkdir()
    (tmp_path / ".mlflow" / "credentials").write_text(
        f"[mlflow]\nmlflow_tracking_username = admin\nmlflow_tracking_password = {ADMIN}\n"
    )
    stored = admin | {"MLFLOW_TRACKING_USERNAME": None, "MLFLOW_TRACKING_PASSWORD": None, "HOME": str(tmp_path)}
    assert train(warm, tmp_path, stored)[0] == 0
    (tmp_path / ".mlflow" / "credentials").unlink()

    for name, value in admin.items():
        monkeypatch.setenv(name, value or "")
    experiment = MlflowClient(team.uri).get_experiment_by_name("harness")
    assert experiment
    names = {"https://NAME:5000": team.uri, "EXPERIMENT_ID": experiment.experiment_id}
    add_user, let_write = (_with(command, names) for command in documented("python -c"))
    subprocess.run(add_user, input=READER, text=True, check=True, capture_output=True, timeout=200)
    opening = f"harness: tracking.uri: cannot open the tracking store {team.uri} "
    reader = team.login("ada", READER)
    assert train(warm, tmp_path, reader, "compare")[0] == 0
    forbidden = "(this user does not have permission; ask the server's administrator)."
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
    # Only files that the user has written contain a password.
    written = [path for path in [*tmp_path.rglob("*"), team.folder / "server.log"] if path.is_file()]
    assert not [path for path in written if any(word.encode() in path.read_bytes() for word in (ADMIN, READER))]
    runs = MlflowClient(team.uri).search_runs([experiment.experiment_id])
    # Two runs, their sweep, and the leases of a user who may not delete runs.
    assert sorted(run.data.tags["kind"] for run in runs) == ["lease", "run", "run", "sweep"]
    assert {run.info.status for run in runs} == {"FINISHED"}


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
