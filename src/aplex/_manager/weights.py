"""The Weights: how much memory workers hold, of a pool with ``max_memory_per_worker``.

It is looked at when a worker has reported works, at most each `BETWEEN` seconds, and each second
while works are in flight: a pool that has nothing to do wakes nobody.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from aplex._pool.pool import Pool
from aplex._pool.state import PoolWorker, WorkerState

if TYPE_CHECKING:
    from aplex._backends.contract import Backend

BETWEEN: Final = 0.05
"""Seconds between two looks at one worker, at least: a look takes some 10 us."""
WHILE_RUNNING: Final = 1.0
"""Seconds between two looks at all workers that run something."""
TOO_MUCH: Final = (
    "a worker holds %d bytes before it has done anything, which is more than "
    "max_memory_per_worker, %d: each will be replaced after its first works"
)
_log = logging.getLogger("aplex")


class Weights:
    """Looks how much memory workers hold, and has those replaced that hold too much."""

    def __init__(
        self,
        pool: Pool,
        backend: Backend,
        most: int,
        call_later: Callable[[float, Callable[[], None]], None],
        step: Callable[[Callable[[], None]], None],
    ) -> None:
        """Look at nothing yet.

        Args:
            pool: Whose workers.
            backend: Knows what they hold, or asks.
            most: Bytes that a worker may hold.
            call_later: Makes a call after so many seconds.
            step: Takes an event in as a step.
        """
        self._pool = pool
        self._backend = backend
        self._most = most
        self._call_later = call_later
        self._step = step
        self._planned = False
        self._warned = False

    def look_between_works(self, worker: PoolWorker) -> None:
        """Look at a worker that has reported something. In a step."""
        now = time.monotonic()
        if now - worker.weighed_at >= BETWEEN:
            self._look(worker, now)

    def look_later(self) -> None:
        """Look at all workers in a while. In a step, when works were sent."""
        if not self._planned:
            self._planned = True
            self._call_later(WHILE_RUNNING, partial(self._step, self._look_at_all))

    def _look_at_all(self) -> None:
        self._planned = False
        now = time.monotonic()
        for worker in list(self._pool.workers):
            if worker.works:
                self._look(worker, now)
                self.look_later()

    def _look(self, worker: PoolWorker, now: float) -> None:
        worker.weighed_at = now
        if worker.worn or worker.pid is None or worker.state is not WorkerState.SERVING:
            return
        self.take(worker, self._backend.weigh(worker))

    def take(self, worker: PoolWorker, held: int | None) -> None:
        """Take in how many bytes a worker holds, if that is known. In a step."""
        if worker.worn or worker.state is not WorkerState.SERVING:
            return
        if held is not None and held > self._most:
            if not worker.works_done and not worker.works and not self._warned:
                self._warned = True
                # Not here, with the lock: a handler of the user's may do anything.
                self._call_later(0, partial(_log.warning, TOO_MUCH, held, self._most))
                return
            self._pool.wear(worker)
