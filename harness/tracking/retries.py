"""Which calls to a store are repeated, when, and for how long."""

from __future__ import annotations

from collections.abc import Callable

from tenacity import RetryCallState, Retrying, wait_exponential

from harness.tracking.store_errors import is_conflict, is_unreachable, reason

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 15.0
_ATTEMPTS_AT_CONFLICT = 3
_ATTEMPTS_AT_SERVER_ERROR = 5
"""A server that still reports an internal error then is taken to refuse the record."""

_exponential = wait_exponential(multiplier=_FIRST_PAUSE, max=_LONGEST_PAUSE)


def retrying(
    *,
    failed: Callable[[BaseException], None],
    should_stop: Callable[[BaseException], bool],
    give_up: Callable[[], object],
    sleep: Callable[[float], None],
) -> Retrying:
    """Return a policy that repeats a call for as long as the store is unreachable.

    Errors that a repetition cannot cure are raised as they are.

    Args:
        failed: Called with the error of each attempt that found the store unreachable.
        should_stop: Called after `failed`; if it returns True there is no further attempt.
        give_up: Called then, to raise.
        sleep: Waits between attempts; it may return early.
    """
    return Retrying(
        retry=_is_worth_repeating,
        wait=lambda state: 0.0 if is_conflict(_error(state)) else _exponential(state),
        after=lambda state: None if is_conflict(_error(state)) else failed(_error(state)),
        stop=lambda state: not is_conflict(_error(state)) and should_stop(_error(state)),
        sleep=sleep,
        retry_error_callback=lambda state: give_up(),
    )


def _is_worth_repeating(state: RetryCallState) -> bool:
    if not (state.outcome and state.outcome.failed):
        return False
    error, attempt = _error(state), state.attempt_number
    if not isinstance(error, Exception):
        return False
    if is_conflict(error) and attempt < _ATTEMPTS_AT_CONFLICT:
        return True
    is_server_error = "500 error" in reason(error)
    return is_unreachable(error) and not (is_server_error and attempt >= _ATTEMPTS_AT_SERVER_ERROR)


def _error(state: RetryCallState) -> BaseException:
    error = state.outcome.exception() if state.outcome else None
    assert error is not None
    return error
