"""Stamps: when works were submitted. Logic only.

Works are numbered as they come. So one look at the clock for those that gather is enough: it is
taken when the first of them comes, and holds for all until the next one. A time is thus never
late, and at most that of a gathering early; where very many works wait, that of some gatherings.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from typing import Final

MOST: Final = 256
"""How many are kept at most."""


class Stamps:
    """The times at which works were submitted, of those that are not done."""

    __slots__ = ("_first", "_oldest", "_skipped", "_step", "_times")

    def __init__(self, oldest: Callable[[], int]) -> None:
        """Have no times yet.

        Args:
            oldest: Tells the number of the oldest work that is not done.
        """
        self._oldest = oldest
        self._first: list[int] = []  # numbers of works
        self._times: list[float] = []
        self._step = 1  # every so many-th time is kept
        self._skipped = 0

    def add(self, work_id: int, now: float) -> None:
        """Note the time, in seconds, at which the work of that number comes."""
        self._skipped += 1
        if self._skipped < self._step:
            return
        self._skipped = 0
        if len(self._first) >= MOST:
            self._make_room()
        # A signal handler may raise in between: then the time is one too many, until the next one.
        del self._times[len(self._first) :]
        self._times.append(now)
        self._first.append(work_id)

    def _make_room(self) -> None:
        """Drop the times that nobody needs; if these are few, keep every second one."""
        needed = max(0, bisect_right(self._first, self._oldest()) - 1)
        many = MOST - needed > MOST // 2
        step = 2 if many else 1
        self._first, self._times = self._first[needed::step], self._times[needed::step]
        self._step = 2 * self._step if many else max(1, self._step // 2)

    def of(self, work_id: int) -> int:
        """Return when a work came, in nanoseconds; 0 if that is not known."""
        place = bisect_right(self._first, work_id)
        return int(self._times[place - 1] * 1e9) if place else 0
