"""The Observer: who is told what passes through a manager, while somebody records it.

All is told in a step, under the manager's lock. Where there is none, each place that would tell
costs one look at an attribute, and none of them is on the way of a single work that gathers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from aplex._common.messages import Reports
from aplex._pool.pool import Pool
from aplex._pool.state import PoolWorker, Work


class Observer(Protocol):
    """Is told of frames, and of what is rare."""

    def submitted(self, first: int) -> None:
        """Hear that works, from that number on, are submitted from now on.

        Comes at the first of works that gather, and perhaps again when they are dispatched.
        """

    def sending(self, worker: PoolWorker) -> None:
        """Look at the outboxes of a worker, which are sent next."""

    def sent(
        self, worker: PoolWorker, lane: int, ids: Sequence[int], works: Sequence[Work]
    ) -> None:
        """Hear what is sent next, of a back end that has columns; see `Backend.tell_sent`."""

    def reading(
        self, worker: PoolWorker, lane: int, read: Callable[[], deque[Reports]]
    ) -> deque[Reports]:
        """Call ``read``, look at what it returns, and return it as the pool knows it."""
        ...

    def running(self, worker: PoolWorker, running: tuple[int, float]) -> None:
        """Hear which function runs in a worker, or ran when it ended, and since when."""

    def noted(self, pool: Pool) -> None:
        """Take the notes of the pool."""

    def closed(self) -> None:
        """Hear that the last worker is gone. Not in a step: on the listener's thread."""
