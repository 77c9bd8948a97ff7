"""Alarms: what is to be looked at when. A leaf, and logic only: time comes in as a number."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable
from typing import Final, Generic, TypeVar

T = TypeVar("T")
FEW: Final = 64
"""Alarms of which nobody minds that some are for nothing."""


class Alarms(Generic[T]):
    """Things, each with the time at which it is to be looked at.

    None is ever taken back: who is woken looks whether there is anything to do. Those that are
    known to be for nothing are dropped when half of all may be so.

    Args:
        useless: Whether an alarm for a thing would be for nothing.
    """

    def __init__(self, useless: Callable[[T], bool]) -> None:
        self._useless = useless
        self._heap: list[tuple[float, int, T]] = []
        self._numbers = itertools.count()  # things cannot be compared
        self._many = FEW

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def first(self) -> float:
        """When the next one is due; ``math.inf``: never."""
        return self._heap[0][0] if self._heap else math.inf

    def set(self, when: float, thing: T) -> None:
        """Have a thing looked at; never, if ``when`` is infinite."""
        if when == math.inf:
            return
        heapq.heappush(self._heap, (when, next(self._numbers), thing))
        if len(self._heap) > self._many:
            self._many *= 2  # first: Ctrl-C may break into the rest, and come again there
            self._heap = [alarm for alarm in self._heap if not self._useless(alarm[2])]
            heapq.heapify(self._heap)
            self._many = max(FEW, 2 * len(self._heap))

    def due(self, now: float) -> T | None:
        """Return a thing that is due, and its alarm is over; None if nothing is."""
        while self._heap and self._heap[0][0] <= now:
            thing = heapq.heappop(self._heap)[2]
            if not self._useless(thing):
                return thing
        return None
