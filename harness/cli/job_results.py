"""What jobs return: a cost for Hydra's sweepers, and the id of the run, even if another process trained it."""

from __future__ import annotations

from collections.abc import Sequence

from hydra.core.utils import JobReturn

from harness.errors import require


class JobResult(float):
    """The cost of a job's run, with the run's id, so that the run can be found in the store."""

    run_id: str

    def __new__(cls, cost: float, run_id: str) -> JobResult:
        """Create a result from a cost and the id of a run."""
        result = super().__new__(cls, cost)
        result.run_id = run_id
        return result

    def __getnewargs__(self) -> tuple[float, str]:  # type: ignore[override]
        """Return the arguments that pickle needs to create a copy."""
        return float(self), self.run_id


def run_ids(ended: Sequence[JobReturn], jobs: int, launcher: str) -> list[str]:
    """Return the ids of the runs that a launcher's `jobs` have trained in other processes; raise a failed job's error.

    Raises:
        ConfigError: The launcher did not wait for its jobs, or did not run them as Hydra does.
    """
    results = [job.return_value for job in ended or ()]
    found = [result.run_id for result in results if isinstance(result, JobResult)]
    require(
        len(found) == jobs,
        f"hydra/launcher={launcher} returned {len(found)} results for {jobs} jobs, so their runs are unknown. "
        "Use a launcher that waits for its jobs, such as hydra/launcher=fused.",
    )
    return found
