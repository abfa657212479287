"""Reads a run's ending and data from its record, and names metrics by update."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mlflow.entities import Run as Record

from harness.config.metrics import BY_UPDATE
from harness.data.statistics import Column
from harness.data.tables.table import Table
from harness.escaping import markdown
from harness.sweep.plan import Run
from harness.tracking.run_tags import PRUNED, STOPPED, sweeps_of


def set_ended(run: Run, record: Record) -> None:
    """Restore a run's ending from its record; metrics are read separately."""
    tags = record.data.tags
    run.run_id, run.status, run.is_reused = record.info.run_id, record.info.status, True
    run.sweeps = sweeps_of(tags)
    run.reason = f"diverged at update {tags['diverged_at']}" if "diverged_at" in tags else ""
    if run.status == "FAILED":
        run.reason = run.reason or tags.get("failure", "unknown")
    run.stopped_at, run.pruned_at = (int(tags[key]) if key in tags else None for key in (STOPPED, PRUNED))
    run.has_model = bool(record.outputs and record.outputs.model_outputs)


def failure_tags(reason: str) -> dict[str, str]:
    """Return the tags of a run that failed for this `reason`."""
    return {"failure": reason, "mlflow.note.content": f"**Failed**: {markdown(' '.join(reason.split()))}"}


def dataset_of(table: Table) -> tuple[str, str, str, Sequence[Column], dict[str, int]]:
    """Return what is logged about a run's data: name, address, digest, columns, and rows by part."""
    parts = {"training": table.train_rows, "holdout": table.holdout_rows, "test": table.test_rows}
    return Path(table.name).stem, table.address, table.digest, table.columns, parts


def by_update(metrics: Mapping[str, float], deciding: str) -> dict[str, float]:
    """Return the losses and the deciding metric under their per-update names."""
    return {f"{BY_UPDATE}{key}": value for key, value in metrics.items() if key.endswith("/loss") or key == deciding}
