"""A team's servers on this machine, for measurements and tests: PostgreSQL, and MLflow in front of it."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

HOST = "127.0.0.1"
_START_SECONDS = 120.0


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def lacks_postgres() -> str:
    """Return why PostgreSQL cannot be started here; empty if it can."""
    if _programs() is None:
        return "PostgreSQL is not installed"
    try:
        import psycopg2  # noqa: F401
    except ImportError:
        return "psycopg2 is not installed"
    return "" if os.getuid() or _user() else "PostgreSQL does not run as root, and there is no user postgres"


@contextlib.contextmanager
def postgres(*, is_durable: bool = True) -> Iterator[Mapping[str, str]]:
    """Run PostgreSQL with its own folder, port and password.

    Yields:
        The environment in which `mlflow server` stores its records there; the password is in a variable that only
        PostgreSQL's library reads.
    """
    programs = _programs()
    assert programs
    port, password, user = free_port(), secrets.token_hex(16), _user()
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    try:
        (folder / "password").write_text(password)
        if user:
            for path in (folder, folder / "password"):
                shutil.chown(path, user)
        data, options = folder / "data", ["-c", f"listen_addresses={HOST}", "-c", f"unix_socket_directories={folder}"]
        options += [] if is_durable else ["-c", "fsync=off"]
        words = ["-A", "scram-sha-256", "-U", "mlflow", "--pwfile", folder / "password", "-D", data]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder, "user": user}
        subprocess.run([programs / "initdb", *words], check=True, timeout=_START_SECONDS, **quiet)
        with _running([programs / "postgres", "-D", data, "-p", str(port), *options], signal.SIGINT, **quiet):
            _wait_for(lambda: socket.create_connection((HOST, port), 1).close(), "PostgreSQL")
            address = f"postgresql+psycopg2://mlflow@{HOST}:{port}/postgres?application_name=mlflow"
            yield {"MLFLOW_BACKEND_STORE_URI": address, "PGPASSWORD": password}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def mlflow_server(
    folder: Path, environment: Mapping[str, str], words: Sequence[str] = (), *, workers: int = 2, scheme: str = "http"
) -> Iterator[str]:
    """Run `mlflow server`, which proxies artifacts, and yield its address; its log is `folder`/server.log.

    Args:
        folder: Folder for the log and, unless `words` say otherwise, for artifacts.
        environment: Additional variables, such as those of `postgres`.
        words: Additional arguments.
        workers: Number of server processes.
        scheme: `http` or `https`.
    """
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", str(workers)]
    if "--artifacts-destination" not in words:
        command += ["--artifacts-destination", str(folder / "artifacts")]
    variables = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **environment}
    with (folder / "server.log").open("ab") as log:
        process = _running([*command, *words], signal.SIGTERM, stdout=log, stderr=log, env=variables, cwd=folder)
        with process as server:
            _wait_for(lambda: socket.create_connection((HOST, port), 1).close(), "mlflow server", server)
            if scheme == "http":
                _wait_for(lambda: urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=5).close(), "MLflow")
            yield f"{scheme}://{HOST}:{port}"


@contextlib.contextmanager
def _running(command: Sequence[object], end: signal.Signals, **options: object) -> Iterator[subprocess.Popen]:
    """Run a process, and end it along with all of its children."""
    process = subprocess.Popen([*map(str, command)], start_new_session=True, **options)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        process.send_signal(end)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_for(attempt: object, name: str, process: subprocess.Popen | None = None) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and (process is None or process.poll() is None):
        with contextlib.suppress(OSError):
            attempt()  # type: ignore[operator]
            return
        time.sleep(0.1)
    raise TimeoutError(f"{name} did not start")


def _programs() -> Path | None:
    """Return the folder of PostgreSQL's programs, which is not on the path in Debian."""
    on_path = [Path(found).resolve().parent for found in [shutil.which("initdb")] if found]
    found = [*on_path, *sorted(Path("/usr/lib/postgresql").glob("*/bin"))]
    return next((folder for folder in found if (folder / "initdb").is_file() and (folder / "postgres").is_file()), None)


def _user() -> str | None:
    """Return the user to run PostgreSQL as, since it refuses to run as root; None means the current user."""
    if os.getuid():
        return None
    with contextlib.suppress(KeyError):
        return pwd.getpwnam("postgres").pw_name
    return None
