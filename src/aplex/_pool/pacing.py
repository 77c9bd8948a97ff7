"""Pacing: how many plain functions are sent ahead to a worker, and when they are recalled.

A worker that runs short functions would wait for each next one, so several are sent ahead. But a
function behind a long one is held up while other workers may be idle, and priorities do not count
for what was sent. So the faster functions end on a worker, the more are sent ahead to it; and
those held up are recalled.

Functions of data: nothing here changes anything.
"""

from __future__ import annotations

from typing import Final

from aplex._common.messages import PLAIN
from aplex._pool.state import PoolWorker, Work

AHEAD_SECONDS: Final = 0.002
"""Seconds of plain functions that are sent ahead to a worker, at the pace of the last ones."""
FAR_AHEAD_SECONDS: Final = 10 * AHEAD_SECONDS
"""Seconds of plain functions in flight on a worker, at its present pace, above which those are
recalled that would not be sent at this pace. Fewer are soon over."""
LONG_SECONDS: Final = 0.02
"""Seconds after which a function that still runs is long: those behind it are recalled. Also the
seconds between two looks at what was sent ahead."""


def smoothed(pace: float, latest: float) -> float:
    """Return the new pace, in seconds per function, after the latest functions took so long.

    Up at once, down slowly: functions held up by a long one cost more than a gap.
    """
    return latest if latest >= pace else 0.7 * pace + 0.3 * latest


def depth(pace: float, most: int) -> int:
    """Return how many functions of this pace may be in flight on a worker.

    A power of two, so it seldom changes while functions are alike; or all a worker may have.
    """
    count = int(AHEAD_SECONDS / pace) if pace else most
    return most if count >= most else 1 << max(0, count.bit_length() - 1)


def is_far_ahead(worker: PoolWorker) -> bool:
    """Whether a worker has more functions than it should, and will not have done them soon."""
    return worker.plain > worker.depth and worker.plain * worker.pace > FAR_AHEAD_SECONDS


def begun(worker: PoolWorker, seq: int) -> int:
    """Return how many functions in flight on a worker have begun, if the one of that number runs.

    Their reports may not have been read yet.
    """
    return sum(0 < work.seq <= seq for work in worker.works.values())


def to_recall(worker: PoolWorker, keep: int) -> list[Work]:
    """Return the functions a worker is to give back, all but the first ones."""
    ahead = [work for work in worker.works.values() if work.lane == PLAIN]
    return [work for work in ahead[keep:] if work.recalled != work.seq]
