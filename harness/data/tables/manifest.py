"""The manifest of a table: what its files hold, how it was created, and the digest that identifies it."""

from __future__ import annotations

import functools
import hashlib
import json
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.config import DATA_KINDS, AnyData, flatten
from harness.data.statistics import Column
from harness.runtime.state_files import read_json, write_json

if TYPE_CHECKING:
    from pydantic import TypeAdapter

    _Data = AnyData
else:
    _Data = functools.reduce(operator.or_, DATA_KINDS.values())  # pydantic tells them apart by their fields.

MANIFEST = "table.json"
KIND = "table 5"
"""Version of the table format: increment it whenever tables of the previous version cannot be used."""

_NOT_READ = ("path", "rows", "origin", "scaling", "labels", "holdout_path", "class_weight", "embed.weights")
"""Keys of `data.*` that do not affect a table, or affect it only through the fingerprint of its source."""
_UNSET = {"test": 0.0, "folds": None, "fold": None, "embed": None}
"""Keys that do not affect a table when they have these values."""


@dataclass(frozen=True)
class Embedding:
    """The frozen model that a table's images passed through; its output is the table's only feature.

    Attributes:
        digest: Digest of its architecture and its weights.
        checksum: Checksum of the file in the table's folder that holds it.
        shape: Height, width and channels of the images that it takes, uint8.
    """

    digest: str
    checksum: str
    shape: tuple[int, int, int]


@dataclass(frozen=True)
class Facts:
    """What a table's files hold.

    Attributes:
        features: The model's input columns, in order.
        targets: The columns that a model predicts.
        page_rows: Rows per page.
        dropped: Number of rows left out because a field was empty.
        filled: Number of fields filled with the training mean, plus the number of empty categories.
        test_rows: Number of rows on which only chosen runs are evaluated.
        drift: A sentence saying how the target's mean drifts across the rows; empty if it does not.
        weights: The column of the rows' weights, if they have any.
        embedding: The frozen model that images passed through before they were written, if any.
        notes: Phrases about oddities in the source that do not prevent its use.
    """

    features: tuple[Column, ...]
    targets: tuple[Column, ...]
    page_rows: int
    train_rows: int
    holdout_rows: int
    dropped: int
    filled: int
    drift: str
    test_rows: int = field(default=0, kw_only=True)
    weights: tuple[Column, ...] = field(default=(), kw_only=True)
    notes: tuple[str, ...] = field(default=(), kw_only=True)
    embedding: Embedding | None = field(default=None, kw_only=True)

    def values(self) -> dict[str, Any]:
        """Return these facts by name, without those that a subclass adds."""
        return {each.name: getattr(self, each.name) for each in fields(Facts)}


@dataclass(frozen=True)
class Manifest:
    """The content of a table's manifest.

    Attributes:
        files: Fingerprints of the source's files.
        data: The configuration from which the table was created.
        digest: The digest of `facts` and of the checksums of all pages.
    """

    files: list[list[str | int | None]]
    data: _Data
    facts: Facts
    digest: str


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest of the table in `folder`."""
    write_json(folder / MANIFEST, KIND, _schema().dump_python(manifest, mode="json"))


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of the table in `folder`.

    Raises:
        FileNotFoundError: There is no manifest.
        StateError: It is damaged, or belongs to another user.
    """
    return read_json(folder / MANIFEST, KIND, _schema())


def key_of(files: Sequence[Sequence[object]], data: AnyData) -> str:
    """Return a table's name: a hash of the fingerprints of its source and of what is read from the source."""
    read = {name: value for name, value in flatten(vars(data)).items() if not {name, name.split(".")[0]} & {*_NOT_READ}}
    read = {name: value for name, value in read.items() if name not in _UNSET or value != _UNSET[name]}
    read |= {name: sorted(read[name]) for name in ("log_columns", "dates") if name in read}
    return _hash([KIND, files, sorted(read.items())])


def digest_of(facts: Facts, sums: bytes) -> str:
    """Return a table's digest, which covers names, categories, statistics and, through page checksums, all values."""
    columns = [_described(column) for column in (*facts.features, *facts.targets, *facts.weights)]
    rows = [facts.train_rows, facts.holdout_rows, facts.dropped, facts.filled, facts.page_rows, len(facts.targets)]
    rows += [len(facts.weights)] if facts.weights else []
    rows += [len(facts.weights), facts.test_rows] if facts.test_rows else []
    model = [facts.embedding.digest, facts.embedding.shape] if facts.embedding else []
    return _hash([KIND, columns, rows, sums.hex(), *model])


def _described(column: Column) -> list[object]:
    exact = ("name", "log", "count", "categories", "dtype", "shape", "offset")
    scale = max(abs(column.min - column.offset), abs(column.max - column.offset)) or 1.0
    # Relative to the values, and without the last digits, which depend on the type of CPU.
    statistics = (column.mean - column.offset, column.std, column.min - column.offset, column.max - column.offset)
    channels = (*column.channel_means, *column.channel_stds)
    rounded = [round(value / scale, 12) + 0.0 for value in (*statistics, column.rounding, *channels)]
    return [*(getattr(column, name) for name in exact), f"{scale:.12g}", rounded]


def _hash(value: Any) -> str:
    return hashlib.blake2b(json.dumps(value).encode(), digest_size=16).hexdigest()


@functools.cache
def _schema() -> TypeAdapter[Manifest]:
    from pydantic import TypeAdapter

    return TypeAdapter(Manifest)
