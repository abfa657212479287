"""The console command `harness` and its exit codes.

0: success. 1: a run failed. 2: invalid input, nothing was done. 130: interrupted. 143: terminated. 129: terminal
closed. 141: output pipe closed.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import signal
import sys
from types import FrameType

import click

from harness.cli import commands, store_commands, streams
from harness.cli.data import data
from harness.cli.disk_errors import explain
from harness.cli.output import print_error
from harness.errors import ConfigError
from harness.runtime.environment import missing_home
from harness.runtime.secrets import remember, remember_environment
from harness.runtime.state_files import StateError
from harness.tracking.outbox import LeaseLost, RecordRejected, StoreUnreachable


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="harness")
def cli() -> None:
    """Compare training on chunks with training on the full sample.

    Start with `harness train`, then look at the runs with `harness compare` and `harness ui`.
    """


for command in (
    *(commands.train, commands.work, commands.plan, commands.tune, store_commands.compare, store_commands.diff),
    *(
        store_commands.runs,
        store_commands.sweeps,
        store_commands.report,
        commands.predict,
        store_commands.register,
        commands.reproduce,
    ),
    *(commands.ui, commands.clean, data),
):
    cli.add_command(command)


_READERS = ("compare", "diff", "report", "runs", "sweeps")
"""Commands that only read runs, and end soon."""


def main() -> None:
    """Run the command and exit with its code."""
    streams.install()
    remember(*sys.argv[1:], os.environ.get("MLFLOW_TRACKING_URI", ""))
    remember_environment()
    _tune_process()
    end = _End()
    atexit.register(end)  # Registered first, so called last.
    code, sentence = _run()
    if sentence and not streams.ended_early():
        print_error(sentence)
    end.code = streams.finish(code)
    sys.exit(end.code)


class _End:
    """Ends the process without finalizing the interpreter.

    Freeing all objects would take two seconds after a long sweep. It could also abort the process: threads of Arrow
    still release the buffers that they have parsed, and such a thread dies if it then waits for the interpreter.
    """

    code = 1  # Until the command has returned.

    def __call__(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(self.code)


def _run() -> tuple[int, str]:
    """Run the command; return its exit code and an error message."""
    try:
        os.environ.update(missing_home())
        return cli.main(standalone_mode=False) or 0, ""
    except (ConfigError, StateError) as error:
        return 2, str(error)
    except (StoreUnreachable, RecordRejected, LeaseLost) as error:
        return 1, str(error)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 0, ""
    except click.ClickException as error:
        usage = f"{error.ctx.get_usage()}\n" if isinstance(error, click.UsageError) and error.ctx else ""
        click.echo(usage, err=True, nl=False)
        return 2, error.format_message()
    except (KeyboardInterrupt, click.Abort):
        more = ". Run the same command again to resume." if sys.argv[1:2] == ["train"] else ""
        return 130, f"interrupted{more}"
    except SystemExit as end:
        return (1, end.code) if isinstance(end.code, str) else (end.code or 0, "")
    except Exception as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1" and not streams.ended_early():
            raise
        from harness.tracking.store_errors import is_damaged, reason

        if is_damaged(error):
            remedy = "Restore it from a backup, or try sqlite3's .recover command on it."
            return 2, f"The tracking store is damaged ({reason(error)}). {remedy}"
        if sentence := explain(error):
            return 1, sentence
        if isinstance(error, OSError) and error.filename is not None:
            name = f"Cannot use {os.fsdecode(error.filename)}: {error.strerror}."
        else:
            name = f"{type(error).__name__}: {error}"
        return 1, f"{name} (HYDRA_FULL_ERROR=1 shows the traceback)"


def _tune_process() -> None:
    """Change process-wide state; for commands only, not for `harness.train`."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP.
            signal.signal(number, _terminate)
    # The garbage collector takes a quarter of MLflow's import time and a tenth of the time to read thousands of runs.
    gc.set_threshold(1_000_000, 20, 50)
    if len(sys.argv) > 1 and sys.argv[1] in _READERS:
        gc.disable()


def _terminate(signum: int, frame: FrameType | None) -> None:
    sys.exit(128 + signum)
