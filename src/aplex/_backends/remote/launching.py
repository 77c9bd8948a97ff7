"""The thread on which a launcher is called: it may block, and nobody else has to wait for it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Final

LAST: Final = 10.0
"""Seconds in which it must have done what it was asked, at the end of a pool."""


class LauncherThread:
    """Makes calls, one after another, on a thread that is there while there are any."""

    def __init__(self, name: str, failed: Callable[[BaseException], None]) -> None:
        """Start nothing yet.

        Args:
            name: Of the thread.
            failed: Is told what a call raises, on the thread.
        """
        self._name = name
        self._failed = failed
        self._calls: deque[Callable[[], None]] = deque()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def do(self, call: Callable[[], None]) -> None:
        """Have a call made soon. Holding no lock that it may want: not in a step."""
        with self._lock:
            self._calls.append(call)
            if self._thread is not None:
                return
            thread = self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the interpreter exits: no new threads
            self._run()

    def finish(self, call: Callable[[], None]) -> None:
        """Have the last call made, and wait for that, for a while."""
        self.do(call)
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(LAST)

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._calls:
                    self._thread = None
                    return
                call = self._calls.popleft()
            try:
                call()
            except BaseException as error:  # noqa: BLE001 - nobody would make the others
                self._failed(error)
