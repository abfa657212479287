"""A real Slurm cluster of two nodes on this machine, with its own daemons, on the loopback interface only."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.servers import dying_with_parent, free_port

DAEMONS = ("slurmctld", "slurmd", "munged", "sbatch")
ENOUGH_MB = 1000  # Memory that a node claims to have.


def why_not() -> str:
    """Return why a cluster cannot be started here; empty if it can."""
    if missing := [name for name in DAEMONS if not shutil.which(name)]:
        return f"Slurm and munge are not installed (no {missing[0]})"
    return "" if os.geteuid() == 0 else "Slurm's daemons are started by root here"


class Slurm:
    """The cluster: nodes `n1` and `n2` with one core each, and the partitions `main` and, with priority, `urgent`."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._daemons = folder, dict[str, subprocess.Popen]()
        for name in ("munge", "state", "n1", "n2"):
            (folder / name).mkdir()
        (folder / "munge/key").write_bytes(secrets.token_bytes(1024))
        (folder / "munge/key").chmod(0o600)
        folder.chmod(0o711)
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf")}
        (folder / "slurm.conf").write_text(self._configuration())
        try:
            self._start_all()
        except BaseException:
            self.close()
            raise

    def _start_all(self) -> None:
        folder = self._folder
        own = [f"--{name}={folder}/munge/{file}" for name, file in (("socket", "socket"), ("pid-file", "pid"))]
        own += [f"--{name}={folder}/munge/{name}" for name in ("log-file", "seed-file")]
        self._start("munged", "munged", "--force", "--foreground", f"--key-file={folder}/munge/key", *own)
        self._await(lambda: (folder / "munge/socket").exists())
        self._start("slurmctld", "slurmctld", "-D")
        for node in ("n1", "n2"):
            self.start_node(node)
        self._await(lambda: self.run("sinfo", "--noheader", "--format=%T %D").split()[:2] == ["idle", "2"])

    def start_node(self, node: str) -> None:
        self._start(node, "slurmd", "-D", "-N", node)

    def lose_node(self, node: str) -> None:
        """Kill a node's daemon and everything that it runs."""
        self._kill(self._daemons.pop(node))

    def run(self, *words: str) -> str:
        done = subprocess.run(
            words, env=os.environ | self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        return done.stdout if done.returncode == 0 else ""

    def nodes(self) -> dict[str, str]:
        """Return the nodes of running jobs."""
        lines = self.run("squeue", "--noheader", "--array", "--states=RUNNING", "--format=%F_%K %N").splitlines()
        return dict(line.split() for line in lines if len(line.split()) == 2)  # type: ignore[misc]

    def close(self) -> None:
        for daemon in self._daemons.values():
            self._kill(daemon)

    def _start(self, name: str, *words: str) -> None:
        with (self._folder / f"{name}.log").open("ab") as log:
            self._daemons[name] = subprocess.Popen(
                dying_with_parent(words),
                env=os.environ | self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _kill(self, daemon: subprocess.Popen) -> None:
        """Kill a daemon and what it runs; daemons of jobs are detached, but their environment names this cluster."""
        for process in psutil.process_iter(["environ"]):
            own = process.info["environ"] or {}
            is_ours = own.get("SLURM_CONF") == self.environment["SLURM_CONF"]
            if is_ours and own.get("SLURMD_NODENAME") == daemon.args[-1]:  # type: ignore[index]
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        daemon.kill()
        daemon.wait()

    @staticmethod
    def _await(condition) -> None:  # type: ignore[no-untyped-def]
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def _configuration(self) -> str:
        folder, host, ports = self._folder, socket.gethostname().partition(".")[0], [free_port() for _ in range(3)]
        return f"""
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SlurmdTimeout=10
MinJobAge=10
KillWait=30
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=n[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{ports[1]},{ports[2]}] CPUs=1 RealMemory={ENOUGH_MB}
PartitionName=main Nodes=n[1-2] Default=YES MaxTime=INFINITE PriorityTier=1
PartitionName=urgent Nodes=n[1-2] MaxTime=INFINITE PriorityTier=10
"""


@contextlib.contextmanager
def running() -> Iterator[Slurm]:
    with (
        tempfile.TemporaryDirectory(dir="/tmp") as folder,  # Paths of sockets must be short.
        contextlib.closing(Slurm(Path(folder))) as slurm,
    ):
        yield slurm
