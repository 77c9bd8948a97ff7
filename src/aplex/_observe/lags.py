"""The lag of workers' event loops, as a recording keeps it. Logic only.

The parent reads it from memory when a frame comes from the worker, which costs no message. Most
loops have none worth a note: what is less than a millisecond is nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from aplex._observe.tape import Event

LEAST: Final = 1e-3
"""Seconds that are worth a note."""
PAUSE: Final = 100_000_000
"""Nanoseconds between two notes of a worker, at least."""
FADED: Final = 1_000_000_000
"""Nanoseconds after which a lag of which nothing more was heard is over: it halves five times."""
_AGAIN: Final = FADED // 2
_CHANGE: Final = 0.25
POINTS: Final = 2000
"""Of a counter, at most."""


class Lags:
    """Which lags are to be noted."""

    __slots__ = ("_looked", "_noted")

    def __init__(self) -> None:
        """Have seen none."""
        self._looked: dict[int, int] = {}
        self._noted: dict[int, tuple[int, float]] = {}

    def is_due(self, worker: int, now: int) -> bool:
        """Whether the lag of a worker is to be looked at."""
        if now - self._looked.get(worker, -PAUSE) < PAUSE:
            return False
        self._looked[worker] = now
        return True

    def is_new(self, worker: int, now: int, lag: float) -> bool:
        """Whether a lag, in seconds, is to be noted: it has changed, or was noted long ago."""
        lag = lag if lag >= LEAST else 0.0
        then, before = self._noted.get(worker, (now, 0.0))
        if abs(lag - before) <= _CHANGE * before and (not lag or now - then < _AGAIN):
            return False
        self._noted[worker] = now, lag
        return True

    def forget(self, worker: int) -> None:
        """Hear that a worker has ended."""
        self._looked.pop(worker, None)
        self._noted.pop(worker, None)


def lag_points(
    events: Iterable[Event], workers: Collection[int], start: int, end: int
) -> list[tuple[int, float]]:
    """Return when the lag of a slot changed, and to how many milliseconds.

    Args:
        events: Of a tape, in their order.
        workers: The numbers of those that had the slot.
        start: When the recording began, in nanoseconds.
        end: When it ended.
    """
    points: list[tuple[int, float]] = [(start, 0.0)]
    for time, word, *more in events:
        if more and more[0] in workers:
            if word == "lag":
                _fade(points, time)
                points.append((time, more[1] / 1e3))
            elif word == "gone":
                _fade(points, time)
                points.append((time, 0.0))
    _fade(points, end)
    return _thinned(points)


def _fade(points: list[tuple[int, float]], time: int) -> None:
    """End a lag of which nothing was heard until that time."""
    then, lag = points[-1]
    if lag and time - then > FADED:
        points.append((then + FADED, 0.0))


def _thinned(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Return the greatest of so many neighbours that there are not too many."""
    step = -(-len(points) // POINTS)
    if step == 1:
        return points
    parts = (points[at : at + step] for at in range(0, len(points), step))
    return [(part[0][0], max(lag for _, lag in part)) for part in parts]
