"""Fixtures shared by several test files."""

from __future__ import annotations

import gc
import os
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

# TensorFlow would log more if JAX is installed, and some tests import TensorFlow themselves.
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import pytest

from harness.config import DataConfig
from harness.data.selection import BLOCK_BYTES
from harness.data.tables.builder import open_table
from harness.data.tables.table import Table
from tests.warm import Warm

ROOT = Path(__file__).parents[1]

# By default, garbage collection would take an eighth of the suite's time, mostly for objects of libraries.
gc.set_threshold(50_000, 10, 10)


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """Undo what a command does to the garbage collector; otherwise, the threads of MLflow's pools would never end."""
    threshold = gc.get_threshold()
    yield
    gc.enable()
    gc.unfreeze()
    gc.set_threshold(*threshold)


@pytest.fixture(scope="session", autouse=True)
def interrupts() -> None:
    """Do not ignore SIGINT, as a shell makes its background jobs do, and commands that a test starts inherit."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def threads() -> None:
    """Set `runtime.threads` before a test starts TensorFlow, after which it can no longer change in this process."""
    if "tensorflow" in sys.modules:
        sys.modules["tensorflow"].config.threading.set_intra_op_parallelism_threads(1)


@pytest.fixture(scope="session", autouse=True)
def new_stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let MLflow copy an empty store instead of creating each, which would take a second."""
    if "mlflow" not in sys.modules:
        yield
        return
    from mlflow.store.db import utils
    from sqlalchemy import create_engine, inspect

    path = tmp_path_factory.mktemp("empty") / "mlflow.db"
    create = utils._initialize_tables

    def copy(engine: Any) -> None:
        if engine.dialect.name != "sqlite" or inspect(engine).get_table_names():
            create(engine)
            return
        if not path.exists():
            create(create_engine(f"sqlite:///{path}"))
        with closing(sqlite3.connect(path)) as source, closing(engine.raw_connection()) as target:
            source.backup(target.driver_connection)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, "_initialize_tables", copy)
        yield


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a file and return its path."""

    def run(content: str | bytes, name: str = "file.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return run


@pytest.fixture
def make_table(write: Callable[..., Path], tmp_path: Path) -> Callable[..., Table]:
    """Create a table of a CSV, by default with the feature `a`, the target `y` and all rows for training."""

    def run(source: str | bytes | Path, *, block_bytes: int = BLOCK_BYTES, **options: object) -> Table:
        path = source if isinstance(source, Path) else write(source)
        data = {"features": ["a"], "target": "y", "holdout": 0.0, "path": str(path)} | options
        return open_table(DataConfig(**data), tmp_path / "cache", block_bytes=block_bytes)  # type: ignore[arg-type]

    return run


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """A process that runs commands without importing TensorFlow again."""
    with closing(Warm()) as process:
        yield process


@pytest.fixture(scope="session")
def king_county() -> Path:
    """Return the real file, or skip the test."""
    path = ROOT / os.environ.get("KING_COUNTY_CSV", "../shared/data/kc_house_data.csv")
    if not path.is_file():
        pytest.skip(f"no {path}; name one in KING_COUNTY_CSV")
    return path
