"""`Input`: what a table is made from. Each kind of data has a class that finds, fingerprints and ingests it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.config import AnyData
from harness.data.ingest import ProgressCallback
from harness.data.selection import BLOCK_BYTES
from harness.data.tables.table import Table

Say = Callable[[str], None]
Fingerprint = list[object]


class Input(ABC):
    """The files that a table is made from.

    Attributes:
        addresses: Absolute paths or URLs.
    """

    def __init__(self, addresses: Sequence[str]) -> None:
        self.addresses = list(addresses)

    @abstractmethod
    def fingerprints(self) -> list[Fingerprint]:
        """Return a fingerprint of the content at each address; it starts with the address."""

    @abstractmethod
    def ingest(self, folder: Path, progress: ProgressCallback, block_bytes: int = BLOCK_BYTES) -> Table:
        """Write the columns of the table into `folder`, once.

        Raises:
            ConfigError: The data cannot be used.
            OSError: The folder cannot be written to, or the disk is full.
        """

    @abstractmethod
    def size(self) -> int:
        """Return how many bytes `ingest` reads; 0 if unknown."""

    def doubt(self) -> str:
        """Return a warning if the data may be misread, or an empty string."""
        return ""

    def begin(self) -> None:  # noqa: B027
        """Prepare for ingestion; some data, such as streams, can be ingested only once."""

    def has_changed(self, fingerprints: Sequence[Fingerprint]) -> bool:
        """Return True if local files have changed."""
        return self.fingerprints() != list(fingerprints)


def origin_of(data: AnyData) -> str:
    """Return a sentence saying where to get the data, or an empty string."""
    return f"Get it from {data.origin}." if data.origin else ""
