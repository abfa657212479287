"""Reads and writes the files in which the harness keeps its state between commands.

A state file begins with a line of JSON that holds its kind, version and checksum, followed by the content. A file is
trusted only if these are as expected and it belongs to this user.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import xxhash

from harness.errors import ConfigError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")

LONGEST_HEADER = 256

_TRANSIENT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.EAGAIN)
"""Errors that do not mean that the file is damaged."""


class StateError(Exception):
    """A state file cannot be used; the message is a sentence that names the file and the reason."""


def checksum(data: Any) -> str:
    """Return the XXH3 checksum of a bytes-like object, as 16 hexadecimal digits."""
    return xxhash.xxh3_64_hexdigest(data)


def checksum_file(path: Path) -> str:
    """Return the checksum of the content of a regular file of this user, in constant memory.

    Raises:
        StateError: It is not a regular file, or belongs to another user.
    """
    hasher = xxhash.xxh3_64()
    with open_own(path) as file:
        while data := file.read(1 << 20):
            hasher.update(data)
    return hasher.hexdigest()


def write_state(
    path: Path,
    kind: str,
    content: bytes,
    *,
    durable: bool = True,
    before_replacing: Callable[[], object] = lambda: None,
) -> None:
    """Replace a state file atomically; only this user can read it.

    Args:
        path: The file; its folder must exist.
        kind: The kind of file, with a version, for example `checkpoint 3`.
        content: The content.
        durable: Whether to sync it to disk, so that it survives a power cut.
        before_replacing: Called when only the file's replacement is left to do; if it raises, the file stays.
    """
    header = json.dumps({"kind": kind, "checksum": checksum(content)}).encode() + b"\n"
    aside = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        aside.unlink(missing_ok=True)  # A process with the same id may have been killed here.
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(header)
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        before_replacing()
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(path.parent)


def read_state(path: Path, kind: str) -> bytes:
    """Return the content of a state file.

    Raises:
        FileNotFoundError: There is no such file.
        StateError: It is damaged, of another kind or version, not a regular file, or belongs to another user.
        OSError: The file cannot be read now, for a reason that may be temporary.
    """
    try:
        with open_own(path) as file:
            header = file.readline(LONGEST_HEADER)
            content = file.read()
    except FileNotFoundError:
        raise
    except OSError as error:
        if may_pass(error):
            raise
        raise StateError(f"{path} cannot be read: {error.strerror}.") from error
    try:
        found = json.loads(header)
        known, expected = str(found["kind"]), found["checksum"]
    except (ValueError, TypeError, KeyError) as error:
        raise StateError(f"{path} is damaged.") from error
    if known != kind:
        raise StateError(f"{path} was written by another version of harness.")
    if expected != checksum(content):
        raise StateError(f"{path} is damaged.")
    return content


def may_pass(error: OSError) -> bool:
    """Return True if the machine lacks file descriptors, memory or the like; the file may be intact."""
    return error.errno in _TRANSIENT


def write_json(path: Path, kind: str, content: object, *, durable: bool = True) -> None:
    """Like `write_state`, but for anything that JSON can represent."""
    write_state(path, kind, json.dumps(content, indent=1).encode(), durable=durable)


def read_json(path: Path, kind: str, schema: TypeAdapter[T]) -> T:
    """Like `read_state`, but for JSON that is valid under `schema`, without conversions between types."""
    content = read_state(path, kind)
    try:
        return schema.validate_json(content, strict=True)
    except ValueError as error:
        raise StateError(f"{path} does not have the expected fields.") from error


def open_own(path: Path) -> Any:
    """Open a regular file of this user for reading in binary mode.

    Files of root are also accepted. Links are not followed.

    Raises:
        StateError: It is not a regular file, or belongs to another user.
    """
    try:
        # Without O_NONBLOCK, opening a FIFO would wait for its writer.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if path.is_symlink():
            raise StateError(f"{path} is a symbolic link.") from error
        raise
    status = os.fstat(handle)
    reason = ""
    if not stat.S_ISREG(status.st_mode):
        reason = "is not a regular file"
    elif status.st_uid not in (os.geteuid(), 0):
        reason = "belongs to another user"
    if reason:
        os.close(handle)
        raise StateError(f"{path} {reason}.")
    return os.fdopen(handle, "rb")


def check_own_folder(folder: Path) -> None:
    """Check that a folder belongs to this user or to root, and that nobody outside its group can write to it.

    The group is trusted, because everything that this user creates in a project's folder may belong to the project's
    group.

    Raises:
        StateError: The folder fails this check.
    """
    status = folder.stat(follow_symlinks=False)
    if not stat.S_ISDIR(status.st_mode):
        raise StateError(f"{folder} is not a folder.")
    if status.st_uid not in (os.geteuid(), 0):
        raise StateError(f"{folder} belongs to another user.")
    if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
        raise StateError(f"Other users can write to {folder}.")


def require_own_folders(key: str, *folders: Path) -> None:
    """Raise `ConfigError` about a configuration key unless `check_own_folder` accepts all these folders.

    They may be links that belong to this user or to root.
    """
    for folder in folders:
        try:
            if folder.lstat().st_uid not in (os.geteuid(), 0):
                raise StateError(f"{folder} belongs to another user.")
            check_own_folder(folder.resolve())
        except StateError as error:
            raise ConfigError(f"{key}: {error} Use a folder that only you can write to.") from error


def set_aside(path: Path) -> Path:
    """Rename a damaged file or folder so that it can be rebuilt, and return its new path.

    It replaces whatever was set aside under the same name before.
    """
    damaged = path.with_name(f"{path.name}.damaged")
    with contextlib.suppress(FileNotFoundError):
        if damaged.is_dir() and not damaged.is_symlink():
            shutil.rmtree(damaged)
        elif path.is_dir():  # A folder cannot replace a file.
            damaged.unlink(missing_ok=True)
        path.replace(damaged)
    return damaged


def sync_folder(folder: Path) -> None:
    """Sync a folder's entries to disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def moved_aside(path: Path) -> str:
    """Set a file aside, and return a sentence that says so."""
    return f"Moved to {set_aside(path).name}."


def set_aside_unless_file(path: Path) -> None:
    """Set aside anything with the name of a state file that is not a file, such as a link or a folder."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        set_aside(path)
