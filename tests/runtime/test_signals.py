"""The first signal is deferred, the second has its usual effect."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from harness.runtime.signals import STOPPING, defer_signals


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Use the handler of a foreground process; a test worker may have another."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_the_first_signal_is_deferred_and_the_second_raised(capfd: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT)
    with defer_signals() as stop:
        assert not stop
        os.kill(os.getpid(), signal.SIGINT)
        assert stop
        assert STOPPING in capfd.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            stop.exit()
    assert signal.getsignal(signal.SIGINT) is before


def test_a_termination_is_an_exit_of_143() -> None:
    with defer_signals() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(SystemExit) as end:
            stop.exit()
    assert end.value.code == 143


def test_other_threads_change_nothing() -> None:
    before, inside = signal.getsignal(signal.SIGINT), []

    def work() -> None:
        with defer_signals() as stop:
            inside.append((bool(stop), signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert inside == [(False, before)]
