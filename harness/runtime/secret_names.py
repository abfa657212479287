"""Recognizes names that suggest secrets: of files, and of keys in addresses, configurations and environments."""

from __future__ import annotations

import functools
import re
from fnmatch import fnmatch
from pathlib import PurePosixPath

_PASSWORDS = ("password", "passwd", "passphrase", "passcode", "pwd", "secret")
_KEYS = re.compile(
    r"(?:api|access|secret|private|account|auth|subscription|shared|sharedaccess|signing|encryption|master|session|storage|deploy)"
    r"key(?:id)?$"
)
_OTHERS = ("token", "credential", "credentials", "authorization", "connectionstring")
_IN_ADDRESSES = ("sig", "signature", "auth", "pass", "pw", "jwt", "sas")
_SIGNED = ("x-amz-", "x-goog-")
_NO_TOKENS = re.compile(r"(?:pad|eos|bos|cls|sep|mask|unk|start|end|oov|next|next_page|page|continuation)_?token$")

_FILES = (
    *(".env", ".env.*", "*.env", ".envrc", ".netrc", "_netrc", ".pgpass", "pgpass.conf", ".my.cnf", ".htpasswd"),
    *(".npmrc", ".pypirc", ".dockercfg", ".git-credentials", ".vault-token", "kubeconfig", "*.tfvars", "*.tfstate"),
    *("*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.ppk", "*.kdbx", "*.ovpn", "*.gpg", "*.asc"),
    *("*credentials.json", "*.secret", "*.secrets", "*.token"),
)
_WORDS = ("credentials*", "secret", "secret.*", "secrets", "secrets.*", "token", "token.*", "service[-_]account*")
_WORDS += ("client_secret*",)
_CODE = (".py", ".pyi", ".pyx", ".ipynb", ".c", ".cc", ".cpp", ".h", ".rs", ".go", ".js", ".ts", ".jl", ".r")
_FOLDERS = frozenset((".aws", ".ssh", ".gnupg", ".kube", ".docker", ".azure", ".gcloud", "secrets", ".secrets"))


@functools.lru_cache(maxsize=4096)
def is_secret_name(name: str, *, in_url: bool) -> bool:
    """Return True if `name` is the name of a secret.

    With `in_url`, also accept short names such as `sig`, which are ordinary words elsewhere.
    """
    last = name.rpartition(".")[2].lower()
    letters = re.sub("[^a-z0-9]", "", last)
    if letters.endswith(_PASSWORDS) or _KEYS.search(letters):
        return True
    if letters.endswith(_OTHERS):
        return not _NO_TOKENS.search(last)
    words = re.split("[^a-z0-9]+", last)
    return in_url and (words[-1] in _IN_ADDRESSES or last.startswith(_SIGNED))


def is_harmless(name: str, value: str) -> bool:
    """Return True for values that are not secrets although their names suggest it: `token=3`, `api_key=null`."""
    is_password = re.sub("[^a-z0-9]", "", name.lower()).endswith(_PASSWORDS)
    return value in ("", "null", "None", "true", "false") or (value.isdigit() and len(value) < 8 and not is_password)


def is_secret_file(path: str) -> bool:
    """Return True if a file's name or folder suggests secrets; code may be named after what it handles."""
    *folders, name = PurePosixPath(path.lower()).parts
    is_key = name.startswith("id_") and ("." not in name or name.endswith(".pub"))
    patterns = _FILES if name.endswith(_CODE) else _FILES + _WORDS
    return is_key or bool(_FOLDERS.intersection(folders)) or any(fnmatch(name, pattern) for pattern in patterns)
