"""How many works waited, were in flight, and ended, at each moment of a recording. Logic only."""

from __future__ import annotations

from array import array
from itertools import accumulate
from typing import Final

from aplex._observe.history import UNKNOWN, History

POINTS: Final = 2000
"""Moments, at most."""


class Counts:
    """Counts at equal distances.

    Attributes:
        times: When, in nanoseconds of the monotonic clock; each is the end of its interval.
        waiting: Works that waited then.
        in_flight: Works that workers had then.
        ended: Works that were heard to end, in the interval.
        step: Nanoseconds from one moment to the next.
    """

    def __init__(self, history: History, start: int, end: int, points: int = POINTS) -> None:
        """Count, from the start to the end of a recording."""
        points = max(1, min(points, len(history)))
        self.step = step = max(1, -(-(end - start) // points))
        size = points + 1
        waiting, flying = array("q", [0]) * size, array("q", [0]) * size
        self.ended = array("q", [0]) * size
        columns = (history.submitted, history.sent, history.received)
        for submitted, sent, received in zip(*columns, strict=True):
            if submitted != UNKNOWN:
                waiting[_place(submitted, start, step, points)] += 1
                left = sent if sent != UNKNOWN else received
                if left != UNKNOWN:
                    waiting[_place(left, start, step, points)] -= 1
            if sent != UNKNOWN:
                flying[_place(sent, start, step, points)] += 1
            if received != UNKNOWN:
                place = _place(received, start, step, points)
                self.ended[place] += 1
                flying[place] -= sent != UNKNOWN
        self.times = [start + step * (at + 1) for at in range(size)]
        self.waiting = list(accumulate(waiting))
        self.in_flight = list(accumulate(flying))


def _place(time: int, start: int, step: int, last: int) -> int:
    return min(max(0, (time - start) // step), last)
