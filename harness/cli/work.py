"""`harness work`: the command of a worker, started by sweeps with several workers."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

from rich.console import Console

from harness.cli.job_configs import addresses
from harness.cli.output import print_error
from harness.cli.trust import import_models
from harness.errors import ConfigError
from harness.runtime.imports import add_cwd_to_path
from harness.runtime.secrets import remember
from harness.runtime.state_files import StateError
from harness.sweep.tasks.order import REFUSED, TaskRefused, configs_of, read_order, require_same_code
from harness.tracking.outbox import StoreUnreachable


def work(task: Path, *, trust: bool) -> None:
    """Train the runs of a task, or create its table, in the working folder of the sweep's command.

    Raises:
        ConfigError: The task does not exist, or its data or settings cannot be used.
        SystemExit: This worker cannot train the task now, or at all.
    """
    try:
        _work(task.absolute(), trust=trust)
    except TaskRefused as error:
        print_error(str(error))
        raise SystemExit(REFUSED) from error


def _work(task: Path, *, trust: bool) -> None:
    try:
        order = read_order(task)
    except FileNotFoundError as error:
        raise ConfigError(f"no such task: {task}") from error
    except StateError as error:
        raise TaskRefused(str(error)) from error
    require_same_code(order)  # First, since other code may not even be able to read the configurations.
    configs = configs_of(order)
    remember(*(address for config in configs for address in addresses(config)))
    try:
        os.chdir(order.folder)
    except OSError as error:
        here = f"cannot enter {order.folder}, where the sweep was started: {error.strerror}"
        raise ConfigError(f"task {order.number}: {here}.") from error
    add_cwd_to_path()
    from harness.sweep.tasks.files import TRY_AGAIN, TaskFiles, TaskHeld

    if order.membership is None:
        from harness.sweep.tasks.table_task import make_table

        try:
            make_table(TaskFiles(task), configs[0])
        except TaskHeld as error:
            print_error(str(error))
            raise SystemExit(TRY_AGAIN) from error
        return
    import_models(configs, is_trusted=trust)
    gc.freeze()
    from mlflow.exceptions import MlflowException

    from harness.sweep.tasks.worker import work
    from harness.tracking.store_errors import cannot_write, is_unreachable

    try:
        work(TaskFiles(task), order, configs, Console(file=sys.stdout, width=200))
    except (TaskHeld, StoreUnreachable, ConfigError, MlflowException) as error:
        is_store = is_unreachable(error) and not cannot_write(error)
        if not (is_store or isinstance(error, TaskHeld | StoreUnreachable)):
            raise
        print_error(str(error))
        raise SystemExit(TRY_AGAIN) from error
