"""Compares a sweep that is recorded on a team's server, MLflow with PostgreSQL, with one recorded in SQLite."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from experiments.benchmark.goals import Goal
from experiments.benchmark.servers import mlflow_server, postgres
from experiments.benchmark.timing import Part, span

SWEEP = ("train", "-m", "chunksize=full,1000,100", "learning_rate=0.003,0.01,0.03,0.1", "epochs=5,20")
RUNS = 24


def team_parts(repeats: int, say: Callable[[str], None]) -> dict[str, Part]:
    """Time the command with each store in turn."""
    say(f"{RUNS} runs on a server")
    seconds: dict[str, list[float]] = {"sqlite": [], "server": []}
    with TemporaryDirectory() as folder, postgres() as environment, mlflow_server(Path(folder), environment) as address:
        for number in range(repeats + 1):  # The first call creates the table.
            for store, uri in (("sqlite", "sqlite:///mlflow.db"), ("server", address)):
                started = time.monotonic()
                _sweep(Path(folder), f"tracking.uri={uri}", f"tracking.experiment=repetition {number}")
                seconds[store] += [time.monotonic() - started] if number else []
    return {
        f"team/{store}": Part(f"{RUNS} runs, whole command, recorded in {name}", span(seconds[store]))
        for store, name in (("sqlite", "SQLite"), ("server", "PostgreSQL through a server"))
    }


def team_goals(parts: Mapping[str, Part]) -> list[Goal]:
    """Return the goal of a team's server."""
    server, local = (parts.get(f"team/{store}") for store in ("server", "sqlite"))
    ratio = server.value.mid / local.value.mid if server and local else None
    return [Goal(f"{RUNS} runs on a server with PostgreSQL, times SQLite", 1.6, ratio, at_least=False)]


def _sweep(folder: Path, *words: str) -> None:
    """Run the command; raises `RuntimeError` if it fails."""
    command = [sys.executable, "-c", "from harness.cli.main import main; main()", *SWEEP, *words]
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise RuntimeError(f"the sweep exited with code {done.returncode}: {done.stderr.strip().splitlines()[-1:]}")
