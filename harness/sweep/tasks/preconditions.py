"""Checks whether workers can train a sweep, before anything is trained or recorded."""

from __future__ import annotations

from harness.config import Config
from harness.errors import ConfigError, require
from harness.runtime.secrets import masked
from harness.sweep.tasks.cluster import Cluster
from harness.sweep.tasks.order import TaskRefused
from harness.tracking.uri import sqlite_path, tracking_uri


def require_server(uri: str | None) -> None:
    """Reject a store in a file, to which workers on other machines cannot write safely, if at all."""
    uri = tracking_uri(uri)
    require(
        sqlite_path(uri) is None,
        f"tracking.uri: workers on other machines cannot write to the file {masked(uri)}. Start `mlflow server`, and "
        "set tracking.uri to its address.",
    )


def require_same_tiles(cluster: Cluster | None, config: Config) -> None:
    """Reject workers on a GPU if they cannot train in parallel, or would choose tiles that a single process would not.

    Args:
        cluster: Where the workers run; None if this process is a worker.
        config: The configuration of one of the runs.
    """
    require(
        cluster is None or cluster.is_remote,
        "hydra/launcher=workers divides this machine's cores; on a GPU, its workers would only wait for each other. "
        "Use the default launcher or runtime.device=cpu.",
    )
    if config.runtime.lane_tile is None:
        raise (ConfigError if cluster else TaskRefused)(
            "On GPUs, workers need runtime.lane_tile: otherwise, each would choose it from the lanes of its own task, "
            "and results would depend on the number of tasks."
        )
