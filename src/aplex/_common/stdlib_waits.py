"""Whether a signal handler has broken into ``wait`` or ``as_completed`` of this thread. A leaf.

Both hold locks of futures for a moment, and ``as_completed`` that of its waiter, which is not
reentrant. Whoever settles a future needs them: a handler that waited for that would wait for
its own thread. Nobody but their frames tells. Only asked where a handler is about to wait.
"""

from __future__ import annotations

import sys
from concurrent.futures import _base
from types import FrameType
from typing import Any, Final

from aplex._common.locks import is_mine

_CODES: Final = (_base.wait.__code__, _base.as_completed.__code__)
PATIENCE: Final = 0.2
"""Seconds after which a lock, which is never held for long, must be held by this thread."""


def waits_here() -> bool:
    """Whether this thread is in one of them, and has a lock."""
    frame: FrameType | None = sys._getframe()  # noqa: SLF001 - documented
    while frame is not None:
        if frame.f_code in _CODES and _holds(frame.f_locals):
            return True
        frame = frame.f_back
    return False


def _holds(names: dict[str, Any]) -> bool:
    futures: Any = names.get("fs")
    if type(futures) in (set, list, tuple):
        for future in futures:
            # A look at the condition of one of ours would make it.
            lock = future._lock_made if hasattr(future, "_lock_made") else future._condition  # noqa: SLF001
            if lock is not None and is_mine(lock):
                return True
    waiter = names.get("waiter")
    event = getattr(waiter, "event", None)
    locks = getattr(waiter, "lock", None), getattr(event, "_cond", None)
    return any(lock is not None and _is_stuck(lock) for lock in locks)


def _is_stuck(lock: Any) -> bool:
    if lock.acquire(timeout=PATIENCE):
        lock.release()
        return False
    return True
