"""Sleepers: threads that wait for something, and are woken by whoever made it happen. A leaf.

A signal handler, or a finalizer, runs in the middle of another call of its thread. If it makes
happen what that call was about to wait for, a ``threading.Condition`` forgets it: nobody waits
yet, and its lock, which keeps others out, lets the same thread in. So no lock is used here.
A thread that waits registers a waiter before it looks whether there is anything to wait for;
whoever makes it happen looks for waiters afterwards. One of them sees the other, also in the
same thread.
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
        self._waiters: list[Any] = []  # locks; whoever releases one wakes its thread

    def sleep_until(self, happened: Callable[[], bool], end: float | None = None) -> bool:
        """Wait until it has happened, or for the monotonic time ``end``; return whether it has."""
        waiter = _thread.allocate_lock()
        waiter.acquire()
        self._waiters.append(waiter)
        try:
            while not happened():
                left = -1.0 if end is None else min(end - time.monotonic(), threading.TIMEOUT_MAX)
                if end is not None and left <= 0:
                    return False
                waiter.acquire(True, left)
        finally:
            self._waiters.remove(waiter)
        return True

    def wake(self) -> None:
        """Have all of them look. Any thread, a signal handler, a finalizer."""
        for waiter in self._waiters.copy():
            try:
                waiter.release()
            except RuntimeError:
                pass  # it was woken already, and has not run yet
