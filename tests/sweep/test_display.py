"""Progress as users see it, with a clock that only the test advances."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from harness.data.ingest import IngestProgress
from harness.sweep import display
from harness.sweep.display import Display


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(display, "time", clock)
    return clock


def plain(width: int = 80) -> Display:
    return Display(Console(file=io.StringIO(), width=width))


def text(display: Display) -> str:
    return display.console.file.getvalue()  # type: ignore[attr-defined]


def test_without_a_terminal_training_prints_a_line_every_ten_seconds(clock: Clock) -> None:
    display = plain()
    for second in range(0, 26, 5):
        clock.now = 100.0 + second
        display.training(epoch=1 + second // 10, epochs=3, rows=second * 1000, total=30_000, ended=second // 10, runs=8)
    assert text(display) == (
        "training: epoch 2/3, 1/8 runs, 1k rows/s, 0:00:20 left\n"  # after 10 s
        "training: epoch 3/3, 2/8 runs, 1k rows/s, 0:00:10 left\n"  # after 20 s
    )


@pytest.mark.parametrize(
    ("total", "left"), [(0, ""), (410_000_000, ", 0:00:10 left"), (80_010_000_000, ", 1:06:30 left")]
)
def test_without_a_terminal_reading_prints_rows_speed_and_time_left(clock: Clock, total: int, left: str) -> None:
    display = plain()
    display.reading(IngestProgress("reading", 100_000, 10_000_000, total))
    clock.now += 5
    display.reading(IngestProgress("reading", 1_000_000, 100_000_000, total))
    assert text(display) == ""
    clock.now += 5
    display.reading(IngestProgress("reading", 2_100_000, 210_000_000, total))
    assert text(display) == f"reading data: 2.1M rows, 200k rows/s, 20 MB/s{left}\n"


def test_generating_shows_rows_only(clock: Clock) -> None:
    display = plain()
    display.reading(IngestProgress("generating", 1000))
    clock.now += 10
    display.reading(IngestProgress("generating", 2000))
    assert text(display) == "generating data: 2k rows, 100 rows/s\n"


def test_a_search_shows_its_rung_and_the_best_result(clock: Clock) -> None:
    display = plain()
    for rows in (100, 200):
        display.training(2, 9, rows, 900, 0, 1, best="val/r2 -0.25", note="rung 2/3, 1 trial left")
        clock.now += 10
    assert text(display) == "training: epoch 2/9, rung 2/3, 1 trial left, val/r2 -0.25, 10 rows/s, 0:01:10 left\n"


def test_each_activity_has_its_own_clock(clock: Clock) -> None:
    display = plain()
    clock.now += 90
    display.clear()
    display.training(1, 1, 0, 2000, 0, 1)
    clock.now += 5  # Compilation does not count.
    display.training(1, 1, 500, 2000, 0, 1)
    assert text(display) == ""
    clock.now += 10
    display.training(1, 1, 1500, 2000, 0, 1)
    assert text(display) == "training: epoch 1/1, 0/1 run, 100 rows/s, 0:00:05 left\n"


def test_lines_are_printed_verbatim_at_any_width() -> None:
    display = plain(width=20)
    display.say("store:  sqlite:////a/very/long/folder/mlflow.db, experiment [bold]x[/bold]", "second")
    assert text(display) == ("store:  sqlite:////a/very/long/folder/mlflow.db, experiment [bold]x[/bold]\nsecond\n")


def test_on_a_terminal_the_live_line_is_erased_at_the_end(clock: Clock) -> None:
    display = Display(Console(file=io.StringIO(), width=100, force_terminal=True, color_system=None))
    display.reading(IngestProgress("reading", 1000, 10_000))
    assert text(display) == ""  # A source that is read within a second shows nothing.
    clock.now += 2
    display.reading(IngestProgress("reading", 1000, 10_000))
    display.training(2, 3, 500, 1000, 1, 8)
    clock.now += 2
    display.training(2, 3, 900, 1000, 1, 8)
    display.clear()
    assert "epoch 2/3, 1/8 runs" in text(display)
    assert "rows/s" in text(display)
    assert text(display).endswith("\x1b[2K")  # The line is erased.
    display.clear()
