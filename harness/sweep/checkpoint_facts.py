"""The content of a checkpoint other than arrays, and its validation."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, with_config
from typing_extensions import TypedDict

from harness.tracking.records import RUN_ID, HeldRecord

Count = Annotated[int, Field(ge=0)]
Points = dict[str, tuple[Count, int]]
"""For each metric of a run, the number of points recorded so far, and their highest step."""


@with_config(ConfigDict(extra="forbid"))
class RunFacts(TypedDict):
    """A run's fields with the same names as in `harness.sweep.plan.Run`, and its metrics so far."""

    run_id: RUN_ID | Literal[""]
    sweeps: list[RUN_ID]
    status: Literal["", "FINISHED", "FAILED", "KILLED"]
    reason: str
    cost: float
    stopped_at: int | None
    pruned_at: int | None
    has_model: bool
    best: dict[str, tuple[float, int]]
    last: dict[str, float]
    test: dict[str, float]


@with_config(ConfigDict(extra="forbid"))
class RecorderFacts(TypedDict):
    """The recorder's state; `kept` maps the runs whose weights are among the arrays to their number of arrays."""

    runs: dict[str, RunFacts]
    kept: dict[str, Count]
    seconds: dict[str, float]
    best: float | None


@with_config(ConfigDict(extra="forbid"))
class Facts(TypedDict):
    """The state of a batch.

    Attributes:
        runs: Signatures of the runs to train.
        scan: Number of the scan that is running.
        records: Records made since the previous checkpoint.
        points: What has been recorded so far, by run id.
    """

    runs: list[str]
    scan: Count
    records: list[HeldRecord]
    points: dict[str, Points]
    recorder: RecorderFacts


FACTS: TypeAdapter[Any] = TypeAdapter(Facts)
