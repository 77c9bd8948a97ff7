"""Stamps: when works were submitted. Logic only.

Works are numbered as they come. So one look at the clock for those that gather is enough: it is
taken when the first of them comes, and holds for all until the next one. A time is thus never
late, and at most that of a gathering early. Works that were sent may come back and wait again, so
old times are kept as well, but ever fewer of them.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

MOST: Final = 2048
"""How many are kept; then every second one of them goes."""


class Stamps:
    """The times at which works were submitted."""

    __slots__ = ("_first", "_times")

    def __init__(self) -> None:
        self._first: list[int] = []  # numbers of works
        self._times: list[float] = []

    def add(self, work_id: int, now: float) -> None:
        """Note the time, in seconds, at which the work of that number comes.

        Args:
            work_id: Its number.
            now: The time.
        """
        if len(self._first) >= MOST:
            self._first, self._times = self._first[::2], self._times[::2]
        self._first.append(work_id)
        self._times.append(now)

    def of(self, work_id: int) -> int:
        """Return when a work came, in nanoseconds; 0 if that is not known."""
        place = bisect_right(self._first, work_id)
        return int(self._times[place - 1] * 1e9) if place else 0
