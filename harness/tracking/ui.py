"""The MLflow UI, on the right store and for this machine only."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.errors import ConfigError, require
from harness.runtime.secrets import masked

HOST = "127.0.0.1"
START_SECONDS = 120


def serve(uri: str, port: int | None, say: Callable[[str], None]) -> int:
    """Start MLflow's server, say where it answers and where it shows the newest sweep, and wait until it ends.

    A store that is a server's already has its UI: then its addresses are said, and nothing is started.

    Args:
        uri: Tracking store.
        port: None takes 5000, or a free one if that is taken.
        say: Called with lines; with the addresses once the server answers.

    Returns:
        The server's exit code.

    Raises:
        ConfigError: There is no store, or the server does not start.
    """
    if uri.startswith(("http://", "https://")):
        require(port is None, "--port expected a store that is no server yet", masked(uri), "Leave --port out.")
        lines = _newest(uri, masked(uri))
        say(f"{masked(uri)}  (the store's own UI)")
        for line in lines:
            say(line)
        return 0
    port = _free_port((port,) if port else (5000, 0))
    if uri.startswith("sqlite:///"):
        path = uri.removeprefix("sqlite:///")
        require(Path(path).is_file(), "--uri expected a store", f"{path}, which is not there", "Train first.")
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--host",
        HOST,
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    # One person looks at runs and charts: a single process will do, and jobs for traces are not run. The store is no
    # argument: everybody on the machine can read those.
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_BACKEND_STORE_URI": uri}
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        say(f"store: {masked(uri)}")
        say("the MLflow UI is starting ...")
        address = f"http://{HOST}:{port}"
        lines = _newest(uri, address)
        deadline = time.monotonic() + START_SECONDS
        while not _answers(address):
            if server.poll() is not None or time.monotonic() > deadline:
                last = (server.communicate(timeout=5)[1].strip().splitlines() or ["no reason given"])[-1]
                raise ConfigError(f"the MLflow UI expected to start on {address}. Received: {masked(last)}.")
            time.sleep(0.2)
        say(f"{address}  (Ctrl-C ends it)")
        for line in lines:
            say(line)
        while server.poll() is None:
            # Now and then: a signal that another thread gets would not end a wait in this one.
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.communicate(timeout=0.5)
        return server.returncode
    except KeyboardInterrupt:
        return 0
    finally:
        server.terminate()
        server.wait()


def _newest(uri: str, server: str) -> list[str]:
    """Say where `server` shows the newest sweep of the store, if there is one."""
    from harness.tracking.reader import RunReader
    from harness.tracking.saved_views import addresses

    newest = RunReader(uri).newest_sweeps(1)
    if not newest:
        return ["no sweep yet: `harness train -m ...` trains one"]
    found = addresses(server, newest[0].info.experiment_id, newest[0].info.run_id)
    return [f"newest sweep's {what}: {address}" for what, address in found.items()]


def _free_port(wanted: Sequence[int]) -> int:
    """Return the first of the `wanted` ports that is free, where 0 stands for any."""
    for port in wanted:
        with socket.socket() as probe:
            # As the server will do: a port whose last connection has just ended is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except (OSError, OverflowError):
                continue
            return probe.getsockname()[1]
    raise ConfigError(f"--port expected a free port on {HOST}. Received: {wanted[0]}. Leave it out for any free one.")


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=1) as answer:
            return answer.status == 200
    except (OSError, urllib.error.URLError):
        return False
