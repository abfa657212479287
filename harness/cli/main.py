"""The console command `harness` and its exit codes.

0: success. 1: a run failed. 2: invalid input, nothing was done. 130: interrupted. 143: terminated.
"""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
from types import FrameType

import click

from harness.cli import commands
from harness.cli.data import data
from harness.errors import ConfigError
from harness.runtime.state_files import StateError
from harness.tracking.outbox import RecordRejected, StoreUnreachable


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="harness")
def cli() -> None:
    """Compare training on chunks with training on the full sample.

    Start with `harness train`, then look at the runs with `harness compare` and `harness ui`.
    """


for command in (
    *(commands.train, commands.plan, commands.compare, commands.sweeps, commands.report, commands.predict),
    *(commands.reproduce, commands.ui, commands.clean, data),
):
    cli.add_command(command)


def main() -> None:
    """Run the command and exit with its code."""
    _tune_process()
    try:
        code = cli.main(standalone_mode=False)
    except (ConfigError, StateError) as error:
        code = _fail(str(error), 2)
    except (StoreUnreachable, RecordRejected) as error:
        code = _fail(str(error), 1)
    except click.ClickException as error:
        error.show()
        code = 2
    except (KeyboardInterrupt, click.Abort):
        code = _fail("interrupted", 130)
    except BrokenPipeError:
        # The reader of the output is gone, and the interpreter would complain when it flushes the rest.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 128 + signal.SIGPIPE
    except SystemExit as end:
        # Exit outside this block: the exception's frames hold TensorFlow objects that must be freed before TensorFlow.
        code = end.code
    except Exception as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        from harness.tracking.store_errors import is_damaged, reason

        if is_damaged(error):
            remedy = "Restore it from a backup, or try `sqlite3 mlflow.db .recover`."
            code = _fail(f"The tracking store is damaged ({reason(error)}). {remedy}", 2)
        else:
            code = _fail(f"{type(error).__name__}: {error} (HYDRA_FULL_ERROR=1 shows the traceback)", 1)
    sys.exit(code)


def _tune_process() -> None:
    """Change process-wide state, which is for commands only, not for `harness.train`."""
    signal.signal(signal.SIGTERM, _terminate)
    # The garbage collector takes a quarter of MLflow's import time, and two seconds when the interpreter exits.
    gc.set_threshold(50_000, 20, 50)
    atexit.register(gc.freeze)


def _terminate(signum: int, frame: FrameType | None) -> None:
    sys.exit(128 + signum)


def _fail(sentence: str, code: int) -> int:
    click.echo(f"harness: {sentence}", err=True)
    return code
