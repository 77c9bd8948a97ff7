"""One event under the lock, its effects, then the futures.

Whatever happens (a call by the user, reports from a worker, a death, a deadline) becomes one
*step*: the pool takes the event under the lock; the effects whose order matters (sending,
starting, stopping) are carried out before the lock is released; futures are settled after it,
since settling runs users' code.

One thread may enter the lock twice: a signal handler, a finalizer or a load balancer may call
the pool in the middle of a step. Such an event is put off to the end of that step. So whoever
takes the lock marks its thread as being in a step, even if it only looks (`Stepper.within`).
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar, TypeVarTuple, Unpack

from aplex._backends.contract import Backend
from aplex._backends.listener import Listener
from aplex._common.locks import RLock, is_mine
from aplex._common.messages import PLAIN
from aplex._common.sleepers import Sleepers
from aplex._manager.effects import Effects
from aplex._manager.observer import Observer
from aplex._manager.page import PoolPage
from aplex._manager.settling import Settled, settle
from aplex._manager.weights import Weights
from aplex._pool.pacing import AHEAD_SECONDS, LONG_SECONDS
from aplex._pool.pool import Pool

Args = TypeVarTuple("Args")
T = TypeVar("T")
Loop = asyncio.AbstractEventLoop


class Phase(enum.Enum):
    """Where a pool is in its life."""

    NEW = "new"  # nothing was submitted yet: nothing is started
    RUNNING = "running"
    GOING = "going"  # the last worker is gone


class Again(enum.Enum):
    """Says that a flush is planned, and that the observer is to be told of the next work."""

    AGAIN = "again"


AGAIN: Final = Again.AGAIN


class Stepper:
    """Takes every event through the pool, carries out what follows, and settles futures."""

    def __init__(
        self,
        pool: Pool,
        backend: Backend,
        listener: Listener,
        *,
        exit_grace: float,
        start_timeout: float | None,
    ) -> None:
        self.pool = pool
        self._backend = backend
        self._listener = listener
        self._effects = Effects(
            pool,
            backend,
            listener,
            self._step,
            exit_grace=exit_grace,
            start_timeout=start_timeout,
        )
        self._escalation = self._effects.escalation
        self._weights: Weights | None = None
        if pool.terms.max_memory is not None:
            self._weights = Weights(
                pool, pool.terms.max_memory, self._effects.call_later, self._step
            )
        self._lock = RLock()
        self._stepping = False  # whether the thread that has the lock is in a step
        # What was taken from the pool to be settled, with the threads that do so.
        self._taken: dict[int, list[Any]] = {}
        self._put_off: deque[Callable[[], None]] = deque()  # events that came within a step
        self._afterwards: deque[Callable[[], None]] = deque()  # calls to make without the lock
        self._phase = Phase.NEW
        self._open = False  # whether works are taken at once: running, not shut, not broken
        self._flush_planned: Loop | Listener | Again | None = None  # in whose next turn
        self._flush_still: Loop | Listener | None = None  # the same, if that is `Again`
        self._steal_planned = False
        self._recall_planned = False
        self._observer: Observer | None = None  # while somebody records, and then on
        self.rings: list[Callable[[], None]] = []  # tell those who wait without blocking
        self._page: PoolPage | None = None  # while it is open, and others may see it
        self._sleepers = Sleepers()  # threads that wait for a change
        self._waiters = 0  # their number, and that of those who are told by ``rings``

    def _step(self, event: Callable[[Unpack[Args]], None] | None, *args: *Args) -> None:
        """Take an event in, carry out its effects, settle futures.

        Args:
            event: Changes the Pool. May raise before it has changed anything; but not if
                it is put off. None: only dispatch the works that were added.
            *args: Its arguments.
        """
        settled: Settled = []
        fresh: Settled = []
        taken = [threading.get_ident(), fresh]
        try:
            with self._lock:
                if self._stepping:  # by this thread: a handler, a finalizer or a load balancer
                    if event is not None:
                        self._put_off.append(partial(event, *args))
                    return
                self._taken[id(taken)] = taken
                self._stepping = True
                try:
                    self._take_step(event, *args)
                    # No call, and nothing made (CPython 3.11 collects garbage there), from the
                    # last look on: what was put off after it would wait for another step, and
                    # Ctrl-C could lose what is settled.
                    while self._put_off:
                        self._take_step(None)
                    taken[1] = settled = self.pool.settled
                    self.pool.settled = fresh
                finally:
                    self._stepping = False
            if settled and settle(settled):
                self._backend.wake()
            if self._afterwards:
                self._make_calls()
        except BaseException:
            # Ctrl-C, or whatever a signal handler raises, on the main thread, at any moment:
            # what was read and is not settled must not be lost. (Or just an event's error.)
            self._resume_soon(settled)
            raise
        finally:
            self._taken.pop(id(taken), None)

    def after_step(self, call: Callable[[], None]) -> None:
        """Make a call when the step is over, with no lock, in the thread that takes the step."""
        self._afterwards.append(call)

    def _make_calls(self) -> None:
        while self._afterwards:
            try:
                call = self._afterwards[0]
            except IndexError:  # another thread was faster
                return
            call()
            # Only now: if a signal handler raises meanwhile, the call is made again. Another
            # thread may have made it as well.
            with contextlib.suppress(ValueError):
                self._afterwards.remove(call)

    def _take_step(self, event: Callable[[Unpack[Args]], None] | None, *args: *Args) -> None:
        pool, page = self.pool, self._page
        try:
            if event is not None:
                event(*args)
            while self._put_off:
                self._put_off.popleft()()
            if pool.added:
                if self._observer is not None:
                    self._observer.submitted(pool.last_id - pool.added + 1)
                pool.dispatch()
            if pool.to_watch:
                self._escalation.take(time.monotonic())
            if pool.notes and self._observer is not None:
                self._observer.noted(pool)  # a work that was lost waits again, before it is sent
            if pool.outbound:
                if self._weights is not None:
                    self._weights.look_later()
                functions = ahead = False
                for worker in pool.outbound:
                    if worker.outboxes[PLAIN]:
                        functions = True
                        ahead = ahead or pool.can_recall(worker)
                    if self._observer is not None and not self._backend.tells_sent:
                        self._observer.sending(worker)
                    self._backend.send(worker)
                    if page is not None:
                        page.sent(worker)
                pool.outbound.clear()
                if ahead and not self._recall_planned:
                    self._recall_planned = True
                    self._effects.call_later(LONG_SECONDS, self._recall_ahead)
                if functions:  # not after a recall, or it would come again until it is answered
                    self._look_for_idle_worker()
            if pool.to_start or pool.to_stop or pool.pauses or pool.stalls or not pool.workers:
                self._carry_out()
            if self._escalation.changed:
                self._effects.stop_functions()
        except BaseException:
            pool.recount()
            raise
        if page is not None:
            page.count(pool)
        if self._observer is not None:
            self._ask_again()
            if pool.notes:
                self._observer.noted(pool)
        if self._waiters:
            self._notify()

    def _show_workers(self) -> None:
        """Have others see what workers there are. In a step that has changed that."""
        if self._page is not None:
            self._page.show(list(self.pool.everyone()))

    def _ask_again(self) -> None:
        """See to it that the observer is told of the next work that gathers."""
        planned = self._flush_planned
        if planned is not None and planned is not AGAIN:
            self._flush_still = planned
            self._flush_planned = AGAIN

    def _carry_out(self) -> None:
        pool = self.pool
        self._effects.start_and_stop()
        self._show_workers()
        if pool.broken:
            self._open = False
        gone = not pool.workers and not pool.leaving and not pool.wants_workers
        if gone and self._phase is Phase.RUNNING:
            self._phase = Phase.GOING
            self._listener.call_soon(self._finish)

    def _resume_soon(self, settled: Settled | None = None) -> None:
        """Have the listener finish what Ctrl-C has broken into."""
        self._flush_planned = None
        if self._phase is Phase.RUNNING:
            self._listener.call_soon(partial(self._resume, settled or []))
        elif self._put_off:  # in the middle of an event that has failed
            self._step(None)

    def _resume(self, settled: Settled) -> None:
        if settle(settled):
            self._backend.wake()
        self._step(self.pool.recount)
        self._backend.resume()

    def _flush(self) -> None:
        """Send what has gathered."""
        try:
            self._flush_planned = None
            if self.pool.added:
                self._step(None)
        except BaseException:  # of a signal handler
            self._resume_soon()
            raise

    def within(self, look: Callable[[], T]) -> T:
        """Make a call under the lock, as a step that changes nothing in the pool."""
        try:
            with self._lock:
                nested = self._stepping
                self._stepping = True
                try:
                    # Two lines: after the call itself Ctrl-C may come before ``finally`` counts.
                    seen = look()
                    return seen  # noqa: RET504
                finally:
                    self._stepping = nested
        finally:
            if self._put_off:  # in the middle of another step this does nothing
                self._step(None)

    def _finish(self) -> None:
        """Free everything, after the last worker is gone. On the listener's thread."""
        raise NotImplementedError

    # -- who waits for a change -----------------------------------------------

    def expect(self, count: int) -> None:
        """Note that so many more, or fewer, wait to be told by ``rings``. In a step."""
        self._waiters += count

    def tell(self) -> None:
        """Have everybody look who waits for a change."""
        self.within(self._notify)

    def _notify(self) -> None:
        self._sleepers.wake()
        for ring in self.rings.copy():
            ring()

    # -- works that wait at the wrong worker ----------------------------------

    def _look_for_idle_worker(self) -> None:
        """Plan a take-over if a worker idles while functions wait at another.

        So it can be when a worker has ended its last function, when it has become ready, and
        when functions were sent: the load balancer may have chosen the busy one, and perhaps
        nothing is reported before that one is done.
        """
        if not self._steal_planned and self.pool.has_idle_worker():
            self._steal_planned = True
            self._effects.call_later(AHEAD_SECONDS, self._steal)

    def _steal(self) -> None:
        """Look whether a worker still idles while works wait at another."""
        self._steal_planned = False
        self._step(self.pool.steal, self._backend.has_started)

    def _recall_ahead(self) -> None:
        """Look whether what was sent ahead should wait here instead, by its priority."""

        def recall() -> None:
            self._recall_planned = False
            again = self.pool.recall_ahead(time.monotonic(), self._backend.running)
            if again != math.inf:
                self._recall_planned = True
                self._effects.call_later(again, self._recall_ahead)

        self._step(recall)

    # -- where futures are settled --------------------------------------------

    def may_tell(self) -> bool:
        """Whether waiters of futures, which have locks, may be told of it in this thread."""
        here = self._listener.is_current() or self._backend.owns_current_thread()
        return here and not is_mine(self._lock)

    def may_call_back(self) -> bool:
        """Whether callbacks of futures may be made in this thread.

        Not in one that only waits for another result: it would come too late for its timeout.
        """
        leads = self._backend.leads() and not self._listener.is_current()
        return not leads and not is_mine(self._lock)

    def settle_soon(self, settle_one: Callable[[], None]) -> None:
        """Have the listener settle a future. Safe anywhere; takes no lock."""
        self._listener.call_surely(partial(self._settle_one, settle_one))

    def _settle_one(self, settle_one: Callable[[], None]) -> None:
        settle_one()
        self._backend.wake()

    def _settle_own(self) -> None:
        """Settle, once, what this thread was about to settle when a handler broke in."""
        me = threading.get_ident()
        for taken in list(self._taken.values()):
            if taken[0] == me:
                settle(taken[1])  # the outer call does so again, which does no harm
                taken[1] = []
