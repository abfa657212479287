"""Opens the file at an address, local or remote."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, Union

from harness.data.storage.local import LocalFile
from harness.data.storage.urls import scheme

if TYPE_CHECKING:
    from harness.data.storage.remote import RemoteFile


def open_file(address: str) -> File:
    """Return the file at an address.

    Raises:
        ConfigError: The address is a local path that does not exist or is not a file.
    """
    if scheme(address):
        from harness.data.storage.remote import RemoteFile

        return RemoteFile(address)
    return LocalFile(address)


File: TypeAlias = Union[LocalFile, "RemoteFile"]
