"""Real servers to test against, and a proxy whose connections can be cut."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

HOST = "127.0.0.1"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def dying_with_parent(words: Sequence[str]) -> list[str]:
    """Return a command that, where possible, is killed when the thread that starts it ends, however that happens."""
    return [*(["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []), *words]


class Server:
    """`mlflow server` with a store in a folder; it can be killed and restarted on the same port."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.uri = f"http://{HOST}:{self.port}"
        self.start()

    def start(self) -> None:
        words = ["server", "--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db", "--host", HOST]
        words += ["--artifacts-destination", str(self.folder / "artifacts"), "--port", str(self.port), "--workers", "1"]
        self._process = subprocess.Popen(
            dying_with_parent([sys.executable, "-m", "mlflow", *words]),
            env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=1):
                return
            time.sleep(0.1)
        self.kill()
        raise TimeoutError(self.uri)

    def kill(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@contextlib.contextmanager
def running_ui(folder: Path) -> Iterator[str]:
    """Run `harness ui` in a folder; return the address that it prints."""
    command = [Path(sys.executable).with_name("harness"), "ui"]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        lines = itertools.islice(process.stdout, 20)
        yield next(found[0] for line in lines if (found := re.search(r"http://[\d.:]+", line)))
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


class Proxy:
    """Forwards a port to another one until it is cut."""

    def __init__(self, target: int) -> None:
        self.port, self._target = free_port(), target
        self.uri = f"http://{HOST}:{self.port}"
        self._sockets: list[socket.socket] = []
        self.restore()

    def restore(self) -> None:
        self._listener = socket.create_server((HOST, self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        for each in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._sockets.clear()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.create_connection((HOST, self._target))
            self._sockets += [near, far]
            for pair in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Server]:
    server = Server(folder)
    try:
        yield server
    finally:
        server.kill()
