"""The Manager joins the Pool (only logic) to a Backend (only transport).

It is the one object that touches both, and owns the lock they need. Whatever
happens (a call by the user, reports from a worker, a death, a deadline) becomes
one *step*: the Pool takes the event under the lock; the effects whose order
matters (sending, starting, stopping) are carried out before the lock is
released; futures are settled after it, since settling runs users' code.

One thread may enter the lock twice: a signal handler, a finalizer or a load balancer may
call the pool in the middle of a step. Such an event is put off to the end of that step. So
whoever takes the lock says that he is in a step, also if he only looks (`Manager.within`).
What would wait in such a call does not: see `Manager.is_broken_into`.

How a pool goes, in order:

1. It is *closing*: nothing new is taken (``shutdown``, the end of ``with``,
   garbage collection, exit of the interpreter).
2. It holds no work any more: every worker is asked to stop. Those still there
   after ``exit_grace`` seconds are killed; no work is aboard them.
3. The last worker is reported lost: the listener frees the back end, resolves
   ``gone`` and ends. Whoever waits for the shutdown waits for ``gone``.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import enum
import logging
import math
import os
import threading
import time
import warnings
from collections import deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeVar, TypeVarTuple, Unpack

from aplex._backends.contract import Backend, Death, would_block
from aplex._backends.listener import Listener
from aplex._common.locks import RLock, is_mine
from aplex._common.messages import COROUTINE, PLAIN, RAISED, Reports
from aplex._common.sleepers import Sleepers
from aplex._common.stdlib_waits import waits_here
from aplex._manager import exit_hooks
from aplex._manager.settling import Settled, at_end_of_loop, settle
from aplex._pool.escalation import Ladder
from aplex._pool.pool import LINED_UP, LONG, Pool
from aplex._pool.work import Work, WorkState
from aplex._pool.worker import PoolWorker
from aplex._pool.workforce import WorkerState
from aplex._wire.exceptions import decode_exception
from aplex.exceptions import BrokenPoolError, WorkerStartError
from aplex.futures import ConcurrentFuture

_log = logging.getLogger("aplex")

BROKEN: Final = (
    "the pool is broken by an error that nobody expected: unless a work has broken its worker's "
    "event loop, it is a bug of aplex. Please report it"
)
AT_EXIT: Final = "interpreter exit"
INTERRUPT_GRACE: Final = 1.0
"""Seconds that works have to clean up after Ctrl-C, before their workers are killed."""

Args = TypeVarTuple("Args")
T = TypeVar("T")
Loop = asyncio.AbstractEventLoop


class Phase(enum.Enum):
    """Where a pool is in its life."""

    NEW = "new"  # nothing was submitted yet: nothing is started
    RUNNING = "running"
    GOING = "going"  # the last worker is gone


class Manager:
    """Takes every event through the Pool and carries out what follows."""

    def __init__(
        self,
        pool: Pool,
        backend: Backend,
        name: str,
        exit_grace: float,
        start_timeout: float | None = None,
    ) -> None:
        self.pool = pool
        self._start_timeout = start_timeout  # seconds
        self.exit_grace = exit_grace
        self.gone: ConcurrentFuture[None] = ConcurrentFuture()
        self._pid: int | None = None  # where it was first used; a fork may come before
        self._backend = backend
        pool.can_interrupt = backend.can_interrupt
        self._ladder = Ladder(pool, backend.running)
        self._rings_at = math.inf  # monotonic; for when the ladder's next timer is set
        self._lock = RLock()
        # What is called at the exit of the interpreter, if the executor is still there.
        self.before_exit: Callable[[], Callable[[], None] | None] = lambda: None
        self.rings: list[Callable[[], None]] = []  # tell those who wait without blocking
        self._sleepers = Sleepers()  # threads that wait for a change
        self._waiters = 0  # their number, and that of those who are told by ``rings``
        self._stepping = False
        # What was taken from the pool to be settled, with the threads that do so.
        self._taken: dict[int, list[Any]] = {}
        self._put_off: deque[Callable[[], None]] = deque()
        self._start_error: BaseException | None = None  # of the worker that was lost last
        self._phase = Phase.NEW
        self._open = False  # whether works are taken just so: running, not shut, not broken
        self._shut = ""  # why nothing new is taken, if so
        self._take_over_planned = False
        self._recall_planned = False
        self._flush_planned: Loop | Listener | None = None  # in whose next turn
        self._over_at: float | None = None  # monotonic; when an interrupted pool is given up
        self._known_loop: Loop | None = None  # the loop of the last work that came from one
        self._end_of_loop: AsyncGenerator[None] | None = None
        self._listener_reads = False  # for good: there was more than one loop, or we are closing
        self._listener = Listener(f"{name}-listener", self._break_down)
        backend.bind(self, self._listener)
        exit_hooks.remember(self)

    def __repr__(self) -> str:
        return f"<Manager {self._phase.value} {self.pool!r}>"

    # -- calls by users -------------------------------------------------------

    def submit(self, work: Work, loop: Loop | None = None) -> None:
        """Take a work in. ``loop`` is the running loop, if its future belongs to it.

        Raises:
            RuntimeError: The pool takes no more works.
            BrokenPoolError: The pool is broken.
        """
        try:
            simple = alone = added = False
            with self._lock:
                nested = self._stepping  # this thread is in a step: it is put off, and we return
                if self._open and not nested and (loop is None or loop is self._known_loop):
                    simple = self._stepping = True
                    try:
                        alone = self._flush_planned is None and self._send_alone(work)
                        if not alone and self.pool.add(work):
                            # Let works gather until the next turn. This is the path of most.
                            added = True
                            where = loop or self._listener
                            if self._flush_planned is not where:
                                self._flush_planned = where
                                self._backend.arm()
                                where.call_soon(self._flush)
                    finally:
                        self._stepping = False
            if added:
                if self._put_off:
                    self._step(None)
            elif alone:
                if self._put_off or self._waiters:  # they came meanwhile, or wait for a change
                    self._step(None)
            elif simple:
                self._step(None)
                if not self.pool.is_alone:
                    self._backend.arm()
            else:
                self._step(self._admit_late if nested else self._admit, work, loop)
        except BaseException:  # of a signal handler
            self._resume_soon()
            raise

    def _send_alone(self, work: Work) -> bool:
        """Send a work at once, if the pool is at rest; return whether it is. In a step.

        What a step does, in short. Much of the time of who sends one work and waits for it,
        then the next one, would be spent in looking for what is not there.
        """
        pool = self.pool
        try:
            worker = pool.add_alone(work)
            if worker is not None:
                self._backend.send_alone(worker, work)
                pool.outbound.clear()
        except BaseException:  # of a signal handler
            pool.mend()
            raise
        return worker is not None

    def cancel(self, work: Work) -> bool:
        """Ask for a work to be cancelled.

        Returns:
            False if it is done; or a plain function that runs and that nothing stops.
        """
        self._backend.arm()
        self._step(self._cancel, work)
        with self._lock:
            worker = work.worker
            if worker is None or work.lane != PLAIN or self.pool.can_stop(work):
                return not work.is_done
            return not self._backend.has_started(worker, work.seq)

    def limit(self, work: Work, end: float) -> None:
        """Mind the deadline, on the monotonic clock, of a work that was submitted."""
        self._step(self._ladder.limit, work, end)

    def cancel_soon(self, work: Work) -> None:
        """Have a work cancelled. For finalizers: only asks; takes no lock."""
        if os.getpid() == self._pid and work.state is not WorkState.DONE:
            self._listener.call_soon(lambda: self._step(self._cancel_held, work))

    def credit(self, work: Work, count: int) -> None:
        """Let a stream yield so many items, counted from its first one."""
        self._step(self.pool.credit, work, count)

    def cancel_streams(self, wanted: Callable[[Any], bool]) -> None:
        """Cancel the streams whose `Inflow` is wanted."""
        self._step(self._cancel_streams, wanted)

    def close(self, *, cancel_waiting: bool = False, why: str = "shutdown") -> None:
        """Take no more works; go when the last one is done."""

        def close() -> None:
            self._shut = self._shut or _cannot_submit(why)
            self._open = False
            if self._phase is Phase.RUNNING:
                self._read_in_listener()
                self.pool.close(cancel_waiting=cancel_waiting)
            elif self._phase is Phase.NEW:
                self._phase = Phase.GOING
                self.gone.set_result(None)

        self._backend.arm()
        self._step(close)

    def start_workers(self) -> None:
        """Start the workers that are missing, also if no work was submitted yet.

        Raises:
            RuntimeError: The pool takes no more works.
            BrokenPoolError: The pool is broken.
        """
        self._step(self._begin)

    def serves(self, count: int | None) -> bool:
        """Whether so many workers serve; None: all of them. In a step.

        Raises:
            RuntimeError: The pool takes no more works.
            BrokenPoolError: The pool is broken; or further workers fail to start, again and again.
        """
        self.check_open()
        pool = self.pool
        serving = sum(worker.state is WorkerState.SERVING for worker in pool.workers)
        wanted = pool.size if count is None else min(count, pool.size)
        if serving < wanted and pool.policy.failures > pool.policy.max_restarts:
            raise BrokenPoolError(
                f"{serving} of {pool.size} workers serve, and the others fail to start: "
                f"{self._start_error}"
            ) from self._start_error
        return serving >= wanted

    def share(self) -> None:
        """Have the listener read for good: threads that block and event loops use the pool."""
        if not self.is_shut:
            self._step(self._read_in_listener)

    def resize(self, size: int) -> None:
        """Have another number of workers.

        Raises:
            RuntimeError: The pool takes no more works.
            BrokenPoolError: The pool is broken.
        """
        self.check_open()
        self._step(self._resize, size)

    def end_workers(self, *, kill: bool) -> None:
        """Take no more works, cancel what was not started, end the workers at once."""

        def terminate() -> None:
            if self._phase is Phase.RUNNING:  # and not a copy in a forked child
                self.pool.terminate()
                workers = list(self.pool.everyone())
                for worker in workers:
                    (self._backend.kill if kill else self._backend.terminate)(worker)
                self._in(self.exit_grace, partial(self._kill, workers))

        self.close(cancel_waiting=True)
        self._step(terminate)

    def cancel_all(self) -> None:
        """Cancel all waiting works, and the coroutine works that run."""
        self._step(self._cancel_coroutines)
        self._step(self.pool.cancel_waiting)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the pool is gone; return whether it is.

        Returns at once in the threads that the going itself needs, and in a signal handler
        that has broken into our own code: then it goes when that is left.
        """
        if not self._may_block() or waits_here():
            return self.gone.done()
        end = None if timeout is None else time.monotonic() + timeout
        if self._backend.leads():  # a handler in the middle of `read_until`: nobody else reads
            self._backend.read_until(self.gone.done, end, self.pool.is_quiet)
        try:
            self.gone.result(None if end is None else max(0.0, end - time.monotonic()))
        except concurrent.futures.TimeoutError:
            return False
        self._listener.join()
        return True

    def read_until(self, done: Callable[[], bool], end: float | None) -> None:
        """Read reports in the caller's thread until ``done()`` or the monotonic time ``end``.

        May return earlier: at the latest when nothing in the way of the listener is left.
        """
        if is_mine(self._lock):  # a signal handler in the middle of a step
            return
        if self._taken:
            self._settle_own()
        try:
            if self._flush_planned is not None:
                self._flush()
            self._backend.read_until(done, end, self.pool.is_quiet)
        except BaseException:  # of a signal handler
            self._resume_soon()
            raise

    def check_may_block(self) -> None:
        """Raise an error in a thread that runs a work of this pool.

        Raises:
            RuntimeError: It does.
        """
        if self._backend.runs_current_thread():
            raise would_block()

    def warn_of_nesting(self, *, limited: bool) -> None:
        """Warn a work of ours that submits one if that may have to wait until it is done itself.

        Args:
            limited: Whether the new work has a limit of its own.
        """
        if self.within(self.pool.is_full) or limited:
            limit = "max_concurrency" if limited else "max_works_per_worker"
            warnings.warn(
                f"a work submits to its own pool, and {limit} may let the new one wait until it "
                "is done itself: if it awaits it, both wait for ever. Raise the limit, or use a "
                "second executor",
                RuntimeWarning,
                stacklevel=4,
            )

    def arm(self) -> None:
        """Have the listener read: somebody waits who does not call ``read_until``."""
        self._backend.arm()

    def interrupt(self) -> float:
        """Cancel everything; soon kill the workers that have not ended then.

        Returns:
            Seconds in which it is all over, unless workers are threads and do not stop.
        """
        self.cancel_all()
        now = time.monotonic()
        if self._over_at is None:
            self._in(INTERRUPT_GRACE, self._kill_workers)
            self._over_at = now + INTERRUPT_GRACE * (2 if self._backend.can_kill else 1)
        return max(0.0, self._over_at - now)

    def check_open(self) -> None:
        """Raise what ``submit`` would raise if it took no works.

        Raises:
            RuntimeError: The pool takes no more works.
            BrokenPoolError: The pool is broken.
        """
        broken = self.pool.broken
        if broken is not None:  # a new one each time: exceptions collect tracebacks
            raise BrokenPoolError(*broken.args) from broken.__cause__
        if self._shut:
            raise RuntimeError(self._shut)
        if self._phase is Phase.NEW and exit_hooks.is_over():
            raise RuntimeError(_cannot_submit(AT_EXIT))

    def abandon(self) -> None:
        """Close, as the executor was garbage collected. Only asks; takes no lock."""
        if os.getpid() == self._pid:
            self._listener.call_soon(partial(self.close, why="garbage collection"))

    # -- who waits for a change -----------------------------------------------

    @property
    def is_shut(self) -> bool:
        """Whether no work is taken any more."""
        return bool(self._shut) or self.pool.broken is not None

    def within(self, look: Callable[[], T]) -> T:
        """Make a call under the lock, as a step that changes nothing in the pool."""
        try:
            with self._lock:
                nested = self._stepping
                self._stepping = True
                try:
                    return look()
                finally:
                    self._stepping = nested
        finally:
            if self._put_off:  # in the middle of another step this does nothing
                self._step(None)

    def is_broken_into(self) -> bool:
        """Whether the caller is a signal handler, or the like, in the middle of our own code.

        Its thread has a lock then which others need: it must not wait for them.
        """
        return is_mine(self._lock) or self._backend.is_broken_into()

    def check_may_sleep(self) -> None:
        """Raise an error in a call that would wait for ever.

        Raises:
            RuntimeError: It would.
        """
        if self.is_broken_into():
            raise RuntimeError(
                "this would wait for ever: a signal handler, a finalizer or a load balancer must "
                "not wait for a result when it has broken into a call of the same pool. Give it "
                "a timeout, or let the handler only take a note"
            )

    def may_wait(self) -> bool:
        """Whether the pool goes on while this thread waits for it."""
        return self._may_block() and not self._backend.leads()

    def _may_block(self) -> bool:
        needed = self._listener.is_current() or self._backend.owns_current_thread()
        return not needed and not self.is_broken_into()

    def wait_for(self, happened: Callable[[], bool], end: float | None = None) -> bool:
        """Block until something has happened to the pool; it is looked for in a step.

        Returns:
            Whether it has. It may not have at the monotonic time ``end``.
        """
        self._backend.arm()
        self.within(partial(self.expect, 1))
        try:
            return self._sleepers.sleep_until(partial(self.within, happened), end)
        finally:
            self.within(partial(self.expect, -1))

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

    def _settle_own(self) -> None:
        """Settle, once, what this thread was about to settle when a handler broke in."""
        me = threading.get_ident()
        for taken in list(self._taken.values()):
            if taken[0] == me:
                settle(taken[1])  # the outer call does so again, which does no harm
                taken[1] = []

    def _settle_one(self, settle_one: Callable[[], None]) -> None:
        settle_one()
        self._backend.wake()

    # -- exit and fork --------------------------------------------------------

    def prepare_exit(self) -> None:
        """Have submitted what is still to be submitted."""
        prepare = self.before_exit()
        if prepare is not None:
            try:
                prepare()
            except Exception:  # noqa: BLE001 - whatever the input raises
                _log.exception("the input of a map could not be read to its end")

    def cancel_coroutines_at(self, deadline: float) -> int:
        """Wait for the coroutine works; at the deadline cancel them, and return how many."""
        if self.wait_for(lambda: not self.pool.cancellable(), deadline):
            return 0
        count = self.within(lambda: len(self.pool.cancellable()))
        self._step(self._cancel_coroutines)
        return count

    def finish_at_exit(self) -> None:
        """Wait for plain functions to finish; kill what would not be cancelled."""
        end = time.monotonic() + self.exit_grace
        cancelled = self.wait_for(lambda: not self.pool.holds(COROUTINE), end)
        self.wait_for(lambda: not self.pool.holds(PLAIN), None)
        if not cancelled:
            self._kill_workers()
        # Threads cannot be killed: the exit leaves behind those that do not end.
        self.wait(None if cancelled and self._backend.can_kill else self.exit_grace)

    def after_fork(self) -> bool:
        """In a forked child: this copy of the pool is dead, unless it was never used.

        Takes no lock: a thread that is not here may have it.

        Returns:
            Whether it can be used here.
        """
        self._lock = RLock()
        self._sleepers = Sleepers()
        self._waiters = 0
        self._stepping = False  # the thread that forked us may have been in a step
        self._put_off.clear()
        if self._phase is Phase.NEW:
            self._backend.renew_after_fork()
            return True
        self._open = False
        self._shut = "a fork: this executor belongs to the parent process; make a new one here"
        self._phase = Phase.GOING
        self.gone = ConcurrentFuture()
        self.gone.set_result(None)
        self._backend.abandon_after_fork()
        self._listener.discard()
        return False

    # -- Events: what back ends report ----------------------------------------

    def receive(self, worker: PoolWorker, lane: int, read: Callable[[], deque[Reports]]) -> None:
        """Take in the reports that ``read`` returns."""
        try:
            left = self._receive_alone(worker, read) if self.pool.is_alone else read
            if left is not None:
                self._step(self._take_in, worker, lane, left)
        except BaseException as error:
            # Of a signal handler: what is left may be read, and not come again.
            self._resume_soon()
            if is_bug(error):
                self.failed(error)
            raise

    def _receive_alone(
        self, worker: PoolWorker, read: Callable[[], deque[Reports]]
    ) -> Callable[[], deque[Reports]] | None:
        """Take in the result of the only work, if that is what comes.

        What a step does, in short; see `_send_alone`.

        Returns:
            What returns the reports, if they are still to be taken in; else None.
        """
        settled: Settled = []
        fresh: Settled = []
        taken = [threading.get_ident(), fresh]
        try:
            with self._lock:
                if self._stepping or self._waiters:
                    return read
                self._taken[id(taken)] = taken
                self._stepping = True
                try:
                    frames = read()
                    if len(frames) != 1 or not self.pool.take_alone(worker, frames[0]):
                        return lambda: frames  # they stay there, see `_wire.frames.Reader`
                    frames.popleft()
                    # No call between these two, or Ctrl-C could lose what it has got.
                    taken[1] = settled = self.pool.settled
                    self.pool.settled = fresh
                finally:
                    self._stepping = False
            if settle(settled):
                self._backend.wake()
        except BaseException:  # of a signal handler
            self._resume_soon(settled)
            raise
        finally:
            self._taken.pop(id(taken), None)
        if self._put_off:
            self._step(None)
        return None

    def lost(self, worker: PoolWorker, examine: Callable[[], Death]) -> None:
        """Take in the end of a worker."""

        def lose() -> None:
            death = examine()
            if worker.failure is not None:
                death = replace(death, reason=_start_failure(worker.failure))
            self._start_error = death.reason or death.error
            self.pool.lost(worker, death, time.monotonic())

        try:
            self._step(lose)
        except BaseException as error:
            if is_bug(error):  # else it was a signal handler's
                self.failed(error)
            raise

    def failed(self, error: BaseException) -> None:
        """Break the pool by a bug of ours, seen in any thread."""
        self._listener.call_soon(partial(_throw, error))

    def locked(self, call: Callable[[], None]) -> None:
        """Make a call under the lock."""
        self._step(call)

    # -- events, as steps take them -------------------------------------------

    def _admit(self, work: Work, loop: Loop | None) -> None:
        self._begin()
        if loop is not None and loop is not self._known_loop:
            self._choose_reader(loop)
        self.pool.add(work)

    def _begin(self) -> None:
        self.check_open()
        if self._phase is Phase.NEW:
            self._backend.check_can_start()
            self._listener.start()  # raises RuntimeError while the interpreter exits
            self._pid = os.getpid()
            self._phase = Phase.RUNNING
            self._open = True
            exit_hooks.remember(self)  # again: a fork may have come before
            self.pool.open()

    def _admit_late(self, work: Work, loop: Loop | None) -> None:
        """Take in a work that was submitted in the middle of a step."""
        try:
            self._admit(work, loop)
        except Exception as error:  # noqa: BLE001 - submit has returned: tell the future
            self.pool.settled.append((work, RAISED, error))

    def _take_in(self, worker: PoolWorker, lane: int, read: Callable[[], deque[Reports]]) -> None:
        pool = self.pool
        new = not worker.served
        frames = read()
        while frames:
            reports = frames[0]  # it stays there until it was taken in, see `_wire.frames.Reader`
            pool.take_in(worker, reports)
            if lane and reports[0]:
                pool.paced(worker, reports[0], len(reports[1]) + len(reports[2]) + len(reports[4]))
            frames.popleft()
        if worker.doom is not None:
            self._ladder.recheck(worker, time.monotonic())
        if pool.wants_dispatch:
            pool.dispatch()
        if (lane and not worker.plain) or not worker.served:  # or it has just become ready
            self._look_for_idler()
        if new and worker.served:
            self._backend.served()

    def _look_for_idler(self) -> None:
        """Plan a take-over if a worker idles while functions wait at another.

        So it can be when a worker has ended its last function, when it has become ready, and
        when functions were sent: the load balancer may have chosen the busy one, and perhaps
        nothing is reported before that one is done.
        """
        if not self._take_over_planned and self.pool.has_idler():
            self._take_over_planned = True
            self._in(LINED_UP, self._take_over)

    def _take_over(self) -> None:
        """Look whether a worker still idles while works wait at another."""
        self._take_over_planned = False
        self._step(self.pool.take_over, self._backend.has_started)

    def _recall_ahead(self) -> None:
        """Look whether what was sent ahead should wait here instead, by its priority."""

        def recall() -> None:
            self._recall_planned = False
            again = self.pool.recall_ahead(time.monotonic(), self._backend.running)
            if again != math.inf:
                self._recall_planned = True
                self._in(again, self._recall_ahead)

        self._step(recall)

    def _cancel(self, work: Work) -> None:
        self.pool.cancel(work)
        if work.worker is not None and work.lane == PLAIN:
            self._ladder.cancelled(work, time.monotonic())
        else:
            work.instead = None

    def _cancel_held(self, work: Work) -> None:
        """Cancel a work if the pool has it. Its submit may have failed, or been broken into."""
        waiting = work.state is WorkState.WAITING
        if not waiting or work in self.pool.held(work.lane):
            self._cancel(work)

    def _resize(self, size: int) -> None:
        if self._phase is Phase.RUNNING:
            self.pool.resize(size)
        elif self._phase is Phase.NEW:
            self.pool.size = size

    def _cancel_coroutines(self) -> None:
        for work in self.pool.cancellable():
            self.pool.cancel(work)

    def _cancel_streams(self, wanted: Callable[[Any], bool]) -> None:
        for work in self.pool.cancellable():
            if work.is_stream and wanted(work.future):
                self.pool.cancel(work)

    # -- steps ----------------------------------------------------------------

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
        except BaseException:
            # Ctrl-C, or whatever a signal handler raises, on the main thread, at any moment:
            # what was read and is not settled must not be lost. (Or just an event's error.)
            self._resume_soon(settled)
            raise
        finally:
            self._taken.pop(id(taken), None)

    def _take_step(self, event: Callable[[Unpack[Args]], None] | None, *args: *Args) -> None:
        pool = self.pool
        try:
            if event is not None:
                event(*args)
            while self._put_off:
                self._put_off.popleft()()
            if pool.added:
                pool.dispatch()
            if pool.concerns:
                self._ladder.take(time.monotonic())
            if pool.outbound:
                functions = ahead = False
                for worker in pool.outbound:
                    if worker.outboxes[PLAIN]:
                        functions = True
                        ahead = ahead or pool.can_recall(worker)
                    self._backend.send(worker)
                pool.outbound.clear()
                if ahead and not self._recall_planned:
                    self._recall_planned = True
                    self._in(LONG, self._recall_ahead)
                if functions:  # not after a recall, or it would come again until it is answered
                    self._look_for_idler()
            if pool.to_start or pool.to_stop or pool.pauses or not pool.workers:
                self._carry_out()
            if self._ladder.changed:
                self._stop_functions()
        except BaseException:
            pool.mend()
            raise
        if self._waiters:
            self._notify()

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
        self._step(self.pool.mend)
        self._backend.resume()

    def _carry_out(self) -> None:
        pool = self.pool
        self._start_and_stop()
        if pool.broken:
            self._open = False
        gone = not pool.workers and not pool.leaving and not pool.wants_workers
        if gone and self._phase is Phase.RUNNING:
            self._phase = Phase.GOING
            self._listener.call_soon(self._finish)

    def _stop_functions(self) -> None:
        """Carry out what the ladder has decided; have it look again when it wants to."""
        # Each is dropped only when it was done: a signal handler may raise meanwhile.
        ladder = self._ladder
        while ladder.interrupts:
            self._backend.interrupt(*ladder.interrupts[0])
            ladder.interrupts.pop(0)
        while ladder.kills:
            worker, seq, why = ladder.kills[0]
            if self._backend.kill_at(worker, seq):
                worker.why_killed = why
            ladder.kills.pop(0)
        first = ladder.first
        if first < self._rings_at:
            self._in(first - time.monotonic(), self._ring)
            self._rings_at = first
        ladder.changed = False

    def _ring(self) -> None:
        """Have the ladder look at what is due."""

        def ring() -> None:
            self._rings_at = math.inf
            self._ladder.ring(time.monotonic())

        self._step(ring)

    def _flush(self) -> None:
        """Send what has gathered."""
        try:
            self._flush_planned = None
            if self.pool.added:
                self._step(None)
        except BaseException:  # of a signal handler
            self._resume_soon()
            raise

    def _start_and_stop(self) -> None:
        # Each is dropped only when it was done: a signal handler may raise meanwhile.
        pool = self.pool
        starts = bool(pool.to_start)
        while pool.to_start:
            worker = pool.to_start[0]
            self._backend.start(worker)
            pool.to_start.pop(0)
            if self._start_timeout is not None:
                late = partial(self._start_too_late, worker, self._start_timeout)
                self._in(self._start_timeout, late)
        if starts:  # they may be no one's wish who waits: have their readiness read
            self._backend.arm()
        while pool.pauses:
            seconds, then = pool.pauses[-1]
            self._in(seconds, partial(self._step, then))
            pool.pauses.pop()
        if pool.to_stop:
            self._in(self.exit_grace, partial(self._kill, list(pool.to_stop)))
        while pool.to_stop:
            self._backend.stop(pool.to_stop[0])
            pool.to_stop.pop(0)

    def _in(self, seconds: float, call: Callable[[], None]) -> None:
        """Have the listener make a call after that time; never, if it is infinite."""
        when = time.monotonic() + seconds
        self._listener.call_soon(partial(self._listener.call_at, when, call))

    def _start_too_late(self, worker: PoolWorker, seconds: float) -> None:
        """Kill a worker that does not become ready: its end then counts as a failed start."""

        def kill() -> None:
            if worker.state is not WorkerState.STARTING:
                return
            worker.failure = WorkerStartError(
                f"worker {worker.id} did not become ready within {seconds:g} s (start_timeout)"
            )
            # Under the lock: released, it could be ready, and given works, just before it dies.
            self._backend.kill(worker)

        self._step(kill)

    # -- life -----------------------------------------------------------------

    def _choose_reader(self, loop: Loop) -> None:
        """Let the loop of the futures read the reports, as long as there is only one."""
        known, self._known_loop = self._known_loop, loop
        if self._listener_reads:
            return
        alone = known is None or known.is_closed()
        if alone and self._backend.read_in(loop):
            self._end_of_loop = at_end_of_loop(lambda: self._step(self._loop_ended, loop))
        else:
            self._read_in_listener()

    def _loop_ended(self, loop: Loop) -> None:
        """The loop that reads is about to be closed; its works go on."""
        if self._known_loop is loop and not self._listener_reads:
            self._known_loop = None
            self._backend.read_in(None)

    def _read_in_listener(self) -> None:
        self._listener_reads = True
        self._backend.read_in(None)

    def _kill_workers(self) -> None:
        self._step(lambda: self._kill(list(self.pool.everyone())))

    def _kill(self, workers: list[PoolWorker]) -> None:
        """Kill workers that may have ended meanwhile."""
        for worker in workers:
            self._backend.kill(worker)

    def _finish(self) -> None:
        """Free everything: the last act of the listener."""
        self._backend.close()
        self._listener.stop()
        self._be_gone()

    def _be_gone(self) -> None:
        exit_hooks.forget(self)
        self.gone.set_result(None)

    def _break_down(self, error: BaseException) -> None:
        """Break the pool: the last act of a listener that ends by a bug of ours.

        The state of things is in doubt, and nobody will notice anything any more. So works
        get the reason, workers are killed, and no step is taken that could fail as well.
        """
        with contextlib.suppress(Exception):  # of a handler of the user's
            _log.critical("%s", BROKEN, exc_info=error)
        settled: Settled = []
        try:
            with self._lock:
                self._stepping = self._open = False
                self._phase = Phase.GOING
                while self._put_off:
                    with contextlib.suppress(Exception):
                        self._put_off.popleft()()
                settled = self.pool.give_up(BROKEN, error)
                self._notify()
            settle(settled)
            self._listener.make_what_is_left()  # futures may be among that
            self._backend.wake()
            self._backend.break_down()
        finally:
            self._be_gone()


def is_bug(error: BaseException) -> bool:
    """Whether an exception of our own code means that there is a bug in it.

    On the main thread it may be one that a signal handler raises, at any moment. There the
    event comes again, on the listener's thread.
    """
    main = threading.current_thread() is threading.main_thread()
    return isinstance(error, Exception) and not main


def _cannot_submit(why: str) -> str:
    return f"cannot submit a work after {why}"


def _throw(error: BaseException) -> None:
    raise error


def _start_failure(data: Any) -> WorkerStartError:
    cause = decode_exception(data) if isinstance(data, bytes) else data
    if isinstance(cause, WorkerStartError):
        return cause
    error = WorkerStartError(
        f"the initializer or the worker_loop_factory raised {type(cause).__name__}: {cause}"
    )
    error.__cause__ = cause
    return error
