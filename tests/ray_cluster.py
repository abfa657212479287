"""A real Ray cluster of two nodes on this machine, in its own network, since Ray listens on all interfaces."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import importlib.util
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

ADDRESS = "127.0.0.1:6379"
CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
QUICK = '{"health_check_period_ms": 500, "health_check_timeout_ms": 1000, "health_check_initial_delay_ms": 500}'


def why_not() -> str:
    """Return why a cluster cannot be started here; empty if it probably can."""
    if not importlib.util.find_spec("ray"):
        return "Ray is not installed"
    if missing := [name for name in ("unshare", "setpriv") if not shutil.which(name)]:
        return f"there is no {missing[0]} here"
    can = subprocess.run(["unshare", "-n", "true"], stderr=subprocess.DEVNULL).returncode == 0
    return "" if can else "network namespaces cannot be made here"


@contextlib.contextmanager
def own_network() -> Iterator[None]:
    """Move this thread, and what it starts, to a new network with only a loopback interface; end all of it."""
    libc = ctypes.CDLL(None, use_errno=True)
    outside = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        if libc.unshare(CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "unshare")
        try:
            with socket.socket() as some:
                fcntl.ioctl(some, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
            yield
        finally:
            while found := neighbours():
                for process in found:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.kill()
                psutil.wait_procs(found, timeout=10)
            libc.setns(outside, CLONE_NEWNET)
    finally:
        os.close(outside)


def neighbours() -> list[psutil.Process]:
    """Return the other processes in this thread's network."""
    here, found = Path("/proc/thread-self/ns/net").readlink(), []
    for process in psutil.process_iter(["status"]):
        with contextlib.suppress(OSError):
            is_here = Path(f"/proc/{process.pid}/ns/net").readlink() == here
            if is_here and process.pid != os.getpid() and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


class RayCluster:
    """Two nodes with one core each. The second one may be lost; drivers run on the first."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._daemons = folder, list[subprocess.Popen]()
        self._start(
            "--head", "--port=6379", "--include-dashboard=false", f"--temp-dir={folder}", f"--system-config={QUICK}"
        )
        (self._first,) = self.raylets()
        self.start_node()

    @staticmethod
    def raylets() -> list[int]:
        return [process.pid for process in neighbours() if process.name() == "raylet"]

    def start_node(self) -> None:
        self._start(f"--address={ADDRESS}")

    def lose_node(self) -> set[str]:
        """Kill the second node's daemon and everything that it runs; return the names of its actors."""
        (raylet,) = (pid for pid in self.raylets() if pid != self._first)
        lost = {name for name, (_, node) in self.workers().items() if node == raylet}
        family = [psutil.Process(raylet), *psutil.Process(raylet).children(recursive=True)]
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(family, timeout=30)
        return lost

    def workers(self) -> dict[str, tuple[psutil.Process, int]]:
        """Return the processes of the actors that train, and their node's daemon, by name."""
        found = {}
        for raylet in self.raylets():
            with contextlib.suppress(psutil.NoSuchProcess):
                for process in psutil.Process(raylet).children(recursive=True):
                    with contextlib.suppress(OSError):
                        output = Path(f"/proc/{process.pid}/fd/1").readlink().name
                        if match := re.fullmatch(r"ray-\d+-(\w+)\.log", output):
                            found[f"harness-{match[1]}"] = process, raylet
        return found

    def close(self) -> None:
        for daemon in self._daemons:
            daemon.kill()
            daemon.wait()

    def _start(self, *words: str) -> None:
        """Start a node whose daemons end with this thread, however that happens."""
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--node-ip-address=127.0.0.1", "--num-cpus=1"]
        command = ["setpriv", "--pdeathsig", "TERM", *command, "--block", *words]
        output = self._folder / f"{len(self.raylets())}.log"
        with output.open("wb") as log:
            environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0"}
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        self._daemons.append(process)
        deadline = time.monotonic() + 90
        while b"Ray runtime started" not in output.read_bytes():
            assert process.poll() is None, output.read_text()
            assert time.monotonic() < deadline, output.read_text()
            time.sleep(0.1)


@contextlib.contextmanager
def running() -> Iterator[RayCluster]:
    with tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as folder, own_network():
        cluster = RayCluster(Path(folder))  # Paths of sockets must be short.
        yield cluster
        cluster.close()
