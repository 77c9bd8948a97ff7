"""The line of a ``map``: works that are submitted, and which of them is the next to hand over.

Whoever waits is given a future to wait for: that of the next work, where it is known which
one that will be; else a *bell*, a future that is rung when it is known.
"""

from __future__ import annotations

import concurrent.futures
from collections import deque
from collections.abc import Callable
from typing import Any


def give_up(future: Any) -> None:
    """Cancel a work; if it has failed, or answers the cancel by a failure, nobody asks why."""
    future.cancel()
    if future.done():
        _look_at(future)
    elif not isinstance(future, concurrent.futures.Future):
        future.add_done_callback(_look_at)


def _look_at(future: Any) -> None:
    if not future.cancelled():
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
        if self._works:  # else a signal handler has closed the map just now
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


class Bells:
    """Makes bells and rings them, from any thread.

    Args:
        make: Makes a future.
        ring: Lets it be done.
    """

    def __init__(self, make: Callable[[], Any], ring: Callable[[Any], None]) -> None:
        self._make = make
        self._ring = ring
        self._last: Any = None
        self._hung: deque[Any] = deque()  # two threads that ring never get the same

    def hang(self) -> Any:
        """Return a bell that the next ``ring`` rings."""
        self._last = self._make()
        self._hung.append(self._last)
        return self._last

    def ring(self) -> None:
        """Ring the bells that hang."""
        while self._hung:
            try:
                bell = self._hung.pop()
            except IndexError:  # another thread was first
                return
            self._ring(bell)

    def has_made(self, future: Any) -> bool:
        """Whether that is the last bell."""
        return future is self._last


class InOrderWithBell(InOrder):
    """The same, for an input that may fail, or go on, while one waits for the next work.

    For one thread, that of an event loop.

    Args:
        bells: Makes what one waits for.
    """

    def __init__(self, bells: Bells) -> None:
        super().__init__()
        self._bells = bells
        self.is_bell = bells.has_made  # type: ignore[method-assign]
        self.ring = bells.ring  # type: ignore[method-assign]

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
        bells: Makes what one waits for.
        told: Whether futures tell it when they are done. If not, they get a callback.
    """

    def __init__(self, bells: Bells, *, told: bool) -> None:
        super().__init__()
        self._told = told
        self._held: set[Any] = set()  # used by one thread only, as `add` and `drop` are
        self._done: deque[Any] = deque()  # one may be there twice, see `TellingFuture`
        self._bells = bells
        self.is_bell = bells.has_made  # type: ignore[method-assign]
        self.ring = bells.ring  # type: ignore[method-assign]

    def __len__(self) -> int:
        return len(self._held)

    def add(self, future: Any) -> None:
        """Let a work stand in line. It may have told already."""
        self._held.add(future)
        if not self._told:
            future.add_done_callback(self.tell)

    def tell(self, future: Any) -> None:
        """Learn that a work is done. Any thread."""
        self._done.append(future)
        self._bells.ring()

    def next(self, *, more: bool) -> Any:
        """Return a work that is done; else a bell, or None if nothing will come."""
        if (future := self._first_done()) is not None:
            return future
        if not self._held and not more:
            return None
        bell = self._bells.hang()
        # One that came before the bell was there has rung none.
        future = self._first_done()
        return bell if future is None else future

    def _first_done(self) -> Any:
        while self._done:
            future = self._done[0]
            if future in self._held:
                return future
            self._done.popleft()  # it has told twice
        return None

    def awaited(self) -> Any:
        """Return a work that whoever waits for the next one waits for, among others."""
        works = (future._work for future in self._held)  # noqa: SLF001 - private to the package
        return next((work for work in works if work is not None), None)

    def drop(self) -> None:
        """Drop the next work: its result was taken."""
        if self._done:  # else a signal handler has closed the map just now
            self._held.discard(self._done.popleft())

    def cancel(self) -> None:
        """Cancel all works."""
        while self._held:
            give_up(self._held.pop())
        self._done.clear()
