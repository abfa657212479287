"""A folder that all processes of a user on a machine share, whatever their environment."""

from __future__ import annotations

import os
from pathlib import Path

from harness.errors import ConfigError, require
from harness.runtime.state_files import StateError, check_own_folder

PARENTS = (Path("/var/tmp"), Path("/tmp"))
"""Fixed paths, because jobs may have their own `TMPDIR` or home, and users may lack an entry in the user database."""


def user_folder() -> Path:
    """Return the folder, which only this user can open.

    Raises:
        ConfigError: It cannot be created, or it belongs to another user.
    """
    parent = next((parent for parent in PARENTS if os.access(parent, os.W_OK | os.X_OK)), None)
    require(parent is not None, f"Cannot write to {' or '.join(map(str, PARENTS))}, where locks are kept.")
    folder = Path(parent or "", f"harness-{os.geteuid()}")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        check_own_folder(folder)
    except OSError as error:
        raise ConfigError(f"Cannot create {folder}, where locks are kept: {error.strerror}.") from error
    except StateError as error:
        raise ConfigError(f"Locks are kept in {folder}, but it is not safe to use: {error}") from error
    return folder
