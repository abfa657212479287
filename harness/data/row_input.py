"""`RowFiles`: files of rows as the input of a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from harness.config import DataConfig
from harness.data.built_in import built_in_csv
from harness.data.formats import open_source
from harness.data.ingest import IngestProgress, ProgressCallback, ingest
from harness.data.inputs import Fingerprint, Input, Say, origin_of
from harness.data.profiling.misfit import hints
from harness.data.selection import BLOCK_BYTES, Selection
from harness.data.storage.addresses import find_addresses
from harness.data.storage.files import open_file
from harness.data.storage.urls import scheme
from harness.data.tables.table import Table
from harness.errors import require


class RowFiles(Input):
    """Files of rows, read one after another."""

    _drained: ClassVar[set[tuple[str, ...]]] = set()

    def __init__(self, addresses: Sequence[str], data: DataConfig) -> None:
        super().__init__(addresses)
        self._data = data

    @classmethod
    def find(cls, data: DataConfig, cache: Path, progress: ProgressCallback, say: Say) -> RowFiles:
        """Resolve `data.path`, generating the built-in data first if necessary."""
        origin = origin_of(data)
        if data.path is not None:
            return cls(find_addresses(data.path, origin), data)
        require(data.rows is not None, f"data.path is not set. {origin or 'Set data.path=FILE.'}")
        report = lambda rows: progress(IngestProgress("generating", rows))  # noqa: E731
        return cls([str(built_in_csv(cache, int(data.rows or 0), report, say))], data)

    def fingerprints(self) -> list[Fingerprint]:
        """Return the fingerprint of each file."""
        return [open_file(address).fingerprint() for address in self.addresses]

    def size(self) -> int:
        """Return the size of all files; 0 if unknown, as for streams."""
        return sum(open_file(address).size() for address in self.addresses)

    def ingest(self, folder: Path, progress: ProgressCallback, block_bytes: int = BLOCK_BYTES) -> Table:
        """Parse the files and write their columns."""
        with hints(self.addresses, self._data):
            return ingest(self.addresses, self._data, folder, progress, block_bytes)

    def doubt(self) -> str:
        """Return a warning about the first file that may be misread."""
        selection = Selection.of(self._data)
        return next(filter(None, (open_source(address, selection).doubt() for address in self.addresses)), "")

    def begin(self) -> None:
        """Reject streams that this process has already read, and remember these."""
        for address in self.addresses:
            file = open_file(address)
            if file.is_stream:
                state = tuple(map(str, file.fingerprint()))
                require(state not in self._drained, only_once(address))
                self._drained.add(state)

    def has_changed(self, fingerprints: Sequence[Fingerprint]) -> bool:
        """Return True if a local file is missing or has changed."""
        return any(
            not scheme(address) and open_file(address).fingerprint() != state
            for address, state in zip(self.addresses, fingerprints, strict=True)
        )


def local_addresses(path: str | Sequence[str] | None, remedy: str = "") -> list[str]:
    """Return the addresses of the local files in `data.path`; `remedy` is added to the message if there are none.

    Raises:
        ConfigError: A file does not exist.
    """
    names = [path] if isinstance(path, str) else path or []
    return find_addresses([name for name in names if not scheme(name)], remedy)


def only_once(address: str) -> str:
    """Return a message about a stream that would have to be read twice."""
    return f"data.path: {address} is a stream and can be read only once; save it to a file first."
