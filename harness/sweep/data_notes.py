"""Describes the tables that runs are trained on, and what was dropped or filled when they were created."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.data.classes import class_names
from harness.data.precision import describe_rounding
from harness.data.vocabulary import explain_text
from harness.formatting import count
from harness.sweep.plan import Run


def describe_data(runs: Sequence[Run]) -> Iterator[str]:
    """Yield sentences about the data of `runs`, those about the same table once."""
    scalings = {(run.table.folder, run.config.data.scaling): (run.table, run.config.data.scaling) for run in runs}
    for table, scaling in scalings.values():
        yield from describe_rounding(table.columns, scaling)
    for table in {run.table.folder: run.table for run in runs}.values():
        yield from table.notes
        if (table.dropped or table.filled) and not table.features[0].shape:  # For images, see the notes.
            yield f"{count(table.dropped, 'row')} dropped, {count(table.filled, 'empty field')} filled"
        yield from filter(None, map(explain_text, table.features))
        if len(labels := class_names(table.targets[0])) == 2:
            yield f"{table.targets[0].name}: {labels[0]} is 0, {labels[1]} is 1"
        if table.drift:
            yield f"{table.drift}; this affects batch runs, and data.order=shuffled avoids it"
