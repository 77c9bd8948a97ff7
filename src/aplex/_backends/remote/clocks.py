"""Turns times of a worker's clock, in what it reports, into those of ours. Logic only."""

from __future__ import annotations

from array import array
from typing import Any, Final

from aplex._common.messages import COROUTINE, DUMPED

PLAIN_FIELDS: Final = 6
"""Of a frame of reports that has no column of times."""


def shifted(lane: int, frame: Any, skew: int) -> Any:
    """Return a frame of reports with our times.

    Args:
        lane: On which it came.
        frame: See `_common.messages`, and for the column of times `_worker.times`.
        skew: What to add to a time, in nanoseconds.
    """
    if frame[1]:
        frame[1][:] = [
            (number, kind, _rows(data, skew) if kind == DUMPED else data)
            for number, kind, data in frame[1]
        ]
    if len(frame) <= PLAIN_FIELDS:
        return frame
    column, errors = frame[PLAIN_FIELDS]
    return (*frame[:PLAIN_FIELDS], (_column(lane, column, skew), errors))


def _column(lane: int, column: bytes, skew: int) -> bytes:
    times = array("q", column)
    width = 3 if lane == COROUTINE else 2
    for place, value in enumerate(times):
        # The last word of plain functions is a time, too, where else a number stands.
        last = lane != COROUTINE and place == len(times) - 1
        if value and (place % width or last):  # 0: not known
            times[place] = value + skew
    return times.tobytes()


def _rows(rows: Any, skew: int) -> Any:
    """Return what a worker does, see `_worker.stacks.Row`."""
    return [
        (one, lane, since + skew / 1e9 if since else since, *rest)
        for one, lane, since, *rest in rows
    ]
