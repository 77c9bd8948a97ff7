"""The line of a ``map``: works that are submitted, and which of them is the next to hand over.

Whoever waits is given a future to wait for: that of the next work, where it is known which
one that will be; else a *bell*, a future that is rung when it is known.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

MakeBell = Callable[[], Any]


def give_up(future: Any) -> None:
    """Cancel a work; if it has failed already, nobody will ask why."""
    if not future.cancel() and not future.cancelled():
        future.exception()  # or asyncio would log that nobody did


class InOrder:
    """Works in the order of the input."""

    def __init__(self) -> None:
        self._works: deque[Any] = deque()

    def __len__(self) -> int:
        return len(self._works)

    def add(self, future: Any) -> None:
        """Let a work stand in line."""
        self._works.append(future)

    def next(self, *, more: bool) -> Any:  # noqa: ARG002
        """Return what to wait for; None if nothing will come.

        Args:
            more: Whether works may still be added while one waits.
        """
        return self._works[0] if self._works else None

    def drop(self) -> None:
        """Drop the next work: its result was taken."""
        self._works.popleft()

    def is_bell(self, future: Any) -> bool:  # noqa: ARG002
        """Whether that is no work."""
        return False

    def ring(self) -> None:
        """Wake who waits: something has happened to the input."""

    def cancel(self) -> None:
        """Cancel all works."""
        while self._works:
            give_up(self._works.pop())


class _Bells:
    """Makes bells and rings them, from any thread.

    Args:
        make: Makes a future.
    """

    def __init__(self, make: MakeBell) -> None:
        self._make = make
        self._last: Any = None
        self._hung: deque[Any] = deque()  # two threads that ring never get the same

    def hang(self) -> Any:
        self._last = self._make()
        self._hung.append(self._last)
        return self._last

    def ring(self) -> None:
        while self._hung:
            try:
                bell = self._hung.pop()
            except IndexError:  # another thread was first
                return
            bell.set_result(None)

    def has_made(self, future: Any) -> bool:
        return future is self._last


class InOrderWithBell(InOrder):
    """The same, for an input that may fail, or go on, while one waits for the next work.

    For one thread, that of an event loop.

    Args:
        make_bell: Makes a future to wait for.
    """

    def __init__(self, make_bell: MakeBell) -> None:
        super().__init__()
        self._bells = _Bells(make_bell)
        self.is_bell = self._bells.has_made  # type: ignore[method-assign]
        self.ring = self._bells.ring  # type: ignore[method-assign]

    def add(self, future: Any) -> None:
        """Let a work stand in line."""
        was_empty = not self._works
        self._works.append(future)
        future.add_done_callback(self._is_done)
        if was_empty:
            self.ring()  # who waits may want to do something about the first work

    def next(self, *, more: bool) -> Any:
        """Return the next work if it is done; else a bell, or None if nothing will come."""
        if self._works and self._works[0].done():
            return self._works[0]
        return self._bells.hang() if self._works or more else None

    def _is_done(self, _future: Any) -> None:
        if self._works and self._works[0].done():
            self.ring()


class AsCompleted(InOrder):
    """Works in the order in which they complete. They may do so in any thread.

    Args:
        make_bell: Makes a future to wait for.
    """

    def __init__(self, make_bell: MakeBell) -> None:
        super().__init__()
        self._done: deque[Any] = deque()
        self._pending: set[Any] = set()
        self._bells = _Bells(make_bell)
        self.is_bell = self._bells.has_made  # type: ignore[method-assign]
        self.ring = self._bells.ring  # type: ignore[method-assign]

    def __len__(self) -> int:
        return len(self._pending) + len(self._done)

    def add(self, future: Any) -> None:
        """Let a work stand in line."""
        self._pending.add(future)
        future.add_done_callback(self._is_done)

    def _is_done(self, future: Any) -> None:
        # In this order: `next` must never see a work in neither of them, that would be the end.
        self._done.append(future)
        self._pending.discard(future)
        self.ring()

    def next(self, *, more: bool) -> Any:
        """Return a work that is done; else a bell, or None if nothing will come."""
        if self._done:
            return self._done[0]
        if not self._pending and not more:
            # One that completed between these two looks is no longer pending, but done.
            return self._done[0] if self._done else None
        bell = self._bells.hang()
        if self._done:  # it came before the bell was there, and rang none
            return self._done[0]
        return bell

    def drop(self) -> None:
        """Drop the next work: its result was taken."""
        self._done.popleft()

    def cancel(self) -> None:
        """Cancel all works."""
        for future in [*self._done, *self._pending]:
            give_up(future)
        self._done.clear()
        self._pending.clear()
