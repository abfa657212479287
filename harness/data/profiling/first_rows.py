"""Finds a source and reads its first rows, so that a wrong path, column or format is reported within a second."""

from __future__ import annotations

import contextlib
from pathlib import Path

from harness.config import AnyData, DataConfig, ImagesConfig, Loss
from harness.data import synthetic_houses
from harness.data.formats import open_source
from harness.data.images.input import ImageFiles
from harness.data.inputs import origin_of
from harness.data.profiling.remedies import ANY_COLUMNS, FIRST_BYTES, describe_misfits, words_to_start
from harness.data.row_input import local_addresses
from harness.data.selection import Selection
from harness.data.storage.files import open_file
from harness.errors import ConfigError, require


def check_first_rows(data: AnyData, loss: Loss) -> None:
    """Check that a source exists, and that its first file of rows has the columns and values that `data` expects.

    Remote files, streams and images are left to the pass that reads all of them.

    Raises:
        ConfigError: The files do not exist, or do not match `data`.
    """
    addresses = check_source(data)
    if not isinstance(data, DataConfig) or not addresses or open_file(addresses[0]).is_stream:
        return
    source = open_source(addresses[0], Selection.of(data, FIRST_BYTES))
    _check_is_chosen(data, addresses[0], source.names())
    try:
        with contextlib.closing(source.chunks()) as chunks:
            next(chunks, None)
    except ConfigError:
        misfits = ""
        with contextlib.suppress(ConfigError, OSError, ValueError):
            misfits = describe_misfits(addresses[0], data, loss)
        require(not misfits, misfits)
        raise


def check_source(data: AnyData) -> list[str]:
    """Return the addresses of local files; for images, check their folder's layout too, but not each of its files.

    Raises:
        ConfigError: The files do not exist, or are of another kind.
    """
    if isinstance(data, DataConfig):
        return local_addresses(data.path, origin_of(data))
    if data.path is None or not isinstance(data, ImagesConfig):
        return []
    images = ImageFiles.find(data, Path(), print)
    images.check_layout()
    return images.addresses


def _check_is_chosen(data: DataConfig, address: str, names: list[str]) -> None:
    """Reject the columns of the built-in data if a path is set to a file that has others."""
    lacking = [name for name in data.columns if name not in names]
    if data.rows is not None and lacking and {*lacking} <= {*synthetic_houses.COLUMNS}:
        missing = ", ".join(lacking)
        words = words_to_start(data.path, data.target) or ANY_COLUMNS
        raise ConfigError(
            f"{address} has no column {missing}, which the default, data=houses, trains on. For your own file, add "
            f"data=csv {words}."
        )
