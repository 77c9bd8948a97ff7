"""Locks that Ctrl-C does not leave held. A leaf.

``KeyboardInterrupt``, or whatever a signal handler raises on the main thread, may come between
taking a lock and the first line of the ``with`` block: then nobody releases it, and the next
thread that wants it waits for ever. CPython looks for signals after calls. ``with lock``, with
a lock of C, was no such call before CPython 3.14; it is one there
(https://github.com/python/cpython/issues/148874), and in ``threading.Condition`` always was.
(The end of a ``with`` block of a condition can be broken into, too; that cannot be mended here.)

All are reentrant: a signal handler, or a finalizer, may call us in the middle of our own code,
in the thread that has the lock. So whoever takes one sees to it that the state inside can be
entered again, see decision 22.
"""

from __future__ import annotations

import _thread
import sys
import threading

TYPE_CHECKING = False  # from `typing`, which workers need not import
if TYPE_CHECKING:
    from typing import Any, Final

_count: Final[Any] = getattr(_thread.RLock, "_recursion_count", None) or _thread.RLock._is_owned  # type: ignore[attr-defined]  # noqa: SLF001


class CheckedRLock(_thread.RLock):  # type: ignore[misc]  # a final class, say the stubs
    """An ``RLock`` that gives itself back if taking it was broken into."""

    def __enter__(self) -> bool:  # type: ignore[override]
        """Take the lock. No signal is looked for between our return and the ``with`` block."""
        before = _count(self)
        try:
            taken = self.acquire()
        except BaseException:
            if _count(self) > before:
                self.release()
            raise
        return taken


RLock: Any = CheckedRLock if sys.version_info >= (3, 14) else threading.RLock
"""Makes a lock to be used by ``with``. A thread may take it again."""


class LateImports:
    """The lock of modules that are imported when they are first needed.

    A child that is forked while another thread imports a module would wait for the end of that
    import for ever: the thread is not there. So each such import takes the lock, and each fork.
    """

    def __init__(self) -> None:
        self.importing = RLock()

    def renew(self) -> None:
        """In a forked child: the lock may be held by a thread that is not here."""
        self.importing = RLock()


late_imports: Final = LateImports()


def is_mine(lock: Any) -> bool:
    """Whether this thread has the lock: if nobody here has just taken it, we have broken in."""
    return bool(lock._is_owned())  # noqa: SLF001 - `threading.Condition` asks it, too


def condition() -> threading.Condition:
    """Make a condition with a lock of its own."""
    lock: Any = CheckedRLock()
    return threading.Condition(lock)
