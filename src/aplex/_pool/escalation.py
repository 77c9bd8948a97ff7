"""The ladder: how works whose time is over, and functions that were cancelled, are stopped.

Rules of this file: logic only, as in ``_pool.pool``. Time comes in as a number. What a worker runs,
and since when, is asked of a function that needs no help of the worker, which may be stuck.

A coroutine is cancelled. A plain function climbs the rungs, if it can be interrupted:

1. It is *interrupted*: an exception is raised in it.
2. If it still runs ``kill_after`` seconds later, its worker is *expelled*: it retires, and gets no
   more works. What it has not started goes elsewhere.
3. The worker is *killed* when no coroutine is aboard any more; ``kill_after`` seconds after it was
   expelled at the latest.

Every step looks at the state of things anew. So it does not matter in which order, or whether
at all, reports, deaths and cancels come in between.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from aplex._common.messages import COROUTINE, PLAIN, TOO_LATE
from aplex._pool.deadlines import Alarms
from aplex._pool.pool import Pool
from aplex._pool.work import ABOARD, DONE, WAITING, Work
from aplex._pool.worker import PoolWorker
from aplex._pool.workforce import WorkerState


class Ladder:
    """Minds the time of works, and stops what is to stop.

    Attributes:
        changed: Whether there are effects, or ``first`` may be another.
        interrupts: Workers, and the numbers of functions to be interrupted there.
        kills: Workers to be killed if they still run a function, its number, and why.

    Args:
        pool: The works.
        running: Returns the number of the plain function that runs in a worker, and since
            when; zeros if none runs.
    """

    def __init__(self, pool: Pool, running: Callable[[PoolWorker], tuple[int, float]]) -> None:
        self._pool = pool
        self._running = running
        self._alarms: Alarms[Work | PoolWorker] = Alarms(_is_over)
        self.changed = False
        self.interrupts: list[tuple[PoolWorker, int]] = []
        self.kills: list[tuple[PoolWorker, int, str]] = []

    @property
    def first(self) -> float:
        """When ``ring`` is to be called next."""
        return self._alarms.first

    # -- events ---------------------------------------------------------------

    def limit(self, work: Work, end: float) -> None:
        """Mind the deadline of a work that was submitted."""
        self._set(end, work)

    def cancelled(self, work: Work, now: float) -> None:
        """See to the end of a work that its user has cancelled."""
        work.instead = None
        if work.state is ABOARD and self._pool.can_stop(work):
            self._climb(work, now)

    def take(self, now: float) -> None:
        """Take the pool's concerns: functions with a time limit that were sent, or that run."""
        concerns, self._pool.concerns = self._pool.concerns, []
        for work in concerns:
            worker = work.worker
            if worker is None:
                continue  # it has ended meanwhile
            if not work.cancel_asked:
                assert work.options.time_limit is not None
                self._look_at(worker, now + work.options.time_limit)
            elif self._pool.can_stop(work):
                self._climb(work, now)
            else:
                self._pool.settled.append((work, TOO_LATE, None))

    def recheck(self, worker: PoolWorker, now: float) -> None:
        """Look at an expelled worker that has reported something."""
        if worker.doom is not None:
            self._climb(worker.doom, now)

    def ring(self, now: float) -> None:
        """Look at all that is due."""
        self.changed = True
        while (thing := self._alarms.due(now)) is not None:
            if isinstance(thing, PoolWorker):
                self._look(thing, now)
            elif not thing.cancel_asked:
                self._deadline(thing, now)
            elif thing.lane == PLAIN:
                self._climb(thing, now)
            elif not thing.cancel_delivered and thing.instead is not None:
                # Something blocks the event loop of its worker.
                self._pool.forsake(thing, thing.instead)

    # -- limits ---------------------------------------------------------------

    def _deadline(self, work: Work, now: float) -> None:
        error = TimeoutError(
            f"{work.name} was not done within {work.options.deadline:g} s of its submit (deadline)"
        )
        if work.state is WAITING:
            self._pool.expire(work, error)
        else:
            self._stop(work, error, now)

    def _look(self, worker: PoolWorker, now: float) -> None:
        """Stop the function that runs in a worker if its time is over."""
        if now < worker.look_at:
            return  # another alarm is set for that time
        worker.look_at = math.inf
        seq, since = self._running(worker)
        for work in list(worker.works.values()):
            if not work.limited or work.cancel_asked or 0 < work.seq < seq:
                continue  # it has no limit, or has ended
            assert work.options.time_limit is not None
            # What has not begun has all its time left. Of what turned out to be a coroutine,
            # the time counts from the first look.
            began = since if 0 < seq == work.seq else now
            if not work.seq:
                began = work.detached_at = work.detached_at or now
            if began + work.options.time_limit <= now:
                self._stop(work, _timeout_error(work), now)
            else:
                self._look_at(worker, began + work.options.time_limit)

    def _look_at(self, worker: PoolWorker, when: float) -> None:
        if when < worker.look_at:
            worker.look_at = when
            self._set(when, worker)

    def _stop(self, work: Work, error: TimeoutError, now: float) -> None:
        """Stop a work that is aboard, and whose time is over."""
        work.instead = error
        self._pool.cancel(work)
        if work.lane != PLAIN:
            self._set(now + work.options.kill_after, work)
        elif self._pool.can_stop(work):
            self._climb(work, now)
        else:
            why = (
                "is marked as not to be interrupted" if self._pool.can_interrupt else "is a thread"
            )
            error.add_note(f"The function cannot be stopped, as {why}")
            self._pool.forsake(work, error)

    # -- rungs ----------------------------------------------------------------

    def _climb(self, work: Work, now: float) -> None:
        """Take the rung on which a plain function is due."""
        worker = work.worker
        if worker is None or work.lane != PLAIN:  # the cancel reaches it as a coroutine
            return
        kill_after = work.options.kill_after
        if self._running(worker)[0] != work.seq:
            if not work.interrupted_at:  # it may yet start before the cancel comes to it
                self._set(now + kill_after, work)
        elif not work.interrupted_at:
            work.interrupted_at = now
            self.interrupts.append((worker, work.seq))
            self._set(now + kill_after, work)
        elif now >= work.interrupted_at + kill_after:
            self._expel(worker, work, now)
        self.changed = True

    def _expel(self, worker: PoolWorker, work: Work, now: float) -> None:
        if worker.doom is not work:
            worker.doom = work
            work.expelled_at = now
            self._set(now + work.options.kill_after, work)
            self._pool.expel(worker, work.seq)
        late = now >= work.expelled_at + work.options.kill_after
        if late or not any(other.lane == COROUTINE for other in worker.works.values()):
            why = (
                f"{work.name} still ran {work.options.kill_after:g} s after its interrupt "
                "(kill_after)"
            )
            self.kills.append((worker, work.seq, why))

    def _set(self, when: float, thing: Work | PoolWorker) -> None:
        self._alarms.set(when, thing)
        self.changed = True


def _is_over(thing: Work | PoolWorker) -> bool:
    """Whether there is nothing to look at any more."""
    return thing.state is DONE or thing.state is WorkerState.GONE


def _timeout_error(work: Work) -> TimeoutError:
    return TimeoutError(
        f"{work.name} did not end within {work.options.time_limit:g} s (time_limit)"
    )
