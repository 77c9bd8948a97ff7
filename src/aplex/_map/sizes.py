"""How many items the next chunk of a ``map`` gets. A leaf.

Rules of this file: logic only. No clock, no thread, no IO: durations come in as numbers
that the workers have measured, sizes go out.

A chunk should be as long as the cost of sending it is small beside it, and no longer: then
works that take long travel alone, and nothing waits in line behind them.
"""

from __future__ import annotations

from typing import Final

AIM: Final = 0.002
"""Seconds that a chunk is to take. Sending one costs some 0.03 ms."""
GROWTH: Final = 16
"""A chunk has at most so many times the items of one whose duration is known."""
MOST: Final = 2048
"""Items of the biggest chunk."""
MOST_WAITING: Final = 64
"""Items of the biggest chunk of coroutines that wait."""
LONG_WAIT: Final = 0.005
"""Seconds that such a chunk is to wait at most. Where a coroutine waits longer, they travel
alone: chunks would bring little, and hold results back."""
TAIL: Final = 4
"""Towards the end chunks get smaller, down to this part of their size."""


class ChunkSizes:
    """Decides on the size of each chunk of one ``map``.

    Args:
        workers: How many run chunks at the same time.
        left: How many items the input has at most, if that is known.
        most: Items of the biggest chunk.
    """

    def __init__(self, workers: int, left: int | None, most: int = MOST) -> None:
        self._workers = workers
        self._left = left
        self._most = most
        self._size = 1
        self.waiting = False  # whether the works are coroutines that wait

    def next(self) -> int:
        """Return the size of the next chunk."""
        if self._left is None:
            return self._size
        # Near the end everybody gets less and less, so that all end together.
        share = self._left // (2 * self._workers)
        return max(1, min(self._size, max(share, self._size // TAIL)))

    def taken(self, items: int) -> None:
        """Take note of a chunk that was sent."""
        if self._left is not None:
            self._left -= items

    def learn(self, items: int, seconds: float, waited: float | None) -> None:
        """Take note of how long a chunk took in its worker.

        Args:
            items: Its size.
            seconds: From its start to its end.
            waited: Seconds of these in which the worker's loop had nothing to do; None if
                the items ran through at once.
        """
        self.waiting = waited is not None
        if waited is None:
            fitting = _fitting(items, seconds, AIM, self._most)
        else:
            most = min(self._most, MOST_WAITING)
            fitting = _fitting(items, waited, LONG_WAIT, most)
        # Down at once, up by steps: the next items may take longer than the last ones.
        self._size = max(1, min(fitting, GROWTH * min(items, self._size)))


def _fitting(items: int, seconds: float, aim: float, most: int) -> int:
    """Return how many items would have taken that long."""
    return int(min(most, items * aim / seconds)) if seconds > 0 else most
