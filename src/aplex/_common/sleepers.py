"""Sleepers: threads that wait for something, and are woken by whoever made it happen. A leaf.

A signal handler, or a finalizer, runs in the middle of another call of its thread. If it makes
happen what that call was about to wait for, a ``threading.Condition`` forgets it: nobody waits
yet, and its lock, which keeps others out, lets the same thread in. So no lock is used here. Who
waits makes a bell known before he looks whether there is anything to wait for; who makes it
happen looks for bells after it. One of them sees the other, also in the same thread.
"""

from __future__ import annotations

import _thread
import threading
import time
from collections.abc import Callable
from typing import Any


class Sleepers:
    """Threads that wait until something has happened."""

    def __init__(self) -> None:
        self._bells: list[Any] = []  # locks; whoever releases one wakes its thread

    def sleep_until(self, happened: Callable[[], bool], end: float | None = None) -> bool:
        """Wait until it has happened, or for the monotonic time ``end``; return whether it has."""
        bell = _thread.allocate_lock()
        bell.acquire()
        self._bells.append(bell)
        try:
            while not happened():
                left = -1.0 if end is None else min(end - time.monotonic(), threading.TIMEOUT_MAX)
                if end is not None and left <= 0:
                    return False
                bell.acquire(True, left)
        finally:
            self._bells.remove(bell)
        return True

    def wake(self) -> None:
        """Have all of them look. Any thread, a signal handler, a finalizer."""
        for bell in self._bells.copy():
            try:
                bell.release()
            except RuntimeError:
                pass  # it has been rung, and is not heard yet
