"""Files of facts and arrays, in JSON and NumPy's own format, so loading them runs no code."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from harness.runtime.state_files import StateError, read_state, write_state

_FACTS = "facts"


def write_arrays(
    path: Path,
    kind: str,
    facts: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    before_replacing: Callable[[], object] = lambda: None,
) -> None:
    """Atomically replace a state file with one that holds `facts`, which JSON can represent, and `arrays`.

    `before_replacing` is as in `write_state`.
    """
    encoded = np.frombuffer(json.dumps(facts).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{_FACTS: encoded}, **arrays)
    write_state(path, kind, buffer.getbuffer(), before_replacing=before_replacing)  # type: ignore[arg-type]


def read_arrays(path: Path, kind: str, schema: TypeAdapter[Any]) -> tuple[Any, dict[str, np.ndarray]]:
    """Return facts that are valid under `schema`, and arrays.

    Raises:
        FileNotFoundError: There is no such file.
        StateError: It is damaged, of another kind or version, or belongs to another user.
    """
    content = read_state(path, kind)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as saved:
            arrays = {name: saved[name] for name in saved.files}
        return schema.validate_json(arrays.pop(_FACTS).tobytes(), strict=True), arrays
    except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise StateError(f"{path} does not have the expected fields.") from error
