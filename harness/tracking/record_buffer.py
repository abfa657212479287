"""The way into an outbox, where records may be kept back until a checkpoint has them too."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from harness.tracking.outbox import Outbox, Record

_HELD = ("metrics", "curve", "tags", "end")
"""Kinds of records that are kept back; the others have the same content each time they are made."""


class RecordBuffer:
    """Records on their way into an outbox: all go on at once, but for what is kept back inside a `hold`.

    Attributes:
        unended: Runs whose endings `hold` has dropped.
    """

    def __init__(self, outbox: Outbox) -> None:
        self.unended: set[str] = set()
        self._outbox = outbox
        self._records: list[Record] | None = None

    def append(self, record: Record) -> None:
        """Take a record."""
        if self._records is not None and record["kind"] in _HELD:
            self._records.append(record)
        else:
            self._outbox.append(record)

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Keep back what would be doubled if this process ended and another did the same again, until `take`.

        What is still held at the end of the block is dropped.
        """
        self._records = []
        try:
            yield
        finally:
            self.unended = {record["run"] for record in self._records if record["kind"] == "end"}
            self._records = None

    def take(self) -> list[Record]:
        """Return what was kept back since the last call; `put` lets it go."""
        if self._records is None:
            return []
        records, self._records = self._records, []
        return records

    def put(self, records: Iterable[Record]) -> None:
        """Let records go on; it is no harm if they were delivered before, by any tracker."""
        for record in records:
            self._outbox.append(record)
        self._outbox.sync()
