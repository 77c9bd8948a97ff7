"""Escalation: how works out of time, and running functions that were cancelled, are stopped.

Rules of this file: logic only, as in ``_pool.pool``; time comes in as a number. What a worker
runs, and since when, is asked of a function that must not need the worker's help, since the
worker may be stuck.

A coroutine is cancelled. A plain function that can be interrupted is stopped in three steps:

1. It is *interrupted*: an exception is raised in it.
2. If it still runs ``kill_after`` seconds later, its worker *retires*: it gets no more works, and
   works that it has not started go elsewhere.
3. The worker is *killed* as soon as it has no coroutine in flight, and at the latest ``kill_after``
   seconds after it retired.

Each step looks at the present state only. So reports, deaths and cancels may come in between,
in any order.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from aplex._common.messages import COROUTINE, PLAIN, TOO_LATE
from aplex._pool.deadlines import Deadlines
from aplex._pool.pool import Pool
from aplex._pool.state import DONE, IN_FLIGHT, WAITING, PoolWorker, Work, WorkerState


class Escalation:
    """Watches the time limits of works, and decides how to stop the works that exceed them.

    Attributes:
        changed: Whether there are effects to carry out, or `first` may have changed.
        interrupts: Workers, and the numbers of the functions to interrupt there.
        kills: Workers to kill if they still run a function: its number, and the reason.

    Args:
        pool: The works.
        running: Returns the number of the plain function that runs in a worker, and since
            when; zeros if none runs.
    """

    def __init__(self, pool: Pool, running: Callable[[PoolWorker], tuple[int, float]]) -> None:
        self._pool = pool
        self._running = running
        self._deadlines: Deadlines[Work | PoolWorker] = Deadlines(_is_over)
        self.changed = False
        self.interrupts: list[tuple[PoolWorker, int]] = []
        self.kills: list[tuple[PoolWorker, int, str]] = []

    @property
    def first(self) -> float:
        """When to call ``check_due`` next."""
        return self._deadlines.first

    # -- events ---------------------------------------------------------------

    def limit(self, work: Work, end: float) -> None:
        """Watch the deadline of a work that was submitted."""
        self._set(end, work)

    def cancelled(self, work: Work, now: float) -> None:
        """Stop a work that its user has cancelled."""
        work.error_if_cancelled = None
        if work.state is IN_FLIGHT and self._pool.can_stop(work):
            self._escalate(work, now)

    def overdue(self, work: Work, error: TimeoutError, now: float) -> None:
        """Stop a work whose time is over; its future raises the error."""
        if work.state is WAITING:
            self._pool.expire(work, error)
        elif work.state is IN_FLIGHT and not work.cancel_asked:
            self._stop(work, error, now)

    def take(self, now: float) -> None:
        """Take what the pool wants watched: functions with a timeout, sent or running."""
        to_watch, self._pool.to_watch = self._pool.to_watch, []
        for work in to_watch:
            worker = work.worker
            if worker is None:
                continue  # it has ended meanwhile
            if not work.cancel_asked:
                assert work.options.time_limit is not None
                self._look_at(worker, now + work.options.time_limit)
            elif self._pool.can_stop(work):
                self._escalate(work, now)
            else:
                self._pool.settled.append((work, TOO_LATE, None))

    def recheck(self, worker: PoolWorker, now: float) -> None:
        """Look at a condemned worker that has reported something."""
        if worker.condemned_for is not None:
            self._escalate(worker.condemned_for, now)

    def look_again(self, worker: PoolWorker, running: tuple[int, float], now: float) -> None:
        """Look at a worker of which it was asked, on another machine, what it runs.

        Args:
            worker: Which one.
            running: What it runs, and since when.
            now: The time.
        """
        if worker.look_at < math.inf:
            worker.look_at = now
            self._look(worker, now, running)
        for work in list(worker.works.values()):
            asked = work.cancel_asked and work.lane == PLAIN and not work.interrupted_at
            if asked and self._pool.can_stop(work):
                self._escalate(work, now, running)

    def check_due(self, now: float) -> None:
        """Look at every work and worker whose time has come."""
        self.changed = True
        while (thing := self._deadlines.due(now)) is not None:
            if isinstance(thing, PoolWorker):
                self._look(thing, now)
            elif not thing.cancel_asked:
                self._deadline(thing, now)
            elif thing.lane == PLAIN:
                self._escalate(thing, now)
            elif not thing.cancel_delivered and thing.error_if_cancelled is not None:
                # Something blocks the event loop of its worker.
                self._pool.fail_early(thing, thing.error_if_cancelled)

    # -- limits ---------------------------------------------------------------

    def _deadline(self, work: Work, now: float) -> None:
        error = TimeoutError(
            f"{work.name} was not done within {work.options.deadline:g} s of its submit (deadline)"
        )
        self.overdue(work, error, now)

    def _look(
        self, worker: PoolWorker, now: float, running: tuple[int, float] | None = None
    ) -> None:
        """Stop the function that runs in a worker if its time is over."""
        if now < worker.look_at:
            return  # another deadline is set for that time
        worker.look_at = math.inf
        seq, since = running = running or self._running(worker)
        for work in list(worker.works.values()):
            if not work.limited or work.cancel_asked or 0 < work.seq < seq:
                continue  # it has no limit, or has ended
            assert work.options.time_limit is not None
            # A function that has not begun has all its time left. If it turned out to be a
            # coroutine, its time counts from the first look.
            began = since if 0 < seq == work.seq else now
            if not work.seq:
                began = work.detached_at = work.detached_at or now
            if began + work.options.time_limit <= now:
                self._stop(work, _timeout_error(work), now, running)
            else:
                self._look_at(worker, began + work.options.time_limit)

    def _look_at(self, worker: PoolWorker, when: float) -> None:
        if when < worker.look_at:
            worker.look_at = when
            self._set(when, worker)

    def _stop(
        self,
        work: Work,
        error: TimeoutError,
        now: float,
        running: tuple[int, float] | None = None,
    ) -> None:
        """Stop a work that is in flight and out of time."""
        work.error_if_cancelled = error
        self._pool.cancel(work)
        if work.lane != PLAIN:
            self._set(now + work.options.kill_after, work)
        elif self._pool.can_stop(work):
            self._escalate(work, now, running)
        else:
            why = (
                "is marked as not to be interrupted" if self._pool.can_interrupt else "is a thread"
            )
            error.add_note(f"The function cannot be stopped, as {why}")
            self._pool.fail_early(work, error)

    # -- steps ----------------------------------------------------------------

    def _escalate(self, work: Work, now: float, running: tuple[int, float] | None = None) -> None:
        """Take the step that is due for a plain function."""
        worker = work.worker
        if worker is None or work.lane != PLAIN:  # a coroutine by now: the cancel reaches it
            return
        kill_after = work.options.kill_after
        if (running or self._running(worker))[0] != work.seq:
            if not work.interrupted_at:  # it may still start before the cancel arrives
                self._set(now + kill_after, work)
        elif not work.interrupted_at:
            work.interrupted_at = now
            self.interrupts.append((worker, work.seq))
            self._set(now + kill_after, work)
        elif now >= work.interrupted_at + kill_after:
            self._retire_and_kill(worker, work, now)
        self.changed = True

    def _retire_and_kill(self, worker: PoolWorker, work: Work, now: float) -> None:
        if worker.condemned_for is not work:
            worker.condemned_for = work
            work.condemned_at = now
            self._set(now + work.options.kill_after, work)
            self._pool.retire_for(worker, work)
        late = now >= work.condemned_at + work.options.kill_after
        if late or not any(other.lane == COROUTINE for other in worker.works.values()):
            why = (
                f"{work.name} still ran {work.options.kill_after:g} s after its interrupt "
                "(kill_after)"
            )
            self.kills.append((worker, work.seq, why))

    def _set(self, when: float, thing: Work | PoolWorker) -> None:
        self._deadlines.set(when, thing)
        self.changed = True


def _is_over(thing: Work | PoolWorker) -> bool:
    """Whether there is nothing to look at any more."""
    return thing.state is DONE or thing.state is WorkerState.GONE


def _timeout_error(work: Work) -> TimeoutError:
    return TimeoutError(
        f"{work.name} did not end within {work.options.time_limit:g} s (time_limit)"
    )
