"""The future of a work that threads wait for."""

from __future__ import annotations

import concurrent.futures
import contextlib
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures._base import CANCELLED as CANCELLED_STATE
from concurrent.futures._base import CANCELLED_AND_NOTIFIED, FINISHED, PENDING
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from aplex._common.locks import condition
from aplex._common.messages import CANCELLED, RAISED, TOO_LATE, VALUE
from aplex._common.sleepers import Sleepers
from aplex._futures.outcome import outcome

if TYPE_CHECKING:
    from aplex._pool.state import Work

T = TypeVar("T")

_GIL: Final = getattr(sys, "_is_gil_enabled", lambda: True)()
_log = logging.getLogger("aplex")

_telling: Final[set[int]] = set()
"""Threads that tell waiters. Those of ``concurrent.futures`` have locks that are not reentrant."""


class ConcurrentFuture(concurrent.futures.Future[T]):
    """A ``concurrent.futures.Future`` of a work.

    ``wait``, ``as_completed`` and ``asyncio.wrap_future`` work with it.
    See https://docs.python.org/3/library/concurrent.futures.html#future-objects

    It keeps its state where its parent does (``_state``, ``_result``, ``_condition`` …:
    ``wait`` and ``as_completed`` look there), but its lock is made for these two only: they
    rely on nothing changing between their look at the state and the moment when they have left
    a waiter. Who waits for the result, or adds a callback, takes no lock, so that a signal
    handler, or a finalizer, cannot break into it: each leaves a note before it looks at the
    state, and who settles looks for notes after it has changed the state. See decision 22.
    """

    __module__ = "aplex.futures"  # where it is public

    _state = PENDING
    _result: Any = None
    _exception: BaseException | None = None
    _lock_made: Any = None  # see `_condition`
    _waiting: list[Any] | None = None
    _locked = not _GIL  # the lock is needed. (Without the GIL it is not sure who sees what.)
    _sleepers: Sleepers | None = None  # threads that wait for the result
    _callbacks: deque[Callable[[Any], object]] | None = None
    _work: Work | None = None
    _number = 0  # of the work, when it is done
    _retried = 0  # how often it was run again, then

    # What is made on demand is made first; no call is between the look whether somebody else
    # has made it and the note. (Not by the dictionary of the instance: CPython 3.11 collects
    # garbage while it makes that, and crashes if a finalizer uses the same instance.)

    if TYPE_CHECKING:
        _condition: Any
        _waiters: Any
    else:

        @property
        def _condition(self) -> Any:
            """The lock that ``wait`` and ``as_completed`` take, and ``repr``."""
            if self._lock_made is None:
                # First of all: who settles us without the lock sees it, or has done so.
                self._locked = True
                made = condition()
                if self._lock_made is None:
                    self._lock_made = made
                work = self._work
                if work is not None:
                    work.manager.arm()
            return self._lock_made

        @property
        def _waiters(self) -> Any:
            """Where ``wait`` and ``as_completed`` leave what is to be told of the end."""
            work = self._work
            if self._state is PENDING and work is not None:
                work.manager.check_may_block(work)
            made = []
            if self._waiting is None:
                self._waiting = made
            return self._waiting

    def __init__(self) -> None:
        """Be pending. The parent would make its lock here."""

    @property
    def id(self) -> int | None:
        """The number of the work, unique in its pool; that of `stats`.

        None if no pool has taken the work: it could not be pickled, for example.
        """
        work = self._work
        return (self._number if work is None else work.id) or None

    def cancel(self) -> bool:
        """Ask for the work to be cancelled.

        Returns:
            False if it is done already, or a plain function that runs and cannot be stopped
            (in a thread, or with ``interruptible=False``): it runs to its end, as with
            ``concurrent.futures``, and the future has its result. (If it turns out to
            return a coroutine, that one is cancelled.)
            True if it was cancelled, as it had not left for a worker; or if its worker
            was asked to cancel it. Then the future ends as the work does: cancelled, or with
            its result if it would not be stopped. So does a function that had been sent
            to its worker and starts in the very moment in which the cancel is on its way.
        """
        if self.done():
            return self.cancelled()
        work = self._work
        if work is None:
            self._settle(CANCELLED, None)
            return self.cancelled()
        is_asked = work.manager.cancel(work)
        return self.cancelled() if self.done() else is_asked

    def cancelled(self) -> bool:
        """Return whether the work was cancelled."""
        return self._state in (CANCELLED_STATE, CANCELLED_AND_NOTIFIED)

    def running(self) -> bool:
        """Return whether a worker has the work now."""
        work = self._work
        return work is not None and work.worker is not None and not self.done()

    def done(self) -> bool:
        """Return whether the work is done or cancelled."""
        if self._state is not PENDING:
            return True
        work = self._work
        if work is not None:
            work.manager.arm()  # who asks again and again shall see it change
        return False

    def _is_done(self) -> bool:
        return self._state is not PENDING

    def result(self, timeout: float | None = None) -> T:
        """Wait for the work, and return its result.

        Args:
            timeout: Seconds to wait at most. None: until it is done.

        Raises:
            TimeoutError: It was not done in time.
            CancelledError: The work was cancelled.
            RuntimeError: It has to wait, without a timeout, and might wait for ever: this
                thread runs a work of the same pool, and is not a plain function that waits
                for a coroutine; or it is, and the two may wait for each other; or this is a
                signal handler, or a finalizer, that has broken into a call of that pool.
            BaseException: What the work raised.
        """
        if self._state is PENDING:
            self._wait(timeout)
        if self._state is FINISHED and self._exception is None:
            return self._result  # type: ignore[no-any-return]
        return super().result(0)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the work, and return what it raised, or None.

        Args:
            timeout: Seconds to wait at most. None: until it is done.

        Raises:
            TimeoutError: It was not done in time.
            CancelledError: The work was cancelled.
            RuntimeError: As for `result`.
        """
        if self._state is PENDING:
            self._wait(timeout)
        if self._state is FINISHED:
            return self._exception
        return super().exception(0)

    def add_done_callback(self, fn: Callable[[concurrent.futures.Future[T]], object]) -> None:
        """Have it called with the future when that is done; at once if it is.

        It may be called in any thread: that of the executor's listener, of a worker, of
        whoever cancels.
        """
        callbacks = self._callbacks
        if callbacks is None:
            made: deque[Any] = deque()
            if self._callbacks is None:
                self._callbacks = made
            callbacks = self._callbacks
            work = self._work
            if work is not None:
                work.manager.arm()
        callbacks.append(fn)  # before the look
        if self._state is not PENDING:
            self._call_back()

    def set_result(self, result: T) -> None:
        """Be done. For tests, as that of the parent.

        Raises:
            InvalidStateError: It is done already.
        """
        self._settle_by_hand(VALUE, result)

    def set_exception(self, exception: BaseException | None) -> None:
        """Be done with an exception. For tests, as that of the parent.

        Raises:
            InvalidStateError: It is done already.
        """
        self._settle_by_hand(RAISED, exception)

    def _settle_by_hand(self, kind: int, data: Any) -> None:
        if self._state is not PENDING:
            raise concurrent.futures.InvalidStateError(f"{self._state}: {self!r}")
        self._settle(kind, data)

    def _wait(self, timeout: float | None) -> None:
        """Wait until it is done; read the reports in this thread meanwhile, if possible."""
        end = None if timeout is None else time.monotonic() + timeout
        work = self._work
        if work is not None:
            work.manager.read_until(self._is_done, end, work)
            if self._state is not PENDING:
                return
            if end is None:
                work.manager.check_may_sleep()
        sleepers = self._sleepers
        if sleepers is None:
            made = Sleepers()
            if self._sleepers is None:
                self._sleepers = made
            sleepers = self._sleepers
        if work is not None:
            work.manager.arm()
        if not sleepers.sleep_until(self._is_done, end):
            raise TimeoutError

    # -- the pool's side ------------------------------------------------------

    def _settle(self, kind: int, data: Any) -> None:
        """Take a report. If that was broken into, take it again."""
        # No call from this look until the state is set: no other thread, and no signal
        # handler, comes in between and makes the lock.
        if kind == VALUE and not self._locked and self._state is PENDING:
            self._result = data
            self._state = FINISHED
        elif self._state is PENDING or self._state is CANCELLED_STATE:
            if kind == TOO_LATE:
                return  # the result will come
            if not self._take(kind, data):
                return
        if self._sleepers is not None or self._callbacks is not None:
            self._announce()
        work = self._work
        if work is not None:
            self._number = work.id
            if work.retried:
                self._retried = work.retried
            # Last: without a work, a cancel from another thread would cancel us here and now.
            self._work = None

    def _take(self, kind: int, data: Any) -> bool:
        """Take an outcome; return False if another thread will do so."""
        if kind == CANCELLED:
            # As with the parent: it is cancelled now, but ``wait`` does not take it for done
            # before its waiters were told of it.
            self._state = CANCELLED_STATE
        work = self._work
        if self._locked and work is not None and not self._may_tell(work):
            work.manager.settle_soon(partial(self._settle, kind, data))
            return False
        if kind == CANCELLED:
            self._end(CANCELLED_AND_NOTIFIED, None, None)
        else:
            self._end(FINISHED, *outcome(kind, data))
        return True

    def _may_tell(self, work: Work) -> bool:
        """Whether waiters may be told in this thread, in which they may have locks.

        A handler, or a finalizer, that cancels a future may have broken into ``wait``, into
        ``as_completed``, or into what tells them of another future.
        """
        return threading.get_ident() not in _telling and bool(work.manager.may_tell())

    def _end(self, state: str, value: Any, error: BaseException | None) -> None:
        # No call until the state is set, see `_settle`.
        if not self._locked:
            self._result = value
            self._exception = error
            self._state = state
            return
        me = threading.get_ident()
        with self._condition:
            if self._state is not PENDING and self._state is not CANCELLED_STATE:
                return
            self._result = value
            self._exception = error
            self._state = state
            _telling.add(me)
            try:
                for waiter in self._waiting or ():
                    self._tell_waiter(waiter)
            finally:
                _telling.discard(me)

    def _tell_waiter(self, waiter: Any) -> None:
        if self._state is not FINISHED:
            waiter.add_cancelled(self)
        elif self._exception is not None:
            waiter.add_exception(self)
        else:
            waiter.add_result(self)

    def _announce(self) -> None:
        """Wake those who wait for the result; make the callbacks, or have them made."""
        if self._sleepers is not None:
            self._sleepers.wake()
        if self._callbacks:
            work = self._work
            if work is None or work.manager.may_call_back():
                self._call_back()
            else:
                work.manager.settle_soon(self._call_back)

    def _call_back(self) -> None:
        callbacks = self._callbacks
        while callbacks:
            try:
                callback = callbacks.popleft()
            except IndexError:  # another thread was faster
                return
            try:
                callback(self)
            except Exception:  # noqa: BLE001 - as the parent does
                with contextlib.suppress(Exception):  # of a handler of the user's
                    _log.exception("exception calling callback for %r", self)
