"""Decorators for methods of a tile: an error in such a method ends only this tile, and later calls do nothing."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

Event = TypeVar("Event")


class HasError(Protocol):
    """The attributes of a tile that these decorators use; `error` is None until the tile fails."""

    error: Exception | None


def ends_the_tile(work: Callable[..., None]) -> Callable[..., None]:
    """Decorate a method that returns nothing."""

    @functools.wraps(work)
    def attempt(tile: HasError, *arguments: Any) -> None:
        if tile.error is None:
            try:
                work(tile, *arguments)
            except Exception as error:
                tile.error = error

    return attempt


def events_end_the_tile(work: Callable[..., Iterator[Event]]) -> Callable[..., Iterator[Event]]:
    """Decorate a method that yields events; events before the error count."""

    @functools.wraps(work)
    def attempt(tile: HasError, *arguments: Any) -> Iterator[Event]:
        if tile.error is None:
            try:
                yield from work(tile, *arguments)
            except Exception as error:
                tile.error = error

    return attempt
