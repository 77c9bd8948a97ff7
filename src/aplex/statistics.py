"""What ``pool.stats()`` returns: frozen records of one moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["PoolStats", "RunningFunction", "WorkerStats"]


@dataclass(frozen=True, slots=True)
class RunningFunction:
    """The plain function that runs in a worker.

    Attributes:
        id: The number of the work, that of ``future.id``.
        name: Its qualified name with its module; of a chunk of a ``map``, that of the user's
            function.
        since: When it began, in seconds on the clock of ``time.monotonic``.
        seconds: For how long it has run.
    """

    id: int
    name: str
    since: float
    seconds: float


@dataclass(frozen=True, slots=True)
class WorkerStats:
    """One worker.

    Attributes:
        slot: The place that this worker and its successors hold, from 0. While a worker is
            replaced in order, two of them may show the same one.
        id: Its number, unique in the pool (`Worker.id` of load balancers).
        pid: Its process; None of a worker of threads, and until it is ready.
        state: ``"starting"``, ``"standby"`` (will take the place of one that is about to be
            replaced), ``"serving"``, ``"retiring"`` (finishes what it has), ``"stopping"`` or
            ``"gone"``.
        in_flight: Works it has: those that run, and those that were sent ahead.
        coroutines: How many of these are coroutines.
        running: The plain function that runs, if one does. Known without the worker's help.
        done: Works that have ended on it, in whatever way.
        uptime: Seconds since its start was begun.
        rss: Bytes of memory that its process holds (resident set, with what it shares); None
            of a worker of threads, and where there is no ``/proc``.
        loop_lag: Seconds that a coroutine waits for its turn in the worker's event loop: how
            long turns took lately, or if one takes longer just now, for how long it has. Known
            without the worker's help.
    """

    slot: int
    id: int
    pid: int | None
    state: Literal["starting", "standby", "serving", "retiring", "stopping", "gone"]
    in_flight: int
    coroutines: int
    running: RunningFunction | None
    done: int
    uptime: float
    rss: int | None
    loop_lag: float


@dataclass(frozen=True, slots=True)
class PoolStats:
    """A pool. Counts are of works, from the first submit on; a chunk of a ``map`` is one work.

    Attributes:
        state: ``"new"`` (nothing was submitted), ``"open"``, ``"closing"`` (takes nothing new),
            ``"closed"`` or ``"broken"``.
        size: How many workers there are to be.
        waiting: Works that wait for a worker, or for their turn.
        in_flight: Works that workers have. One whose future has failed early, as it does not
            end when its time is over, is still there.
        done: Works that have ended well.
        failed: Works that have raised, or could not be run, or were out of time.
        cancelled: Works that have ended cancelled.
        retried: How often a work was run again, as its worker had died.
        restarts: How often a worker was started in the place of one that had died.
        workers: Those that are there, also those that start and those that leave.
    """

    state: Literal["new", "open", "closing", "closed", "broken"]
    size: int
    waiting: int
    in_flight: int
    done: int
    failed: int
    cancelled: int
    retried: int
    restarts: int
    workers: tuple[WorkerStats, ...]

    @property
    def submitted(self) -> int:
        """Works that were ever submitted."""
        return self.pending + self.finished

    @property
    def pending(self) -> int:
        """Works that have not ended."""
        return self.waiting + self.in_flight

    @property
    def finished(self) -> int:
        """Works that have ended, in whatever way."""
        return self.done + self.failed + self.cancelled
