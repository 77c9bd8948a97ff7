"""Threads whose start may be broken into by a signal handler, and then tried again."""

from __future__ import annotations

import threading
from collections.abc import Callable


class OnceThread:
    """A daemon thread that runs its target once, however often it is started.

    ``Thread.start`` waits until the thread has begun. If a signal handler raises meanwhile,
    nobody can know whether there is a thread. So `start` may be called again, by any thread:
    of all threads that it has made the first to begin runs the target, the others end at once.
    """

    def __init__(self, target: Callable[[], None], name: str) -> None:
        self._target = target
        self._name = name
        self._begins = threading.Lock()  # taken by the thread that begins, and kept
        self._thread: threading.Thread | None = None

    @property
    def name(self) -> str:
        """Its name."""
        return self._name

    @property
    def ident(self) -> int | None:
        """The identity of the thread that runs the target; None before it has begun."""
        return None if self._thread is None else self._thread.ident

    def start(self) -> None:
        """Start the thread, unless it has begun. With no lock that a finalizer may want.

        A finalizer may run in the new thread while ``start`` waits for that to begin.

        Raises:
            RuntimeError: There can be no more threads.
        """
        if self._thread is None:
            threading.Thread(target=self._run, name=self._name, daemon=True).start()

    def is_alive(self) -> bool:
        """Whether the target runs."""
        return self._thread is not None and self._thread.is_alive()

    def join(self, timeout: float | None = None) -> None:
        """Wait until the target has returned, if it has begun; so many seconds at most."""
        if self._thread is not None:
            self._thread.join(timeout)

    def give_up(self) -> bool:
        """Have the target never run; return False if it has begun."""
        return self._begins.acquire(blocking=False)

    def _run(self) -> None:
        if self._begins.acquire(blocking=False):
            self._thread = threading.current_thread()
            self._target()
