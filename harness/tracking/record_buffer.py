"""Passes records to an outbox, and can hold them back until they are also in a checkpoint."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from harness.tracking.outbox import Outbox
from harness.tracking.records import HELD_KINDS, Record


class RecordBuffer:
    """Passes records to an outbox, either immediately or, inside `hold`, when they are released.

    Attributes:
        dropped_endings: Runs whose endings were dropped by `hold`.
    """

    def __init__(self, outbox: Outbox) -> None:
        self.dropped_endings: set[str] = set()
        self._outbox = outbox
        self._held: list[Record] | None = None

    def append(self, record: Record) -> None:
        """Add a record."""
        if self._held is not None and record["kind"] in HELD_KINDS:
            self._held.append(record)
        else:
            self._outbox.append(record)

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Hold back records that would be duplicated if this process died and another one repeated its work.

        Records that have not been released by the end of the block are dropped.
        """
        self._held = []
        try:
            yield
        finally:
            self.dropped_endings = {record["run"] for record in self._held if record["kind"] == "end"}
            self._held = None

    @property
    def held(self) -> list[Record]:
        """The records held back since the last release."""
        return list(self._held or ())

    def release(self, records: Sequence[Record]) -> None:
        """Send the oldest records that are held back, or those of a checkpoint.

        Sending a record twice is harmless, even from two processes. Until all are sent, they are still held, so that an
        interruption at any moment leaves no run without an end.
        """
        for record in records:
            self._outbox.append(record)
        self._outbox.sync()
        if self._held is not None:
            del self._held[: len(records)]
