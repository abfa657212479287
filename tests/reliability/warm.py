"""Runs many commands quickly: each in a fork of a process that has imported everything, but has computed nothing.

A command takes a second instead of seven. What it writes, how it ends and what it leaves behind are as in a process of
its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MODULES = (
    *("harness.cli.train", "harness.cli.predict", "harness.cli.reproduce", "harness.cli.clean", "harness.cli.data"),
    *("harness.sweep.runner", "harness.analysis.report", "harness.analysis.figures", "harness.analysis.render"),
    *(
        "harness.tracking.reader",
        "hydra_plugins.harness_plugin",
        "mlflow.tensorflow",
        "matplotlib.pyplot",
        "scipy.stats",
    ),
)
TIMED_OUT = -signal.SIGALRM


@dataclass(frozen=True)
class Answer:
    """How a command ended: its exit code (negative if killed by a signal), and what it printed."""

    code: int
    out: str
    err: str

    @property
    def is_plain(self) -> bool:
        """Whether it succeeded, or failed with a message of its own rather than with a raw error."""
        raw = ("Traceback", "HYDRA_FULL_ERROR", "Error in call to target")
        return self.code == 0 or (self.code in (1, 2) and bool(self.err.strip()) and not any(map(self.err.count, raw)))


class Warm:
    """A warm process; use it as a context manager."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Warm:
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:
            self._process.stdin.close()  # type: ignore[union-attr]

    def run(
        self,
        folder: Path,
        *words: str,
        env: Mapping[str, str | None] | None = None,
        limits: Mapping[str, int] | None = None,
        obeys_permissions: bool = False,
        seconds: int = 60,
    ) -> Answer:
        """Run `harness` with these words.

        Args:
            folder: The working folder.
            words: Arguments.
            env: Environment variables to set, or with None to remove.
            limits: Soft limits by name, such as `RLIMIT_NOFILE`.
            obeys_permissions: Whether the superuser, too, is bound by permissions.
            seconds: When to end the command with `TIMED_OUT`.
        """
        asked = [str(folder), words, dict(env or {}), dict(limits or {}), obeys_permissions, seconds]
        self._process.stdin.write(json.dumps(asked) + "\n")  # type: ignore[union-attr]
        self._process.stdin.flush()  # type: ignore[union-attr]
        return Answer(*json.loads(self._process.stdout.readline()))  # type: ignore[union-attr]


def _serve() -> None:
    from harness.runtime.imports import import_tensorflow

    import_tensorflow()
    for module in MODULES:
        importlib.import_module(module)
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        outputs = [os.memfd_create(name) for name in ("out", "err")]
        if not (child := os.fork()):
            _run(outputs, *json.loads(line))
        _, status = os.waitpid(child, 0)
        texts = []
        for output in outputs:
            os.lseek(output, 0, os.SEEK_SET)
            with os.fdopen(output, "rb") as file:
                texts.append(file.read().decode(errors="replace"))
        print(json.dumps([os.waitstatus_to_exitcode(status), *texts]), file=answers, flush=True)


def _run(
    outputs: Sequence[int],
    folder: str,
    words: Sequence[str],
    env: Mapping[str, str | None],
    limits: Mapping[str, int],
    obeys_permissions: bool,
    seconds: int,
) -> None:
    code: Any = 70
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for output, number in zip(outputs, (1, 2), strict=True):
            os.dup2(output, number)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
        os.chdir(folder)
        for name, value in env.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        os.environ["PWD"] = folder
        if obeys_permissions:
            _obey_permissions()
        for name, value in limits.items():
            kind = getattr(resource, name)
            resource.setrlimit(kind, (value, resource.getrlimit(kind)[1]))
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.alarm(seconds)
        sys.argv = ["harness", *words]
        from harness.cli.main import main

        try:
            main()
        except SystemExit as end:
            code = 0 if end.code is None else end.code
        except BaseException:
            traceback.print_exc()
            code = 1
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
    finally:
        os._exit(code if isinstance(code, int) else 1)


def _obey_permissions() -> None:
    """Drop the capabilities CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, by which the superuser ignores permissions."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    if libc.capget(header, sets) == 0:
        for index in (0, 1):  # Effective and permitted.
            sets[index] &= ~0b110
        libc.capset(header, sets)


if __name__ == "__main__":
    _serve()
