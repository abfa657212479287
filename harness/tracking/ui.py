"""Serves the MLflow UI for a store, on this machine only."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence

from harness.errors import ConfigError, require
from harness.runtime.secrets import masked
from harness.tracking._compat_moved import follow_move
from harness.tracking._compat_views import addresses
from harness.tracking.pages import experiments_page
from harness.tracking.run_search import RunSearch, require_store
from harness.tracking.uri import mlflow_uri, sqlite_path

HOST = "127.0.0.1"
START_SECONDS = 120


def serve(uri: str, port: int | None, say: Callable[[str], None]) -> int:
    """Start MLflow's server, print its URL and links to the newest sweep, and return its exit code when it ends.

    If the store is a server with its own UI, only print the URLs. The default port is 5000, or any free port if 5000 is
    taken. `say` is called with each line.

    Raises:
        ConfigError: The store does not exist, or the server does not start.
    """
    if uri.startswith(("http://", "https://")):
        require(port is None, f"--port: {masked(uri)} is a server with its own UI. Omit --port.")
        lines = newest_sweep_links(uri, masked(uri))
        for line in lines:
            say(line)
        return 0
    port = _free_port((port,) if port else (5000, 0))
    require_store(uri)
    if path := sqlite_path(uri):
        follow_move(path)
    server = _start(uri, port)
    try:
        say(f"store: {masked(uri)}")
        say("Starting the MLflow UI ...")
        address = f"http://{HOST}:{port}"
        lines = newest_sweep_links(uri, address)
        _wait_for(server, address)
        say("Ready. Ctrl-C stops it.")
        for line in lines:
            say(line)
        while server.poll() is None:
            # Wait in short steps, because a signal that reaches another thread would not end a longer wait.
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.communicate(timeout=0.5)
        return server.returncode
    except KeyboardInterrupt:
        return 0
    finally:
        server.terminate()
        server.wait()


def newest_sweep_links(uri: str, server: str) -> list[str]:
    """Return a line with the URL on `server` for each view of the store's newest sweep."""
    newest = RunSearch(uri).newest_sweeps(1)
    if not newest:
        return ["No sweeps yet. Run `harness train -m ...` to train one.", f"runs: {server}/{experiments_page()}"]
    info = newest[0].info
    links = addresses(server, info.experiment_id, info.run_id)
    return [f"newest sweep's {view}: {address}" for view, address in links.items()]


def _start(uri: str, port: int) -> subprocess.Popen[str]:
    # One worker is enough for one user, and background jobs for traces are not needed. The store's URI is passed in the
    # environment because other users of the machine can read command lines.
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    environment = os.environ | {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_BACKEND_STORE_URI": mlflow_uri(uri),
    }
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def _wait_for(server: subprocess.Popen[str], address: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _is_up(address):
        if server.poll() is not None or time.monotonic() > deadline:
            server.terminate()
            last = (server.communicate(timeout=5)[1].strip().splitlines() or ["no reason given"])[-1]
            raise ConfigError(f"The MLflow UI did not start on {address}: {masked(last)}")
        time.sleep(0.2)


def _is_up(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=1) as answer:
            return answer.status == 200
    except OSError:
        return False


def _free_port(candidates: Sequence[int]) -> int:
    """Return the first free port; 0 means any port."""
    for port in candidates:
        with socket.socket() as probe:
            # The server also sets this option, which makes a port available right after its last connection has ended.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except (OSError, OverflowError):
                continue
            return probe.getsockname()[1]
    raise ConfigError(f"--port: port {candidates[0]} is not available on {HOST}. Omit --port to use a free one.")
