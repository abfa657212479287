"""Standard output and standard error, which may be closed, full or unable to encode a character.

Commands that only print stop when their output is closed, as Unix tools do. Other commands, such as `train`, finish
their work without it. It is not an error if the reader closes the output, but it is if writing fails.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, TextIO

from harness.runtime.secrets import masked


class _Output(io.RawIOBase):
    """A stream that drops output after the first write error, and raises that error unless it is `dispensable`."""

    def __init__(self, number: int) -> None:
        self.error: OSError | None = None
        self.dispensable = False
        self._number = number

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return os.isatty(self._number)

    def write(self, data: Any) -> int:
        if self.error is None:
            try:
                return os.write(self._number, data)
            except OSError as error:
                self.error = error
                if not self.dispensable:
                    raise
        return len(data)


class _Messages(io.TextIOWrapper):
    """Standard error: masks secrets, because Python and libraries print errors and warnings there."""

    def write(self, text: str, /) -> int:
        super().write(masked(text))
        return len(text)


def install() -> None:
    """Replace `sys.stdout` and `sys.stderr`, unless something else, such as a test, has already replaced them."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # Otherwise a database or a checkpoint could be opened under this file descriptor, and receive a library's
            # messages.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    if sys.stdout is sys.__stdout__:
        sys.stdout = _wrapped(io.TextIOWrapper, sys.stdout, 1)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _wrapped(_Messages, sys.stderr, 2)
        _output_of(sys.stderr).dispensable = True


def finishes_without_output(command: Callable) -> Callable:
    """Let a command finish its work even if its output cannot be written."""

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> Any:
        _output_of(sys.stdout).dispensable = True
        return command(*arguments, **options)

    return run


def ended_early() -> bool:
    """Return True if the command ended because its output could not be written."""
    output = _output_of(sys.stdout)
    return output.error is not None and not output.dispensable


def finish(code: int) -> int:
    """Flush the output, and return the exit code: `code`, unless writing has failed."""
    output = _output_of(sys.stdout)
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    if output.error is None:
        return code
    if output.error.errno == errno.EPIPE:
        return code if output.dispensable else 128 + signal.SIGPIPE
    print(f"harness: cannot write to standard output: {output.error.strerror}", file=sys.stderr)
    return (code or 1) if output.dispensable else 1


def _wrapped(kind: type[io.TextIOWrapper], stream: TextIO | None, number: int) -> TextIO:
    """Return a stream of `kind` on a file descriptor, with the settings of `stream`."""
    options: dict[str, Any] = {"encoding": "utf-8"}
    if isinstance(stream, io.TextIOWrapper):
        stream.flush()
        names = ("encoding", "line_buffering", "write_through")
        options = {name: getattr(stream, name) for name in names}
    return kind(io.BufferedWriter(_Output(number)), errors="backslashreplace", **options)


def _output_of(stream: Any) -> _Output:
    output = getattr(getattr(stream, "buffer", None), "raw", None)
    return output if isinstance(output, _Output) else _Output(-1)
