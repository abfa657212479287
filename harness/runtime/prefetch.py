"""Computes items in threads ahead of their consumer, keeping their order."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

LONGEST_WAIT = 5.0
"""Maximum time to wait for a thread to end, in seconds."""

T = TypeVar("T")
R = TypeVar("R")


def prefetch(items: Iterable[T], depth: int = 1) -> Generator[T]:
    """Yield `items`, computed ahead of time in a thread: `depth` of them are buffered, and the thread holds one more.

    An error in the thread is raised here once all items before it have been yielded. Closing the generator ends the
    thread.
    """
    done = object()
    buffer: queue.Queue = queue.Queue(maxsize=depth)
    closed = threading.Event()

    def put(item: object, error: BaseException | None = None) -> None:
        while not closed.is_set():
            with contextlib.suppress(queue.Full):
                buffer.put((item, error), timeout=0.1)
                return

    def produce() -> None:
        try:
            for item in items:
                put(item)
                if closed.is_set():
                    return
            put(done)
        except BaseException as error:
            put(done, error)
        finally:
            if isinstance(items, Generator):
                items.close()

    thread = threading.Thread(target=produce, name="prefetch", daemon=True)
    thread.start()
    try:
        while True:
            item, error = buffer.get()
            if error is not None:
                raise error
            if item is done:
                return
            yield item
    finally:
        closed.set()
        # A timeout is needed because the thread may be blocked on a stream that nobody writes to.
        thread.join(LONGEST_WAIT)


def map_ahead(work: Callable[[T], R], items: Generator[T], workers: int = 2, ahead: int = 2) -> Generator[R]:
    """Yield `work(item)` for each of `items`, in order, with up to `ahead` more computed in threads ahead of time."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix="map_ahead")
    waiting: deque[Future[R]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        # Do not wait: an abandoned generator may be closed anywhere, even in one of these threads.
        pool.shutdown(wait=False, cancel_futures=True)
        items.close()
