"""The Manager joins the pool (logic only) to a back end (transport only).

It is the one object that touches both. A chain of classes, one object: `Stepper` has the lock
and takes events through the pool, `Lifecycle` begins and ends it, `Nested` knows what works may do
with their own pool, and the `Manager` has the calls that users and back ends make.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from functools import partial
from typing import Any, Final, Literal

from aplex._backends.contract import Backend, Death
from aplex._common.errors import WorkerStartError
from aplex._common.histograms import Timings
from aplex._common.locks import is_mine
from aplex._common.messages import COROUTINE, PLAIN, RAISED, Reports
from aplex._manager import exit_hooks
from aplex._manager.inquiries import Inquiry
from aplex._manager.nested import Nested
from aplex._manager.observer import Observer
from aplex._manager.settling import Settled, at_end_of_loop, settle
from aplex._manager.statistics import limits_of, workers_of
from aplex._manager.steps import AGAIN, Phase
from aplex._pool.pool import Pool
from aplex._pool.state import PoolWorker, Work, WorkerState, WorkState
from aplex._wire.exceptions import decode_exception
from aplex.dumps import PoolDump, make_dump
from aplex.statistics import PoolStats

Loop = asyncio.AbstractEventLoop

LOOKS: Final = 20
"""How often to look for a moment between two steps, before one in the middle will do."""


class Manager(Nested):
    """Takes the calls of users and the reports of back ends."""

    def __init__(
        self,
        pool: Pool,
        backend: Backend,
        name: str,
        exit_grace: float,
        start_timeout: float | None = None,
    ) -> None:
        super().__init__(pool, backend, name, exit_grace, start_timeout)
        pool.can_interrupt = backend.can_interrupt
        self._inquiries: dict[int, Inquiry] = {}
        self._inquiry_numbers = itertools.count(1)
        pool.question.turns_of = backend.turns
        if backend.in_threads:
            pool.capacity = pool.max_works_per_worker
        self._known_loop: Loop | None = None  # the loop of the last work that came from one
        self._end_of_loop: AsyncGenerator[None] | None = None
        self._will_arm = backend.patience is None  # a timer will, or there is no need
        backend.submitted = pool.stamps.of
        backend.bind(self, self._listener)
        exit_hooks.remember(self)

    def __repr__(self) -> str:
        return f"<Manager {self._phase.value} {self.pool!r}>"

    @property
    def backend(self) -> Backend:
        """Where the workers live."""
        return self._backend

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
                                planned = self._flush_planned
                                self._flush_planned = where
                                if self._observer is not None:
                                    self._observer.submitted(work.id)
                                if planned is not AGAIN or self._flush_still is not where:
                                    self._backend.arm()
                                    where.call_soon(self._flush)
                    except BaseException:  # of a signal handler
                        self.pool.recount()
                        raise
                    finally:
                        self._stepping = False
            if added:
                if self._put_off:
                    self._step(None)
            elif alone:
                # What came meanwhile, who waits for a change, a thread to be started.
                if self._put_off or self._waiters or self._afterwards:
                    self._step(None)
            elif simple:
                self._step(None)
                if not self.pool.is_alone:
                    self._backend.arm()
            else:
                if self._phase is Phase.NEW and not nested:
                    self._start_listener()
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
        worker = pool.add_alone(work)
        if worker is not None:
            if self._observer is not None:
                self._observer.submitted(work.id)
                if not self._backend.tells_sent:
                    self._observer.sending(worker)
            self._backend.send_alone(worker, work)
            pool.outbound.clear()
            if self._page is not None:
                self._page.went(work.id)
            if not self._will_arm and work.lane == COROUTINE:
                # What blocks its loop is told of while it does, though nobody may wait.
                self._effects.call_later(self._backend.patience or 0.0, self._arm)
                self._will_arm = True
        return worker is not None

    def _arm(self) -> None:
        """Have the listener read. On its thread."""
        self._will_arm = False
        self._backend.arm()

    def cancel(self, work: Work) -> bool:
        """Ask for a work to be cancelled.

        Returns:
            False if it is done; or a plain function that runs and that nothing stops.
        """
        self._backend.arm()
        self._step(self._cancel, work)
        worker = work.worker
        if work.lane == PLAIN and worker is not None and not self.pool.can_stop(work):
            self._backend.look(worker)
        return self.within(partial(self._is_asked, work))

    def _is_asked(self, work: Work) -> bool:
        """Whether a work that was cancelled is not done, and may end for it."""
        worker = work.worker
        if worker is None or work.lane != PLAIN or self.pool.can_stop(work):
            return not work.is_done
        return not self._backend.has_started(worker, work.seq)

    def limit(self, work: Work, end: float) -> None:
        """Mind the deadline, on the monotonic clock, of a work that was submitted."""
        self._step(self._escalation.limit, work, end)

    def judged(
        self, work: Work, kind: int, data: Any, pause: float | None, again: float | None
    ) -> None:
        """Take in what the judge of a work says; see `Trials.judged`."""
        self._step(self.pool.judged, work, kind, data, pause, again)

    def overdue(self, work: Work, error: TimeoutError) -> None:
        """Stop a stream whose reader has waited too long; it ends with the error."""
        self._step(lambda: self._escalation.overdue(work, error, time.monotonic()))

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

    def resize(self, size: int) -> None:
        """Have another number of workers.

        Raises:
            RuntimeError: The pool takes no more works.
            BrokenPoolError: The pool is broken.
        """
        self.check_open()
        self._step(self._resize, size)

    def read_until(self, done: Callable[[], bool], end: float | None, work: Any) -> None:
        """Read reports in the caller's thread until ``done()`` or the monotonic time ``end``.

        May return earlier: at the latest when nothing in the way of the listener is left.

        Raises:
            RuntimeError: As for `check_may_block`, if there is no end.
        """
        if is_mine(self._lock):  # a signal handler in the middle of a step
            return
        if end is None and self._in_threads:
            self.check_may_block(work)
        if self._taken:
            self._settle_own()
        try:
            if self._flush_planned is not None:
                self._flush()
            self._backend.read_until(done, end, self.pool.is_quiet)
        except BaseException:  # of a signal handler
            self._resume_soon()
            raise

    def stats(self) -> PoolStats:
        """Return what is known of the pool now. Any thread; waits for nobody."""
        pool = self.pool
        # No thread gets in between these two. If one is in the middle of a step, the counts may
        # be one work apart; in this thread we have broken into it, or are its load balancer.
        counts, torn = pool.counts(), self._stepping
        for _ in range(LOOKS):
            if not torn or is_mine(self._lock):
                break
            time.sleep(0)
            counts, torn = pool.counts(), self._stepping
        timings = Timings(self._backend.timings())
        workers = workers_of(pool, self._backend, time.monotonic())
        limits = limits_of(pool, time.monotonic())
        counted = pool.counted(counts)
        return PoolStats(self._state, pool.size, *counted, workers, limits, timings)

    def inquire(self) -> Inquiry:
        """Ask all workers what they do now; return at once."""
        inquiry = Inquiry(next(self._inquiry_numbers), [])
        self._step(self._ask, inquiry)
        self._backend.arm()
        return inquiry

    def _ask(self, inquiry: Inquiry) -> None:
        if inquiry.is_over:  # it was put off: whoever asked had broken into a step
            return
        inquiry.workers = list(self.pool.everyone())
        self._inquiries[inquiry.number] = inquiry
        for worker in inquiry.workers:
            if worker.pid is not None or self._in_threads:
                rows = self._backend.inquire(worker, inquiry.number)
                if rows is not None:
                    inquiry.take(worker, rows)

    def _hear(self) -> None:
        """Take in the answers that have come."""
        while self.pool.told:
            worker, number, rows = self.pool.told.pop()
            inquiry = self._inquiries.get(number)  # None: it has come too late
            if inquiry is not None:
                inquiry.take(worker, rows)
                if inquiry.when_complete is not None and inquiry.is_complete():
                    self.after_step(inquiry.when_complete)

    def told(self, inquiry: Inquiry, timeout: float) -> PoolDump:
        """Return what is known by now, and wait for no more answers."""

        def look() -> PoolDump:
            self._inquiries.pop(inquiry.number, None)
            inquiry.is_over = True
            inquiry.workers = inquiry.workers or list(self.pool.everyone())
            waiting = self.pool.counts()[1]
            return make_dump(self._name, timeout, waiting, inquiry.dumps(self._backend))

        return self.within(look)

    def dump_soon(self) -> None:
        """Have a dump written where others read it. Only asks: for signal handlers."""
        if self._phase is Phase.RUNNING:
            self._listener.call_soon(self._write_dump)

    def _write_dump(self) -> None:
        """Ask the workers; write what they have told a while later. On the listener's thread."""
        from aplex._manager.dump_signal import TIMEOUT

        # The loop that reads may be what hangs.
        self._step(partial(self._backend.read_in, None))  # type: ignore[arg-type]
        inquiry = self.inquire()

        def write() -> None:
            if inquiry.number not in self._inquiries:  # it was written
                return
            text = str(self.told(inquiry, TIMEOUT))
            with self._lock:
                if self._dump_page is not None:
                    self._dump_page.write(text)
            self._step(self._read_as_before)

        inquiry.when_complete = partial(self._listener.call_soon, write)
        self._listener.call_at(time.monotonic() + TIMEOUT, write)
        if self.within(inquiry.is_complete):
            write()

    def _read_as_before(self) -> None:
        """Let the loop read again that has read before a dump."""
        loop = self._known_loop
        if loop is not None and not self._listener_reads and not loop.is_closed():
            self._backend.read_in(loop)

    @property
    def _state(self) -> Literal["new", "open", "closing", "closed", "broken"]:
        if self.pool.broken is not None:
            return "broken"
        if self._phase is Phase.NEW:
            return "closed" if self._shut else "new"
        if self._phase is Phase.GOING:
            return "closed"
        return "closing" if self._shut else "open"

    def observer(self) -> Observer | None:
        """Return who is told what happens, or was told before. In a step."""
        return self._observer

    def call_later(self, seconds: float, call: Callable[[], None]) -> None:
        """Have the listener make a call after that time, if it lives so long."""
        self._effects.call_later(seconds, call)

    def running(self, worker: PoolWorker) -> tuple[int, float]:
        """Return the number of the function that runs in a worker, and since when. In a step."""
        return self._backend.running(worker)

    def in_flight(self) -> set[int]:
        """Return the numbers of the works that are in flight. In a step."""
        return {work_id for worker in self.pool.everyone() for work_id in worker.works}

    def observe(self, observer: Observer, level: int) -> None:
        """Have somebody told what happens from now on. In a step.

        Args:
            observer: Who. It is told also when the level is 0: reports with times are on their way.
            level: What the workers are told, see `RECORDING`; 0: no more.
        """
        self._observer = observer
        self._ask_again()
        self.pool.notes = (self.pool.notes or []) if level else None
        self._backend.record(level)
        self._backend.tell_sent = observer.sent if level else None

    def look(self) -> None:
        """Have workers know what they were told. Unlocked; may wait, for a moment."""
        self._backend.look()

    def arm(self) -> None:
        """Have the listener read: somebody waits who does not call ``read_until``."""
        self._backend.arm()

    # -- Events: what back ends report ----------------------------------------

    def receive(self, worker: PoolWorker, lane: int, read: Callable[[], deque[Reports]]) -> None:
        """Take in the reports that ``read`` returns."""
        try:
            if self._observer is not None:
                read = partial(self._observer.reading, worker, lane, read)
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
                    if self._page is not None:
                        self._page.came()
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
            if self._observer is not None:
                self._observer.running(worker, self._backend.running(worker))
            death = examine()
            if worker.failure is not None:
                death = replace(death, reason=_start_failure(worker.failure))
            self._start_error = death.reason or death.error
            self.pool.lost(worker, death, time.monotonic())
            self._show_workers()

        try:
            self._step(lose)
        except BaseException as error:
            if is_bug(error):  # else it was a signal handler's
                self.failed(error)
            raise

    def placed(self, worker: PoolWorker, node: str | None) -> None:
        """Time the start of a worker from now on."""

        def place() -> None:
            if worker.state is WorkerState.STARTING:
                worker.node = node or worker.node
                self._effects.time_start(worker)

        self._step(place)

    def looked(self, worker: PoolWorker, running: tuple[int, float]) -> None:
        """Look anew at functions that are to be stopped: more is known of what runs."""
        self._step(lambda: self._escalation.look_again(worker, running, time.monotonic()))

    def leaving(self, worker: PoolWorker) -> None:
        """Have another worker take the place of one that is to go."""
        self._step(self.pool.let_go, worker)

    def capacity(self, count: int) -> None:
        """Have as many workers as there are places for."""

        def fit() -> None:
            if count != self.pool.size:
                self.pool.resize(count)

        self._step(fit)

    def failed(self, error: BaseException) -> None:
        """Break the pool by a bug of ours, seen in any thread."""
        self._listener.call_soon(partial(_throw, error))

    def locked(self, call: Callable[[], None]) -> None:
        """Make a call under the lock."""
        self._step(call)

    # -- events, as steps take them -------------------------------------------

    def _admit(self, work: Work, loop: Loop | None) -> None:
        self._open_once()
        if loop is not None and loop is not self._known_loop:
            self._choose_reader(loop)
        self.pool.add(work)

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
        if pool.told:
            self._hear()
        if worker.condemned_for is not None:
            self._escalation.recheck(worker, time.monotonic())
        if self._weights is not None:
            self._weights.look_between_works(worker)
        if pool.wants_dispatch:
            pool.dispatch()
        if (lane and not worker.plain) or not worker.served:  # or it has just become ready
            self._look_for_idle_worker()
        if new:
            self._show_workers()
            (self._backend.served if worker.served else self._backend.began)()

    def _cancel(self, work: Work) -> None:
        self.pool.cancel(work)
        if work.worker is not None and work.lane == PLAIN:
            self._escalation.cancelled(work, time.monotonic())
        else:
            work.error_if_cancelled = None

    def _cancel_held(self, work: Work) -> None:
        """Cancel a work if the pool has it. Its submit may have failed, or been broken into."""
        waiting = work.state is WorkState.WAITING
        if not waiting or work in self.pool.held(work.lane):
            self._cancel(work)

    def _cancel_streams(self, wanted: Callable[[Any], bool]) -> None:
        for work in self.pool.cancellable():
            inflow = work.future  # None if it was settled early
            if work.is_stream and inflow is not None and wanted(inflow):
                self.pool.cancel(work)

    # -- who reads the reports ------------------------------------------------

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


def is_bug(error: BaseException) -> bool:
    """Whether an exception of our own code means that there is a bug in it.

    On the main thread it may be one that a signal handler raises, at any moment. There the
    event comes again, on the listener's thread.
    """
    main = threading.current_thread() is threading.main_thread()
    return isinstance(error, Exception) and not main


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
