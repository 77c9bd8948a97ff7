"""The futures that ``submit`` returns.

Both kinds differ from their standard parents in one point only: ``cancel`` is a
*request*, as that of ``asyncio.Task`` is. A work that still waits is cancelled at
once. A coroutine that runs gets ``CancelledError`` in its worker, a plain function
of a process worker is interrupted, and the future ends as the work does.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import sys
import time
from concurrent.futures._base import CANCELLED as CANCELLED_STATE
from concurrent.futures._base import CANCELLED_AND_NOTIFIED, FINISHED, PENDING
from typing import TYPE_CHECKING, Any, Final, TypeVar

from aplex._exception_pickling import decode_exception
from aplex._locks import Lock, condition
from aplex._messages import CANCELLED, ERROR, PICKLED, TOO_LATE, VALUE
from aplex._pickling import decode_value
from aplex._waits import of_lock

if TYPE_CHECKING:
    from aplex._work import Work

__all__ = ["AsyncioFuture", "ConcurrentFuture"]

T = TypeVar("T")

_GIL: Final = getattr(sys, "_is_gil_enabled", lambda: True)()
_log = logging.getLogger("aplex")

PATIENCE: Final = 1.0
"""Seconds for which a cancelled asyncio future waits for the cancel to reach the coroutine."""


def outcome(kind: int, data: Any) -> tuple[Any, BaseException | None]:
    """Return the result, or the exception, that a report carries."""
    if kind == VALUE:
        return data, None
    if kind == PICKLED:
        try:
            return decode_value(data), None
        except Exception as error:  # noqa: BLE001 - it belongs to the future
            return None, error
    if kind == ERROR:
        return None, decode_exception(data)
    return None, data


class _Locked:
    """What only threads that wait for a future need, and its callbacks: made on demand.

    Most futures are asked for their result when it is there, or by a thread that reads
    the reports itself. They never need a lock, which costs more than the rest of them.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, future: Any, _kind: type | None = None) -> Any:
        if future is None:
            return self
        made: dict[str, Any] = vars(future)
        with _making:
            if not future._locked:  # noqa: SLF001 - private to this file
                made |= {"_waiting": [], "_done_callbacks": []}
                made["_condition"] = condition()
                made["_locked"] = True  # the last: `_settle` looks at it
                work = future._work  # noqa: SLF001
                if work is not None:
                    work.manager.arm()
        return made[self._name]


_making: Final = Lock()


class ConcurrentFuture(concurrent.futures.Future[T]):
    """A ``concurrent.futures.Future`` of a work.

    ``wait``, ``as_completed`` and ``asyncio.wrap_future`` work with it.
    See https://docs.python.org/3/library/concurrent.futures.html#future-objects

    It keeps its state where its parent does (``_state``, ``_result``, ``_condition`` …:
    ``wait`` and ``as_completed`` look there), but makes its lock on demand.
    """

    _state = PENDING
    _result: Any = None
    _exception: BaseException | None = None
    _condition: Any = _Locked("_condition")
    _waiting: Any = _Locked("_waiting")
    _done_callbacks: Any = _Locked("_done_callbacks")
    _locked = False
    _work: Work | None = None

    if TYPE_CHECKING:
        _waiters: Any
    else:

        @property
        def _waiters(self) -> Any:
            """Where ``wait`` and ``as_completed`` leave what is to be told of the end."""
            work = self._work
            if self._state is PENDING and work is not None:
                work.manager.check_may_block(work)
            return self._waiting

    def __init__(self) -> None:
        """Be pending. The parent would make its lock here."""
        if not _GIL:  # without it the order of two writes is not sure
            _ = self._condition

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
            return super().cancel()
        is_asked = work.manager.cancel(work)
        return self.cancelled() if self._state is not PENDING else is_asked

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
                for a coroutine; or it is, and the two may wait for each other.
            BaseException: What the work raised.
        """
        if self._state is PENDING:
            timeout = self._help(timeout)
        if self._state is FINISHED and self._exception is None:
            return self._result  # type: ignore[no-any-return]
        return super().result(timeout)

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
            timeout = self._help(timeout)
        if self._state is FINISHED:
            return self._exception
        return super().exception(timeout)

    def _help(self, timeout: float | None) -> float | None:
        """Read the reports in this thread while waiting; return the seconds still left."""
        work = self._work
        if work is None:
            return of_lock(timeout)
        end = None if timeout is None else time.monotonic() + timeout
        work.manager.read_until(self._is_done, end, work)
        return None if end is None else of_lock(max(0.0, end - time.monotonic()))

    def _settle(self, kind: int, data: Any) -> None:
        if self._state is PENDING:
            if kind == VALUE and not self._locked:
                self._set_result_unlocked(data)
            elif kind == TOO_LATE:
                return  # the result will come
            else:
                self._set_outcome(kind, data)
        # Last: without a work, a cancel from another thread would cancel us here and now.
        self._work = None

    def _set_outcome(self, kind: int, data: Any) -> None:
        if kind == CANCELLED:
            if super().cancel():
                self.set_running_or_notify_cancel()  # wakes wait() and as_completed()
            return
        value, error = outcome(kind, data)
        if error is not None:
            self.set_exception(error)
        elif self._state is not PENDING or self._locked:
            self.set_result(value)
        else:
            self._set_result_unlocked(value)

    def _set_result_unlocked(self, value: Any) -> None:
        """Do what ``set_result`` does, as nobody has come to wait so far.

        A thread that comes makes the lock, and then looks at the state. We do it in the
        opposite order: one of us sees what the other did.
        """
        self._result = value
        self._state = FINISHED
        if self._locked:
            self._wake()

    def _wake(self) -> None:
        """Tell those who came while the result was being set. They may know it already."""
        with self._condition:
            for waiter in self._waiters:
                waiter.add_result(self)
            self._condition.notify_all()
            callbacks, self._done_callbacks = self._done_callbacks, []
        for callback in callbacks:
            try:
                callback(self)
            except Exception:  # noqa: BLE001 - as the parent does
                _log.exception("exception calling callback for %r", self)


class AsyncioFuture(asyncio.Future[T]):
    """An ``asyncio.Future`` of a work; belongs to one event loop.

    ``asyncio.timeout``, ``wait_for`` and ``TaskGroup`` around it stop the remote
    coroutine. See https://docs.python.org/3/library/asyncio-future.html
    """

    __slots__ = ("_message", "_patience", "_work")
    # _work is set by ``submit``; the others by `cancel`, with ``_work.cancel_wanted``.

    _work: Work | None
    _message: Any
    _patience: asyncio.TimerHandle | None

    def cancel(self, msg: Any | None = None) -> bool:
        """Ask for the work to be cancelled.

        Whoever awaits the future gets ``CancelledError`` when the work has ended so; at
        once if it was not started, or is a plain function that cannot be interrupted,
        which runs on; and after `PATIENCE` seconds if the worker's loop is blocked, so
        that the cancel has not even reached the coroutine.

        Args:
            msg: Passed to the ``CancelledError``.

        Returns:
            Whether it was not done already.
        """
        if self.done():
            return False
        work = getattr(self, "_work", None)
        if work is None:
            return super().cancel(msg)
        self._message = msg
        if not work.cancel_wanted:
            work.cancel_wanted = True
            self._patience = None
            work.manager.cancel(work)
            if not self.done():
                self._patience = self.get_loop().call_later(PATIENCE, self._give_up)
        return True

    def _give_up(self) -> None:
        """Be cancelled now, unless the work has got the cancel, or will, and may answer it."""
        work = self._work
        if not self.done() and (work is None or not (work.cancel_delivered or work.interrupted_at)):
            super().cancel(self._message)

    def _settle(self, kind: int, data: Any) -> None:
        """Take the outcome. Called on the loop's thread."""
        work = getattr(self, "_work", None)
        if kind == TOO_LATE:
            # Of a cancel by the ladder, it may overtake the error, which another thread brings.
            if work is not None and work.cancel_wanted:
                self._give_up()
            return
        if work is not None and work.cancel_wanted:
            if self._patience is not None:
                self._patience.cancel()
            if not work.cancel_delivered:
                # The outcome was under way before the cancel could arrive. A task that
                # awaits us relies on the CancelledError: `cancel` has returned True.
                kind = CANCELLED
        self._work = None
        if self.done():
            return
        if kind == VALUE:
            self.set_result(data)
        elif kind == CANCELLED:
            super().cancel(None if work is None or not work.cancel_wanted else self._message)
        else:
            self._take(kind, data)

    def _take(self, kind: int, data: Any) -> None:
        value, error = outcome(kind, data)
        if error is None:
            self.set_result(value)
        elif isinstance(error, StopIteration):  # asyncio futures refuse it
            wrapped = RuntimeError("the work raised StopIteration")
            wrapped.__cause__ = error
            self.set_exception(wrapped)
        else:
            self.set_exception(error)
