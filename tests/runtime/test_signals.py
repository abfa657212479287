"""The first signal is deferred; the second has its usual effect."""

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
        signal.raise_signal(signal.SIGINT)
        assert stop
        assert STOPPING in capfd.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            stop.exit()
    assert signal.getsignal(signal.SIGINT) is before


def test_a_termination_is_an_exit_of_143() -> None:
    with defer_signals() as stop:
        signal.raise_signal(signal.SIGTERM)
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


def test_a_closed_terminal_is_an_exit_of_129_unless_it_is_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # The tests themselves may run under `nohup`.
    try:
        with defer_signals() as stop:
            signal.raise_signal(signal.SIGHUP)
            with pytest.raises(SystemExit) as end:
                stop.exit()
        assert end.value.code == 129
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # As `nohup` does.
        with defer_signals() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert not stop
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_is_noted_although_its_message_cannot_be_written() -> None:
    kept = os.dup(2)
    os.close(2)
    try:
        with defer_signals() as stop:
            signal.raise_signal(signal.SIGTERM)
            assert stop
    finally:
        os.dup2(kept, 2)
        os.close(kept)
