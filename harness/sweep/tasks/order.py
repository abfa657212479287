"""The task file: plain values that describe a task's runs and their sweep.

Reading it does not import TensorFlow or Keras, so that the functions it names can be checked first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from harness.config import Config
from harness.errors import ConfigError, require
from harness.runtime.state_files import read_json, write_json
from harness.sweep import code_version
from harness.sweep.membership import Membership
from harness.tracking.recorded_config import config_of
from harness.tracking.recorded_yaml import load

KIND = "task 4"

REFUSED = 78
"""Exit code of a worker that raises `TaskRefused`."""


@dataclass(frozen=True)
class RunOrder:
    """A run to train; `config` is its configuration as YAML."""

    signature: str
    name: str
    command: str
    config: str


@dataclass(frozen=True)
class Order:
    """The content of a task file.

    Attributes:
        number: Its number in the sweep, from 1.
        folder: The working folder.
        membership: The sweep to which the runs belong; None if the task only creates the table of its run's data.
        search: Signature of the search to which the trials belong.
        command: The command of the sweep.
        code: `code_digest` of the process that wrote the task file.
        commits: The commits of that code.
        packages: The versions of the packages that affect results there, as text.
        scratch: Folder on the node's own disk for copies of tables; empty if none are made.
    """

    number: int
    folder: str
    membership: Membership | None
    search: str
    command: str
    code: str
    commits: str
    packages: str
    scratch: str
    runs: list[RunOrder]


class TaskRefused(ConfigError):
    """A worker's code, packages or data differ from the driver's, or its device would change the results.

    It would refuse the task again, and is therefore not restarted.
    """


_ORDER = TypeAdapter(Order)


def new_order(
    number: int,
    runs: list[RunOrder],
    command: str,
    targets: Iterable[str],
    *,
    membership: Membership | None = None,
    search: str = "",
    scratch: str = "",
) -> Order:
    """Return a task for workers with the code of this process, in its working folder; `targets` build its models."""
    return Order(
        number=number,
        folder=str(Path.cwd()),
        membership=membership,
        search=search,
        command=command,
        code=code_digest(),
        commits=code_version.commits(sorted({*targets})),
        packages=code_version.packages(),
        scratch=scratch,
        runs=runs,
    )


def write_order(path: Path, order: Order) -> None:
    """Write a task file; only this user can read it."""
    write_json(path, KIND, asdict(order))


def read_order(path: Path) -> Order:
    """Return the content of a task file.

    Raises:
        StateError: The file is damaged, of another version, or belongs to another user.
        FileNotFoundError: There is no such file.
    """
    return read_json(path, KIND, _ORDER)


def configs_of(order: Order) -> list[Config]:
    """Return the configurations of a task's runs; raises `ConfigError` if there are none, or one is invalid."""
    require(bool(order.runs), f"Task {order.number} has no runs.")
    return [_config(load(run.config, "the task")) for run in order.runs]


def require_same_code(order: Order) -> None:
    """Raise `TaskRefused` if a task was written by a process whose code or packages differ from this one's."""
    prefix, remedy = f"task {order.number}: ", "Install the same versions here, or start the sweep again."
    if order.packages != code_version.packages():
        theirs, own = (code_version.versions(text) for text in (order.packages, code_version.packages()))
        changed = sorted(name for name in theirs.keys() | own.keys() if theirs.get(name) != own.get(name))
        here, there = (", ".join(f"{name} {known.get(name, 'none')}" for name in changed) for known in (own, theirs))
        raise TaskRefused(f"{prefix}this worker has {here}, but the driver has {there}. {remedy}")
    if order.code != code_digest():
        commits = ", ".join(f"{name} {commit[:12]}" for name, commit in code_version.versions(order.commits).items())
        driver = f"the driver's ({commits})" if commits else "the driver's"
        raise TaskRefused(f"{prefix}the harness's code here differs from {driver}. {remedy}")


def code_digest() -> str:
    """Return a digest of the harness's own source."""
    return code_version.source_digest(Path(__file__).parents[2])


def _config(values: Any) -> Config:
    parts: Mapping[str, Any] = values if isinstance(values, Mapping) else {}
    tracking = parts.get("tracking")
    return config_of(
        values, runtime=parts.get("runtime", {}), tracking=tracking if isinstance(tracking, Mapping) else {}
    )
