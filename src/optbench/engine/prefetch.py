"""Prefetch items in order in one thread, with a bounded queue."""

from __future__ import annotations

import queue
import threading
import time
import weakref
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Prefetch(Generic[T]):
    """Computes `prepare(start)`, `prepare(start + 1)`, ... in advance, with at most `depth` items queued.

    An exception in `prepare` is raised by the `get` of that item. The thread ends with `close()`, after an exception, or when this
    object is garbage-collected: `prepare` must not refer to it.
    """

    def __init__(self, prepare: Callable[[int], T], start: int, depth: int = 3) -> None:
        self.next = start
        self.wait_seconds = 0.0
        self._ready: queue.Queue[T | BaseException] = queue.Queue(depth)
        stop = threading.Event()
        self.close = weakref.finalize(self, stop.set)
        self._thread = threading.Thread(
            target=_produce, args=(prepare, start, self._ready, stop), name="prefetch", daemon=True
        )
        self._thread.start()

    def get(self) -> T:
        """Return item number `next` and increment `next`."""
        begin = time.perf_counter()
        item = self._ready.get()
        self.wait_seconds += time.perf_counter() - begin
        if isinstance(item, BaseException):
            self._ready.put(item)  # so that another `get` raises too instead of waiting forever
            raise item
        self.next += 1
        return item

    @property
    def alive(self) -> bool:
        """Whether the thread is running."""
        return self._thread.is_alive()


def _produce(
    prepare: Callable[[int], T], number: int, ready: queue.Queue[T | BaseException], stop: threading.Event
) -> None:
    while not stop.is_set():
        item: T | BaseException
        try:
            item = prepare(number)
        except BaseException as error:
            item = error
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.1)
                break
            except queue.Full:
                continue
        if isinstance(item, BaseException):
            return
        number += 1
