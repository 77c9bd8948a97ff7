"""Deadlines: what is to be looked at when. Logic only: time comes in as a number."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable
from typing import Final, Generic, TypeVar

T = TypeVar("T")
KEPT_ENTRIES: Final = 64
"""Entries that are kept without checking which of them are still needed."""


class Deadlines(Generic[T]):
    """Things, each with the time at which to look at it.

    An entry is never taken back: whoever is woken finds out whether there is anything to do.
    When entries pile up, those known to be useless are dropped.

    Args:
        useless: Whether looking at a thing would be useless.
    """

    def __init__(self, useless: Callable[[T], bool]) -> None:
        self._useless = useless
        self._heap: list[tuple[float, int, T]] = []
        self._numbers = itertools.count()  # things cannot be compared
        self._clean_above = KEPT_ENTRIES

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def first(self) -> float:
        """When the next entry is due; ``math.inf``: never."""
        return self._heap[0][0] if self._heap else math.inf

    def set(self, when: float, thing: T) -> None:
        """Have a thing looked at; never, if ``when`` is infinite."""
        if when == math.inf:
            return
        heapq.heappush(self._heap, (when, next(self._numbers), thing))
        if len(self._heap) > self._clean_above:
            self._clean_above *= 2  # first: if Ctrl-C breaks into the rest, the next call does it
            self._heap = [entry for entry in self._heap if not self._useless(entry[2])]
            heapq.heapify(self._heap)
            self._clean_above = max(KEPT_ENTRIES, 2 * len(self._heap))

    def due(self, now: float) -> T | None:
        """Remove and return a thing that is due; None if there is none."""
        while self._heap and self._heap[0][0] <= now:
            thing = heapq.heappop(self._heap)[2]
            if not self._useless(thing):
                return thing
        return None
