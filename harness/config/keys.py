"""Turns names that users choose (columns, categories, targets) into keys that MLflow and Keras accept.

Different names give different keys: a key can be turned back into its name unless it is too long, in which case it ends
in a hash of the name. The key of an ordinary name is the name itself.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

LONGEST = 250
"""Maximum length of a key in MLflow."""

_HASH_BYTES = 16
_NOT_IN_MLFLOW = re.compile(r"[^\w.\- :/]")
_NOT_A_FOLDER = re.compile(r"(?<=/)/|^/|/$")
"""Slashes that MLflow would remove from a key, because it treats keys as paths."""

_SHORTENED = re.compile(rf".*:[0-9a-f]{{{2 * _HASH_BYTES}}}", re.DOTALL)


def key_of(name: str, reserved: str = "") -> str:
    """Return the key of a name: characters that MLflow rejects are written `:x` and their code point, then `:`.

    `a<30` is `a:x3c:30`. Characters that Unicode normalization would change are written in the same way.

    Args:
        name: Any text.
        reserved: Additional characters to replace with their code points.
    """
    if name.isascii() and name.isidentifier():
        return name
    # Without this, `a<` would have the same key as a name that contains `:x3c:`.
    always = {*reserved, ":"} if ":x" in name else {*reserved}
    if unicodedata.normalize("NFC", name) != name:
        always |= {character for character in name if not character.isascii()}
    key = "".join(_code(each) if each in always or _NOT_IN_MLFLOW.match(each) else each for each in name)
    key = _NOT_A_FOLDER.sub(_code("/"), key)
    return "/".join(f"{_code('.')}{part[1:]}" if part in (".", "..") else part for part in key.split("/")) or ":x:"


def category_key(column: str, category: str) -> str:
    """Return the key of one of a column's categories; the column's key is the part before the first slash.

    The key of the category `other` differs from `other_key`, the key of unknown categories.
    """
    key = f"{_code('o')}ther" if category == "other" else key_of(category)
    return f"{key_of(column, reserved='/')}/{key}"


def other_key(column: str) -> str:
    """Return the key of a column's unknown categories."""
    return f"{key_of(column, reserved='/')}/other"


def fitted(key: str) -> str:
    """Return `key` if MLflow accepts its length, else its beginning followed by a hash."""
    if len(key) < LONGEST or (len(key) == LONGEST and not _SHORTENED.fullmatch(key)):
        return key
    digest = hashlib.blake2b(key.encode(), digest_size=_HASH_BYTES).hexdigest()
    return f"{key[: LONGEST - len(digest) - 1]}:{digest}"


def layer_name(name: str) -> str:
    """Return the name of a Keras layer, in which only slashes are not allowed."""
    return re.sub("[/:]" if ":x" in name else "/", lambda found: _code(found[0]), name) or ":x:"


def _code(character: str) -> str:
    return f":x{ord(character):x}:"
