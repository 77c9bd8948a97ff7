"""The pool of worker processes that joblib and Dask share, as those of loky are shared.

It is made when it is first needed, resized to what each call wants, and ends with the interpreter.
"""

from __future__ import annotations

import os
import threading
from typing import Any, Literal

from aplex.executors import ProcessAsyncPoolExecutor

Pool = ProcessAsyncPoolExecutor[Literal[False]]

_lock = threading.Lock()
_held: list[tuple[int, Pool]] = []  # the process it belongs to, and the pool


def shared_pool(size: int) -> Pool:
    """Return the pool, with so many workers.

    A new one, if the last one is broken or shut down, or belongs to the process that this one was
    forked from.
    """
    with _lock:
        if _held and _held[0][0] == os.getpid():
            try:
                _held[0][1].resize(size)
            except RuntimeError:  # shut down; a broken one is a kind of that, too
                pass
            else:
                return _held[0][1]
        _held[:] = [(os.getpid(), ProcessAsyncPoolExecutor(size))]
        return _held[0][1]


def shutdown() -> None:
    """End the workers, if there are some. The next call starts new ones."""
    with _lock:
        found = _held[:]
        _held.clear()
    for pid, pool in found:
        if pid == os.getpid():
            pool.shutdown(cancel_futures=True)


class Pending:
    """The futures of one call that are not done, so that they can be cancelled together."""

    def __init__(self) -> None:
        self._futures: set[Any] = set()

    def add(self, future: Any) -> Any:
        """Take a future in, until it is done; return it."""
        self._futures.add(future)
        future.add_done_callback(self._futures.discard)
        return future

    def cancel(self) -> None:
        """Cancel them: functions that run are interrupted."""
        for future in list(self._futures):
            future.cancel()
