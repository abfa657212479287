"""Workers as jobs on a Slurm cluster: arrays, whose jobs are requeued when a node or a worker is lost."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from harness.config.launchers import SlurmConfig
from harness.errors import ConfigError, require
from harness.sweep.tasks.attempts import MOST_FAILURES
from harness.sweep.tasks.cluster import Cluster, work_command
from harness.sweep.tasks.files import STOPPED, TRY_AGAIN, Job, TaskFiles

_SECONDS = 120  # How long a Slurm command may take.
_MAX_ARRAY = 1001  # Slurm's default MaxArraySize; indices must be smaller.

_SCRIPT = """#!/bin/bash
{setup}
orders=({orders})
order=${{orders[$SLURM_ARRAY_TASK_ID]}}
exits=${{order%.json}}.exits
{command} "$order" &
worker=$!
trap 'kill -TERM "$worker" 2>/dev/null' TERM
wait "$worker"; code=$?
while kill -0 "$worker" 2>/dev/null; do wait "$worker"; code=$?; done
trap '' TERM
if [ "$code" -ne 0 ]; then
  echo "$code ${{SLURMD_NODENAME:-$(hostname)}} $(date +%s)" >> "$exits"
  failures=$(grep -cvE '^({no_failures}) ' "$exits")
  if [ "$code" -gt 128 ] && [[ " {stopped_words} " != *" $code "* ]] && [ "$failures" -lt {most} ]; then
    scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID"
  fi
fi
exit "$code"
"""


class Slurm(Cluster):
    """A Slurm cluster, controlled through Slurm's own commands."""

    name, is_remote, seconds = "Slurm", True, 10.0

    def __init__(self, config: SlurmConfig, options: Sequence[str] = ()) -> None:
        """Store the launcher's configuration, and options for `harness work`.

        Raises:
            ConfigError: Slurm's commands are not installed, or Slurm rejects such jobs.
        """
        self.tasks, self.scratch, self._config, self._options = config.tasks, config.scratch, config, options
        missing = [name for name in ("sbatch", "squeue", "scontrol", "sinfo", "scancel") if not shutil.which(name)]
        require(not missing, f"hydra/launcher=slurm needs Slurm's {''.join(missing[:1])} command, which was not found.")
        self._run("sbatch", "--test-only", *self._resources(), "--wrap=true")

    def size(self) -> int:
        """Return the number of tasks that fit on the nodes that are up, regardless of what is running on them now."""
        where = ["--partition", self._config.partition] if self._config.partition else []
        lines = set(self._run("sinfo", "--noheader", "--Node", "--format=%N %C %T", *where).splitlines())
        free = 0
        for _, cpus, state in (line.split() for line in lines):
            total, other = int(cpus.split("/")[3]), int(cpus.split("/")[2])
            if not state.startswith(("down", "drain", "fail")):
                free += max(total - other, 0) // self._config.cpus_per_task
        return max(min(free, self._config.array_parallelism), 1)

    def cores(self, tasks: int) -> int:
        """Return the number of cores of each worker."""
        return self._config.cpus_per_task

    def submit(self, tasks: Sequence[TaskFiles], logs: Path) -> Iterator[tuple[TaskFiles, Job]]:
        """Submit the tasks in as few arrays as the cluster allows."""
        logs.mkdir(parents=True, exist_ok=True)
        for number, some in enumerate(_chunks(tasks, self._longest_array())):
            script = logs / f"array-{some[0].number}-{number}.sh"
            script.touch(mode=0o600)  # The user's shell commands may contain passwords.
            script.chmod(0o600)
            script.write_text(self._script(some), encoding="utf-8")
            answer = self._run(
                *("sbatch", "--parsable", "--requeue", "--open-mode=append", "--signal=B:TERM@60"),
                *("--job-name=harness", f"--chdir={Path.cwd()}", f"--output={logs.absolute()}/slurm-%A_%a.log"),
                *(f"--array=0-{len(some) - 1}%{self._config.array_parallelism}", *self._resources(), str(script)),
            )
            array = answer.strip().partition(";")[0]
            for index, task in enumerate(some):
                yield task, Job(f"{array}_{index}", f"{logs.absolute()}/slurm-{array}_{index}.log")

    def alive(self, jobs: Mapping[int, Job]) -> dict[int, str]:
        """Return the state of pending and running jobs; all are "unknown" while Slurm does not respond."""
        try:
            answer = self._run("squeue", "--me", "--noheader", "--array", "--format=%F_%K|%T|%r")
        except ConfigError:
            return dict.fromkeys(jobs, "unknown")
        states: dict[str, str] = {}
        for line in answer.splitlines():
            job, state, why = [*line.split("|"), "", ""][:3]
            waits = state == "PENDING" and why not in (
                "None",
                "Resources",
                "Priority",
                "JobArrayTaskLimit",
                "BeginTime",
            )
            states[job.strip()] = f"{state.lower()} ({why})" if waits else state.lower()
        return {number: states[job.id] for number, job in jobs.items() if job.id in states}

    def stop(self, jobs: Mapping[int, Job], *, kill: bool = False) -> None:
        """Cancel jobs: Slurm sends SIGTERM and, half a minute later or at once, SIGKILL."""
        ids = [job.id for job in jobs.values()]
        if ids and kill:
            self._run("scancel", "--quiet", "--full", "--signal=KILL", *ids)
        if ids:
            self._run("scancel", "--quiet", *ids)

    def _script(self, tasks: Sequence[TaskFiles]) -> str:
        return _SCRIPT.format(
            setup="\n".join(self._config.setup),
            orders=" ".join(shlex.quote(str(task.order.absolute())) for task in tasks),
            command=shlex.join(work_command(self._options)),
            no_failures="|".join(map(str, (*STOPPED, TRY_AGAIN))),
            stopped_words=" ".join(map(str, STOPPED)),
            most=MOST_FAILURES,
        )

    def _resources(self) -> list[str]:
        config = self._config
        words = [f"--cpus-per-task={config.cpus_per_task}", f"--time={config.timeout_min}"]
        words += [f"--mem={round(config.mem_gb * 1024)}M"] if config.mem_gb else []
        return words + ([f"--partition={config.partition}"] if config.partition else [])

    def _longest_array(self) -> int:
        found = re.search(r"^MaxArraySize\s*=\s*(\d+)", self._run("scontrol", "show", "config"), re.MULTILINE)
        return max(int(found[1]) if found else _MAX_ARRAY, 1)

    def _run(self, *words: str) -> str:
        """Run one of Slurm's commands and return its output; raises `ConfigError` if it fails."""
        # If a sweep is started inside a job, that job's variables would also apply to the new jobs.
        kept = {
            name: value for name, value in os.environ.items() if name == "SLURM_CONF" or not name.startswith("SLURM")
        }
        try:
            done = subprocess.run(
                words, capture_output=True, text=True, env=kept, timeout=_SECONDS, stdin=subprocess.DEVNULL
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ConfigError(f"Slurm: {words[0]} did not respond ({error}).") from error
        said = " ".join((done.stderr or done.stdout).split()).removeprefix(f"{words[0]}: ").removeprefix("error: ")
        require(done.returncode == 0, f"Slurm: {words[0]}: {said or f'exit code {done.returncode}'}")
        return done.stdout


def _chunks(tasks: Sequence[TaskFiles], length: int) -> Iterator[Sequence[TaskFiles]]:
    return (tasks[start : start + length] for start in range(0, len(tasks), length))
