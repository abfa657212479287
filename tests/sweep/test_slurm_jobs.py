"""Requests to Slurm, and how its answers are used; scripts replace its commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.config.launchers import SlurmConfig
from harness.errors import ConfigError
from harness.sweep.tasks.files import Job, TaskFiles
from harness.sweep.tasks.slurm import Slurm

ANSWERS = {
    "sbatch": "17;cluster",
    "scontrol": "MaxArraySize            = 2",
    "squeue": "17_0|RUNNING|None\n17_1|PENDING|Resources\n18_0|PENDING|JobHeldUser\n99_0|RUNNING|None",
    "sinfo": "n1 0/4/0/4 idle\nn2 4/0/0/4 allocated\nn3 0/0/4/4 down*\nn1 0/4/0/4 idle",
    "scancel": "",
}


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put scripts that record their calls first on the path, and return the file with the calls."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, answer in ANSWERS.items():
        (folder / name).write_text(
            f"#!/bin/sh\necho {name} \"$@\" >> {tmp_path}/calls\nenv > {tmp_path}/environment\ncat <<'X'\n{answer}\nX\n"
        )
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    for name in ("SLURM_JOB_ID", "SLURMD_NODENAME", "SLURM_CONF"):
        monkeypatch.setenv(name, "7")
    return tmp_path / "calls"


def files(folder: Path, count: int) -> list[TaskFiles]:
    return [TaskFiles.numbered(folder, number) for number in range(1, count + 1)]


def test_arrays_are_as_long_as_the_cluster_allows(calls: Path, tmp_path: Path) -> None:
    slurm = Slurm(SlurmConfig(partition="short", mem_gb=1.5, cpus_per_task=2, array_parallelism=5, setup=["umask 7"]))
    jobs = slurm.submit(files(tmp_path, 3), tmp_path / "logs")
    assert [(task.number, job.id, Path(job.log).name) for task, job in jobs] == [
        (1, "17_0", "slurm-17_0.log"),
        (2, "17_1", "slurm-17_1.log"),
        (3, "17_0", "slurm-17_0.log"),
    ]
    check, _, first, second = calls.read_text().splitlines()
    resources = "--cpus-per-task=2 --time=60 --mem=1536M --partition=short"
    assert check == f"sbatch --test-only {resources} --wrap=true"
    assert f"--array=0-1%5 {resources} " in first
    assert f"--array=0-0%5 {resources} " in second
    environment = dict(line.partition("=")[::2] for line in (tmp_path / "environment").read_text().splitlines())
    assert {name for name in environment if name.startswith("SLURM")} == {"SLURM_CONF"}
    script = Path(first.split()[-1])
    assert "\numask 7\n" in script.read_text()
    assert script.stat().st_mode & 0o777 == 0o600  # It may contain passwords.


def test_jobs_are_known_as_soon_as_they_are_there(calls: Path, tmp_path: Path) -> None:
    jobs = Slurm(SlurmConfig()).submit(files(tmp_path, 3), tmp_path / "logs")
    assert [next(jobs)[0].number, next(jobs)[0].number] == [1, 2]
    (calls.parent / "bin/sbatch").write_text("#!/bin/sh\necho the limit is reached >&2\nexit 1\n")
    with pytest.raises(ConfigError, match="the limit is reached"):
        next(jobs)


def test_what_slurm_says_of_jobs(calls: Path) -> None:
    slurm = Slurm(SlurmConfig(cpus_per_task=2, array_parallelism=100))
    assert slurm.size() == 4  # On two nodes.
    jobs = {number: Job(name, "log") for number, name in enumerate(("17_0", "17_1", "17_2", "18_0"), 1)}
    assert slurm.alive(jobs) == {1: "running", 2: "pending", 4: "pending (JobHeldUser)"}
    (calls.parent / "bin/squeue").write_text("#!/bin/sh\necho no contact >&2\nexit 1\n")
    assert slurm.alive(jobs) == dict.fromkeys(jobs, "unknown")
    slurm.stop({1: jobs[1], 2: jobs[2]})
    assert calls.read_text().splitlines()[-1] == "scancel --quiet 17_0 17_1"


def test_what_is_refused_before_anything_is_done(calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (calls.parent / "bin/sbatch").write_text("#!/bin/sh\necho 'sbatch: error: invalid partition: x' >&2\nexit 1\n")
    with pytest.raises(ConfigError, match=r"^Slurm: sbatch: invalid partition: x$"):
        Slurm(SlurmConfig(partition="x"))
    with pytest.raises(ConfigError, match=r"^hydra\.launcher\.timeout_min must be from 5 "):
        SlurmConfig(timeout_min=4)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(
        ConfigError, match=r"^hydra/launcher=slurm needs Slurm's sbatch command, which was not found\.$"
    ):
        Slurm(SlurmConfig())


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ([0], [[], 0, False]),
        ([2], [[2], 2, False]),
        ([143], [[143], 143, False]),
        ([137], [[137], 137, True]),
        ([75, 137, 137], [[75, 137, 137], 137, True]),
        ([137, 143, 139, 137], [[137, 143, 139, 137], 137, False]),
    ],
)
def test_which_ends_of_a_worker_put_its_job_back(
    calls: Path, tmp_path: Path, ends: list[int], expected: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "import sys, os; os._exit(int(open(sys.argv[-1]).read()))"
    monkeypatch.setattr("harness.sweep.tasks.slurm.work_command", lambda options: [sys.executable, "-S", "-c", code])
    slurm, (task,) = Slurm(SlurmConfig()), files(tmp_path, 1)
    list(slurm.submit([task], tmp_path / "logs"))
    script = calls.read_text().splitlines()[-1].split()[-1]
    environment = os.environ | {"SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_JOB_ID": "17"}
    for end in ends:
        task.order.write_text(json.dumps(end))
        calls.write_text("")
        done = subprocess.run(["bash", script], env=environment, timeout=60, check=False, stdout=subprocess.DEVNULL)
    assert [task.exits(), done.returncode, "scontrol requeue 17_0" in calls.read_text()] == expected
