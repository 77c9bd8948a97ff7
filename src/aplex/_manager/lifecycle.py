"""The life of a pool: new, running, going. How it is closed, interrupted, forked, and ends.

How a pool goes, in order:

1. It is *closing*: nothing new is taken (``shutdown``, the end of ``with``, garbage collection,
   exit of the interpreter).
2. It holds no work any more: every worker is asked to stop. Those still there after
   ``exit_grace`` seconds are killed; none of them has a work in flight.
3. The last worker is reported lost: the listener frees the back end, resolves ``gone`` and ends.
   Whoever waits for the shutdown waits for ``gone``.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import logging
import os
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from aplex._backends.contract import Backend
from aplex._backends.listener import Listener
from aplex._common.locks import RLock, is_mine, late_imports
from aplex._common.messages import COROUTINE, PLAIN
from aplex._common.sleepers import Sleepers
from aplex._common.stdlib_waits import waits_here
from aplex._futures.blocking import ConcurrentFuture
from aplex._manager import exit_hooks
from aplex._manager.page import make_page
from aplex._manager.settling import Settled, settle
from aplex._manager.steps import Phase, Stepper
from aplex._pool.pool import Pool
from aplex._pool.state import WorkerState

if TYPE_CHECKING:
    from aplex._manager.dump_signal import DumpPage

_log = logging.getLogger("aplex")

BROKEN: Final = (
    "the pool is broken by an error that nobody expected: unless a work has broken its worker's "
    "event loop, it is a bug of aplex. Please report it"
)
AT_EXIT: Final = "interpreter exit"
INTERRUPT_GRACE: Final = 1.0
"""Seconds that works have to clean up after Ctrl-C, before their workers are killed."""


class Lifecycle(Stepper):
    """Opens a pool with its first work, and ends it, however the end comes."""

    def __init__(
        self,
        pool: Pool,
        backend: Backend,
        name: str,
        exit_grace: float,
        start_timeout: float | None,
    ) -> None:
        self._name = name
        listener = Listener(f"{name}-listener", self._break_down)
        super().__init__(
            pool, backend, listener, exit_grace=exit_grace, start_timeout=start_timeout
        )
        self.name = name
        self.exit_grace = exit_grace
        self.dump_signal: int | None = None  # by which others ask for a dump
        self._dump_page: DumpPage | None = None
        self.gone: ConcurrentFuture[None] = ConcurrentFuture()
        self._pid: int | None = None  # where it was first used; a fork may come before
        # What is called at the exit of the interpreter, if the executor is still there.
        self.before_exit: Callable[[], Callable[[], None] | None] = lambda: None
        self._start_error: BaseException | None = None  # of the worker that was lost last
        self._shut = ""  # why nothing new is taken, if so
        self._over_at: float | None = None  # monotonic; when an interrupted pool is given up
        self._listener_reads = False  # for good: there was more than one loop, or we are closing

    # -- taking works, or no more ---------------------------------------------

    def check_open(self) -> None:
        """Raise what ``submit`` would raise if it took no works.

        Raises:
            RuntimeError: The pool takes no more works.
            BrokenPoolError: The pool is broken.
        """
        broken = self.pool.broken
        if broken is not None:  # a new one each time: exceptions collect tracebacks
            with late_imports.importing:
                from aplex.exceptions import BrokenPoolError
            raise BrokenPoolError(*broken.args) from broken.__cause__
        if self._shut:
            raise RuntimeError(self._shut)
        if self._phase is Phase.NEW and exit_hooks.is_over():
            raise RuntimeError(_cannot_submit(AT_EXIT))

    @property
    def is_shut(self) -> bool:
        """Whether no work is taken any more."""
        return bool(self._shut) or self.pool.broken is not None

    def _start_listener(self) -> None:
        """Start the listener, with no lock: a finalizer that runs in its thread may want one.

        Raises:
            RuntimeError: No workers can be started here; or the interpreter exits.
        """
        self.check_open()
        self._backend.check_can_start()
        try:
            self._listener.start()
        except BaseException as error:
            if self._phase is Phase.RUNNING:  # another thread relies on it already
                self._restart_listener(error)
            raise

    def _restart_listener(self, error: BaseException) -> None:
        """Start the listener again, if a signal handler has broken into its start."""
        if isinstance(error, RuntimeError):
            self._break_down(error)
        else:
            self._listener.start()

    def _open_once(self) -> None:
        """Start what a pool needs, before its first work is taken. In a step.

        Raises:
            RuntimeError: The pool takes no more works; or nothing can be started here and now.
            BrokenPoolError: The pool is broken.
        """
        self.check_open()
        if self._phase is not Phase.NEW:
            return
        self._backend.check_can_start()
        self._listener.start()  # where `_start_listener` has not done so
        self._pid = os.getpid()
        self._phase = Phase.RUNNING
        self._open = True
        self._page = make_page(self._name)
        self._open_dump_page()
        exit_hooks.remember(self)  # again: a fork may have come before
        self.pool.open()

    def _open_dump_page(self) -> None:
        if self.dump_signal is not None:
            with late_imports.importing:
                from aplex._manager.dump_signal import DumpPage
            self._dump_page = DumpPage(self._name, self.dump_signal)

    def start_workers(self, at_least: int | None = None) -> None:
        """Start the workers that are missing, also if no work was submitted yet.

        Args:
            at_least: How many there are to be at least, where fewer may do.

        Raises:
            RuntimeError: The pool takes no more works; or nothing can be started here and now.
            BrokenPoolError: The pool is broken.
        """
        if self._phase is Phase.NEW and not is_mine(self._lock):
            self._start_listener()
        self._step(self._open_once)
        if at_least is not None:
            self._step(self.pool.want, at_least)

    def serves(self, count: int | None) -> bool:
        """Whether so many workers serve; None: all of them. In a step.

        Raises:
            RuntimeError: The pool takes no more works.
            BrokenPoolError: The pool is broken; or further workers fail to start, again and again.
        """
        self.check_open()
        pool = self.pool
        serving = sum(worker.state is WorkerState.SERVING for worker in pool.workers)
        wanted = pool.wanted if count is None else min(count, pool.size)
        if serving < wanted and pool.policy.gave_up:
            with late_imports.importing:
                from aplex.exceptions import BrokenPoolError
            raise BrokenPoolError(
                f"{serving} of {pool.size} workers serve, and the others fail to start: "
                f"{self._start_error}"
            ) from self._start_error
        return serving >= wanted

    def share(self) -> None:
        """Have the listener read for good: threads that block and event loops use the pool."""
        if not self.is_shut:
            self._step(self._read_in_listener)

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
                # Another thread may be about to open the pool: it starts the listener before.
                self._listener.call_soon(self._listener.stop)
                if self._observer is not None:
                    self.after_step(self._observer.closed)
                self.gone.set_result(None)

        self._backend.arm()
        self._step(close)

    def end_workers(self, *, kill: bool) -> None:
        """Take no more works, cancel what was not started, end the workers at once."""

        def terminate() -> None:
            if self._phase is Phase.RUNNING:  # and not a copy in a forked child
                self.pool.terminate()
                workers = list(self.pool.everyone())
                for worker in workers:
                    (self._backend.kill if kill else self._backend.terminate)(worker)
                self._effects.call_later(self.exit_grace, partial(self._effects.kill, workers))

        self.close(cancel_waiting=True)
        self._step(terminate)

    def abandon(self) -> None:
        """Close, as the executor was garbage collected. Only asks; takes no lock."""
        if os.getpid() == self._pid:
            self._listener.call_soon(partial(self.close, why="garbage collection"))

    def cancel_all(self) -> None:
        """Cancel all waiting works, and the coroutine works that run."""
        self._step(self._cancel_coroutines)
        self._step(self.pool.cancel_waiting)

    def _cancel_coroutines(self) -> None:
        for work in self.pool.cancellable():
            self.pool.cancel(work)

    def interrupt(self) -> float:
        """Cancel everything; soon kill the workers that have not ended then.

        Returns:
            Seconds in which it is all over, unless workers are threads and do not stop.
        """
        self.cancel_all()
        now = time.monotonic()
        if self._over_at is None:
            self._effects.call_later(INTERRUPT_GRACE, self._kill_workers)
            self._over_at = now + INTERRUPT_GRACE * (2 if self._backend.can_kill else 1)
        return max(0.0, self._over_at - now)

    def _kill_workers(self) -> None:
        self._step(lambda: self._effects.kill(list(self.pool.everyone())))

    def _read_in_listener(self) -> None:
        self._listener_reads = True
        self._backend.read_in(None)

    # -- waiting --------------------------------------------------------------

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

    def wait_for(self, happened: Callable[[], bool], end: float | None = None) -> bool:
        """Block until something has happened to the pool; it is looked for in a step.

        Returns:
            Whether it has. It may not have at the monotonic time ``end``.
        """
        self._backend.arm()
        self.within(partial(self.expect, 1))
        try:
            seen = self._sleepers.sleep_until(partial(self.within, happened), end)
            return seen  # noqa: RET504 - not in one line, see `within`
        finally:
            self.within(partial(self.expect, -1))

    def may_wait(self) -> bool:
        """Whether the pool goes on while this thread waits for it."""
        return self._may_block() and not self._backend.leads()

    def _may_block(self) -> bool:
        needed = self._listener.is_current() or self._backend.owns_current_thread()
        return not needed and not self.is_broken_into()

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
        self._afterwards.clear()
        if self._phase is Phase.NEW:
            self._listener.renew()
            self._backend.renew_after_fork()
            return True
        self._open = False
        for page in (self._page, self._dump_page):
            if page is not None:
                page.abandon()  # it is the parent's
        self._page = self._dump_page = None
        self._shut = "a fork: this executor belongs to the parent process; make a new one here"
        self._phase = Phase.GOING
        self.gone = ConcurrentFuture()
        self.gone.set_result(None)
        self._backend.abandon_after_fork()
        self._listener.discard()
        return False

    # -- the end --------------------------------------------------------------

    def _finish(self) -> None:
        """Free everything: the last act of the listener."""
        self._backend.close()
        self._listener.stop()
        self._be_gone()

    def _be_gone(self) -> None:
        with self._lock:
            pages = self._page, self._dump_page
            self._page = self._dump_page = None
        for page in pages:
            if page is not None:
                page.close()
        exit_hooks.forget(self)
        if self._observer is not None:
            self._observer.closed()
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


def _cannot_submit(why: str) -> str:
    return f"cannot submit a work after {why}"
