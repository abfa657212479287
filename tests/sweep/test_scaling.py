"""What is printed about tasks before any is created."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from harness.sweep.tasks import scaling
from harness.sweep.tasks.scaling import Scaling, ScanSeconds, default_tasks, describe_tasks
from harness.training.update_memory import UpdateMemory

LANES = 16


class Fake(SimpleNamespace):
    """Hashable, like a run."""

    __hash__ = object.__hash__  # type: ignore[assignment]


def run(epochs: int = 10, weights: int = 2000) -> Any:
    table = SimpleNamespace(train_rows=100_000, folder="table")
    cohort = SimpleNamespace(tile=1, memory=UpdateMemory(500.0, 16 * weights), lanes=[*range(LANES)])
    return Fake(config=SimpleNamespace(epochs=epochs), table=table, updates=1000 * epochs, cohort=cohort)


def cluster(size: int = 64, tasks: int | None = None, cores: int = 1) -> Any:
    return SimpleNamespace(name="Slurm", tasks=tasks, scratch=None, size=lambda: size, cores=lambda tasks: cores)


def scan() -> Any:
    runs = [run() for _ in range(LANES)]
    return SimpleNamespace(task=SimpleNamespace(cohorts=[runs[0].cohort]), lanes=[[each] for each in runs])


@pytest.mark.parametrize(
    ("epochs", "size", "cores", "expected"),
    [(10, 64, 1, 1), (1000, 4, 1, 4), (1000, 64, 1, LANES), (80, 64, 1, 8), (80, 64, 8, 1), (320, 64, 8, 4)],
)
def test_tasks_are_no_more_than_pay(epochs: int, size: int, cores: int, expected: int) -> None:
    tiles = [[run(epochs)] for _ in range(LANES)]
    assert default_tasks(tiles, cluster(size, cores=cores)) == expected


def test_time_and_efficiency(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "cores", lambda: [0, 1])
    one = Scaling([scan()], [ScanSeconds(compile=3, read=1, train=80)], cluster())
    assert [one.seconds(tasks) for tasks in (1, 2, 3, 16)] == pytest.approx([170, 90, 70, 20])
    assert one.efficiency(2) == pytest.approx(170 / 180)
    assert one.most == 16
    two = Scaling([scan()], [ScanSeconds(compile=3, read=1, train=40)], cluster(cores=2))
    assert [two.seconds(tasks) for tasks in (1, 2, 16)] == pytest.approx([50, 30, 15])
    assert two.most == 4


def test_what_a_plan_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "cores", lambda: [0, 1])
    said = describe_tasks([scan()], [ScanSeconds(compile=3, read=1, train=20)], cluster(tasks=3))
    assert said == [
        "tasks:  3 on Slurm, 5 to 6 lanes each, about 25.0 s",
        "        efficiency by number of tasks: 1: 1.00, 3: 0.67, 4: 0.62, 6: 0.48, 12: 0.28",
        "        a worker takes 6 s to start, 3.0 s to compile, 1.0 s to read",
        "        at most 4 tasks are worthwhile",
    ]
