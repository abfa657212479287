"""Secrets in addresses, passed to real commands and a real server, appear in no file and no output."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.cli.test_main import CSV, stored
from tests.warm import Warm

CANARY = "CAN4RYcanary99"
OPTIONS = ["data=csv", "data.features=[x]", "data.target=y", "epochs=1", "runtime.workers=1"]


class Handler(BaseHTTPRequestHandler):
    """Serves a CSV file at every path, except for rejected ones."""

    def do_GET(self) -> None:
        self.send_response(403 if "refused" in self.path else 200)
        self.send_header("Content-Length", str(len(CSV)))
        self.send_header("ETag", '"1"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(CSV.encode())

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


Leaks = Callable[..., tuple[int, str, list[str]]]


@pytest.fixture
def leaks(warm: Warm, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Leaks:
    """Run a command; return its exit code, its output, and where the secret is found."""

    def run(*words: str, **more: str) -> tuple[int, str, list[str]]:
        log = tmp_path_factory.mktemp("output") / "log"
        code = warm.run(tmp_path, *words, log=log, environment=more)
        printed = log.read_text()
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        found = [str(path) for path in files if CANARY.encode() in path.read_bytes() or CANARY in path.name]
        return code, printed, [*found, *(["output"] if CANARY in printed else [])]

    return run


@pytest.mark.slow
@pytest.mark.parametrize("sweep", [[], ["-m", "seed=0,1"], ["-m", "seed=0,1", "hydra/launcher=basic"]], ids=len)
@pytest.mark.parametrize("login", [f"me:{CANARY}", f"me:a {CANARY} b"])
def test_a_successful_command_writes_no_secret(
    tmp_path: Path, leaks: Leaks, port: int, sweep: list[str], login: str
) -> None:
    address = f"http://{login}@127.0.0.1:{port}/x.csv?access_token={CANARY}&X-Amz-Signature={CANARY}"
    words = [*sweep, *OPTIONS, f"data.path='{address}'", "hydra.verbose=true"]
    if sweep:
        words.append("hydra.sweep.subdir=${hydra.job.override_dirname}")
    code, printed, found = leaks("train", *words)
    assert (code, found) == (0, []), printed
    assert {run.info.status for run in stored(tmp_path)} == {"FINISHED"}
    commands = [["compare", "--json"], ["compare", "--csv"], ["sweeps"], ["report"], ["data", "list"], ["clean"]]
    for command in commands if sweep and "basic" not in sweep[-1] else ():
        assert leaks(*command)[::2] == (0, [])


@pytest.mark.slow
def test_a_rejected_command_shows_no_secret(tmp_path: Path, leaks: Leaks, port: int) -> None:
    (tmp_path / "small.csv").write_text(CSV)
    server = f"127.0.0.1:{port}"
    local = [*OPTIONS, "data.path=small.csv"]
    refused = [
        ["train", *OPTIONS, f"data.path='http://me:{CANARY}@{server}/refused?api_key={CANARY}'"],
        ["train", *OPTIONS, f"data.path='http://me:a/{CANARY}#b@{server}/x.csv'"],
        ["train", *OPTIONS, f"data.path=http:/me:{CANARY}@{server}/x.csv"],
        ["train", *OPTIONS, f"data.path=http://{server}/refused?sig={CANARY}"],
        ["train", *local, f"tracking.uri=http://me:{CANARY}@127.0.0.1:9"],
        ["train", *local, f"tracking.uri=postgresql://me:p@{CANARY}/x:y@127.0.0.1:9/db"],
        ["train", *local, f"tracking.uri=nonsense://me:{CANARY}@host"],
        ["train", *local, f"+model.client_secret={CANARY}"],
        ["compare", "--uri", f"https://{CANARY}@127.0.0.1:9"],
        ["compare", "--uri", f"http://me:x/{CANARY}@:::"],
        ["data", "describe", f"http://me:{CANARY}@{server}/refused?token={CANARY}"],
    ]
    for words in refused:
        code, printed, found = leaks(*words)
        assert (code, found) == (2, []), printed
        assert printed.strip().splitlines()[-1].startswith("harness: ")
        assert "***" in printed or "api_key" not in " ".join(words)


@pytest.mark.slow
def test_a_traceback_and_a_printed_configuration_show_no_secret(tmp_path: Path, leaks: Leaks, port: int) -> None:
    words = [*OPTIONS, f"data.path='http://me:a/{CANARY}@127.0.0.1:{port}/x.csv'"]
    code, printed, found = leaks("train", *words, HYDRA_FULL_ERROR="1", MLFLOW_TRACKING_PASSWORD=CANARY)
    assert (code, found) == (2, []), printed
    for option in (["--cfg", "job"], ["--cfg", "hydra"], ["--info", "config"], ["--help"]):
        code, printed, found = leaks("train", *option, *words)
        assert (code, found) == (0, []), printed
        assert "data" in printed
