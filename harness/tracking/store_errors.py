"""Decides what to do with a record after an error from the tracking store: retry, wait, or give up."""

from __future__ import annotations

import errno
import itertools
import math
import sqlite3
import ssl

import requests
import sqlalchemy.exc
from mlflow.exceptions import MlflowException

from harness.errors import causes
from harness.runtime.secrets import masked
from harness.runtime.state_files import may_pass

_UNREACHABLE = (
    requests.exceptions.ConnectionError,
    requests.exceptions.Timeout,
    requests.exceptions.RetryError,
    requests.exceptions.ChunkedEncodingError,
    sqlalchemy.exc.OperationalError,
    sqlalchemy.exc.InterfaceError,
    sqlite3.OperationalError,
    ConnectionError,
    TimeoutError,
)
_REFUSALS = {
    401: "the user name or password is missing or wrong; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, "
    "or edit ~/.mlflow/credentials",
    403: "this user does not have permission; ask the server's administrator",
}
_UNTRUSTED = (
    "the server's certificate is not trusted; set MLFLOW_TRACKING_SERVER_CERT_PATH to the certificate of its authority"
)
_OUTAGES = (408, 429, 502, 503, 504)
_CANNOT_WRITE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)

_ATTEMPTS_AT_SERVER_ERROR = 5
"""If a server still reports an internal error after this many attempts, the record counts as rejected."""

_ATTEMPTS_AT_CONFLICT = 3
_CONFLICTS = ("UNIQUE constraint", "duplicate key", "Duplicate entry")
_DAMAGED = ("malformed", "file is not a database")
_CANNOT_WRITE = (
    *_DAMAGED,
    *_REFUSALS.values(),
    "disk is full",
    "readonly database",
    "No space left",
    "quota exceeded",
    "Read-only",
)


def reason(error: BaseException) -> str:
    """Return the first sentence of an error's root cause, without passwords, or advice on how to get access."""
    if isinstance(error, MlflowException) and (refusal := _REFUSALS.get(error.get_http_status_code())):
        return refusal
    *_, cause = _chain(error)
    if any(isinstance(cause, requests.exceptions.SSLError | ssl.SSLError) for cause in _chain(error)):
        return _UNTRUSTED if "CERTIFICATE_VERIFY_FAILED" in str(error) else "the server does not speak TLS"
    if isinstance(cause, OSError) and cause.strerror and cause.filename:
        return masked(f"{cause.strerror}: {cause.filename}")
    line = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
    return masked(line.partition(". ")[0].rstrip("."))


def is_unreachable(error: BaseException) -> bool:
    """Return True if the store is currently unreachable, so that the same call may succeed later."""
    unavailable = isinstance(error, MlflowException) and error.get_http_status_code() in (*_REFUSALS, *_OUTAGES)
    return unavailable or is_damaged(error) or any(map(_may_pass, _chain(error)))


def _may_pass(cause: BaseException) -> bool:
    """Return True if an error is caused by the state of the store or of this machine, not by the record."""
    if isinstance(cause, OSError) and (may_pass(cause) or cause.errno in _CANNOT_WRITE_ERRORS):
        return True
    return isinstance(cause, _UNREACHABLE)


def is_damaged(error: BaseException) -> bool:
    """Return True if SQLite reports that the store's file is damaged."""
    kinds = (sqlite3.DatabaseError, sqlalchemy.exc.DatabaseError)
    return any(isinstance(cause, kinds) and any(words in str(cause) for words in _DAMAGED) for cause in _chain(error))


def attempts_at(error: BaseException) -> float:
    """Return how many times to try a call that raises `error`."""
    if any(words in reason(error) for words in _CONFLICTS):  # Another process wrote the same row at the same time.
        return _ATTEMPTS_AT_CONFLICT
    if not is_unreachable(error):
        return 1
    return _ATTEMPTS_AT_SERVER_ERROR if "500 error" in reason(error) else math.inf


def cannot_write(error: BaseException) -> bool:
    """Return True if the store cannot be written to and waiting will not fix that."""
    return any(words in reason(error) for words in _CANNOT_WRITE)


def _chain(error: BaseException) -> list[BaseException]:
    """Return an error and its causes up to a `KeyError`, which is an unsuccessful look-up in a library's cache."""
    first, *others = causes(error)
    return [first, *itertools.takewhile(lambda cause: not isinstance(cause, KeyError), others)]
