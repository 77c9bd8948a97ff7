"""The futures that ``submit`` returns.

Both kinds differ from their standard parents in one point only: ``cancel`` is a
*request*, as that of ``asyncio.Task`` is. A work that still waits is cancelled at
once. A coroutine that runs gets ``CancelledError`` in its worker, and the future
ends as the coroutine does. A plain function that runs is not interrupted.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from typing import TYPE_CHECKING, Any, Final, TypeVar

from aplex._messages import CANCELLED, ERROR, PICKLED, TOO_LATE, VALUE
from aplex._pickling import decode_exception, decode_value

if TYPE_CHECKING:
    from aplex._manager import Manager
    from aplex._pool import Work

__all__ = ["AsyncioFuture", "ConcurrentFuture"]

T = TypeVar("T")

PATIENCE: Final = 1.0
"""Seconds for which a cancelled asyncio future waits for the cancel to reach the coroutine."""


def _outcome(kind: int, data: Any) -> tuple[Any, BaseException | None]:
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


class ConcurrentFuture(concurrent.futures.Future[T]):
    """A ``concurrent.futures.Future`` of a work.

    ``wait``, ``as_completed`` and ``asyncio.wrap_future`` work with it.
    See https://docs.python.org/3/library/concurrent.futures.html#future-objects
    """

    _work: Work | None = None
    _manager: Manager | None = None

    def cancel(self) -> bool:
        """Ask for the work to be cancelled.

        Returns:
            False if it is done already. True if it was cancelled (it had not left
            for a worker) or the worker was asked to; the future then ends as the
            work does: cancelled, or with its result if it would not be stopped.
        """
        if self.done():
            return self.cancelled()
        work, manager = self._work, self._manager
        if work is None or manager is None:
            return super().cancel()
        manager.cancel(work)
        return not self.done() or self.cancelled()

    def running(self) -> bool:
        """Return whether a worker has the work now."""
        work = self._work
        return work is not None and work.worker is not None and not self.done()

    def _settle(self, kind: int, data: Any) -> None:
        if kind == TOO_LATE:
            return  # the result will come
        self._work = self._manager = None
        if kind == CANCELLED:
            if super().cancel():
                self.set_running_or_notify_cancel()  # wakes wait() and as_completed()
            return
        value, error = _outcome(kind, data)
        if error is None:
            self.set_result(value)
        else:
            self.set_exception(error)


class AsyncioFuture(asyncio.Future[T]):
    """An ``asyncio.Future`` of a work; belongs to one event loop.

    ``asyncio.timeout``, ``wait_for`` and ``TaskGroup`` around it stop the remote
    coroutine. See https://docs.python.org/3/library/asyncio-future.html
    """

    _work: Work | None = None
    _manager: Manager | None = None
    _cancel_asked = False
    _cancel_message: Any = None
    _patience: asyncio.TimerHandle | None = None

    def cancel(self, msg: Any | None = None) -> bool:
        """Ask for the work to be cancelled.

        Whoever awaits the future gets ``CancelledError`` when the coroutine has ended
        so; at once if the work was not started, or is a plain function, which runs on;
        and after `PATIENCE` seconds if the worker's loop is blocked, so that the cancel
        has not even reached the coroutine.

        Args:
            msg: Passed to the ``CancelledError``.

        Returns:
            Whether it was not done already.
        """
        if self.done():
            return False
        work, manager = self._work, self._manager
        if work is None or manager is None:
            return super().cancel(msg)
        self._cancel_message = msg
        if not self._cancel_asked:
            self._cancel_asked = True
            manager.cancel(work)
            if not self.done():
                self._patience = self.get_loop().call_later(PATIENCE, self._give_up)
        return True

    def _give_up(self) -> None:
        """Be cancelled now, unless the coroutine has got the cancel and may answer it."""
        if not self.done() and (self._work is None or not self._work.cancel_delivered):
            super().cancel(self._cancel_message)

    def _settle(self, kind: int, data: Any) -> None:
        """Take the outcome. Called on the loop's thread."""
        if kind == TOO_LATE:
            self._give_up()
            return
        work, self._work, self._manager = self._work, None, None
        if self._patience is not None:
            self._patience.cancel()
        if self.done():
            return
        if self._cancel_asked and not (work is not None and work.cancel_delivered):
            # The outcome was under way before the cancel could arrive. A task that awaits
            # us relies on the CancelledError: `cancel` has returned True.
            kind = CANCELLED
        if kind == VALUE:
            self.set_result(data)
            return
        if kind == CANCELLED:
            super().cancel(self._cancel_message)
            return
        value, error = _outcome(kind, data)
        if error is None:
            self.set_result(value)
        elif isinstance(error, StopIteration):  # asyncio futures refuse it
            wrapped = RuntimeError("the work raised StopIteration")
            wrapped.__cause__ = error
            self.set_exception(wrapped)
        else:
            self.set_exception(error)
