"""Items and errors arrive in order, and threads end with their consumer."""

from __future__ import annotations

import itertools
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from harness.errors import ConfigError
from harness.runtime.prefetch import map_ahead, prefetch


def prefetching() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize("count", [0, 1, 2, 100])
def test_prefetch_keeps_the_order(count: int) -> None:
    assert list(prefetch(range(count))) == list(range(count))
    assert prefetching() == []


def test_prefetch_computes_in_another_thread() -> None:
    def where() -> Iterator[str]:
        yield threading.current_thread().name

    assert list(prefetch(where())) == ["prefetch"]


def test_prefetch_passes_an_item_that_is_none_or_an_error() -> None:
    items = [None, ValueError("an item"), StopIteration]
    assert list(prefetch(items)) == items


@pytest.mark.parametrize("kind", [KeyError, KeyboardInterrupt, ConfigError])
def test_prefetch_raises_in_place(kind: type[BaseException]) -> None:
    def broken() -> Iterator[int]:
        yield from range(3)
        raise kind("here")

    found = []
    with pytest.raises(kind, match="here") as error:
        found.extend(prefetch(broken()))
    assert found == [0, 1, 2]
    assert error.traceback[-1].name == "broken"
    assert prefetching() == []


def test_a_signal_interrupts_the_wait_for_an_item() -> None:
    released = threading.Event()

    def interrupt(*_: object) -> None:
        released.set()
        raise InterruptedError

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        with pytest.raises(InterruptedError):
            list(prefetch(released.wait(30) for _ in range(1)))
    finally:
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("taken", [1, 5])
def test_closing_prefetch_ends_the_thread_and_the_source(taken: int) -> None:
    ended = threading.Event()

    def endless() -> Iterator[int]:
        try:
            yield from itertools.count()
        finally:
            ended.set()

    items = prefetch(endless())
    assert list(itertools.islice(items, taken)) == list(range(taken))
    assert len(prefetching()) == 1
    items.close()
    assert prefetching() == []
    assert ended.is_set()


def test_prefetch_runs_no_further_ahead() -> None:
    made = []

    def source() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    items = prefetch(source())
    for number in range(3):
        assert next(items) == number
        # The item taken, the buffered one, and the one that the thread holds.
        wait_for(lambda ready=number + 3: len(made) >= ready)
        time.sleep(0.05)
        assert len(made) == number + 3
    items.close()


def test_prefetch_starts_nothing_before_it_is_asked() -> None:
    made = []
    prefetch(made.append(number) for number in range(3)).close()
    assert made == []


@pytest.mark.parametrize("count", [0, 1, 2, 3, 20])
def test_work_ahead_keeps_the_order_and_ends_its_threads(count: int) -> None:
    def work(number: int) -> int:
        time.sleep(0.01 if number % 2 == 0 else 0)
        return -number

    assert list(map_ahead(work, (number for number in range(count)))) == [-number for number in range(count)]
    wait_for(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("map_ahead")])


def test_work_ahead_raises_in_place() -> None:
    found = []
    with pytest.raises(ZeroDivisionError):
        found.extend(map_ahead(partial(divmod, 6), (number for number in [1, 2, 0, 3])))
    assert found == [(6, 0), (3, 0)]
