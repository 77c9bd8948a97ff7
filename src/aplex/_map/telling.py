"""Futures for a thread that waits for any of many works. For `_map.order`."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures._base import PENDING
from types import SimpleNamespace
from typing import Any, TypeVar

from aplex._common.messages import VALUE
from aplex._futures.blocking import ConcurrentFuture

T = TypeVar("T")


class TellingFuture(ConcurrentFuture[T]):
    """Tells when it is done: at once, and without the lock that a callback would need.

    Args:
        tell: Called with it, in any thread, and perhaps twice.
    """

    def __init__(self, tell: Callable[[TellingFuture[T]], None]) -> None:
        super().__init__()
        self._tell: Callable[[TellingFuture[T]], None] | None = tell

    def _settle(self, kind: int, data: Any) -> None:
        super()._settle(kind, data)
        if self._state is not PENDING:
            self._told()

    def _told(self) -> None:
        tell = self._tell
        if tell is not None:
            tell(self)
            self._tell = None  # not before: Ctrl-C may have broken into it


class Bell(ConcurrentFuture[None]):
    """A future of no work, done when it is rung. Whoever waits for it reads the reports.

    Args:
        manager: Who reads.
        awaited: Returns a work without which it is not rung, or None.
    """

    def __init__(self, manager: Any, awaited: Callable[[], Any]) -> None:
        super().__init__()
        self._work: Any = SimpleNamespace(id=0, retried=0, manager=manager, awaited=awaited)

    def ring(self) -> None:
        """Be done. Any thread, and several at a time.

        The items of a stream may ring while another thread, which has seen its worker die,
        rings for the end: both have seen that it was not done.
        """
        self._settle(VALUE, None)
