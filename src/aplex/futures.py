"""The futures that ``submit`` returns.

Both kinds differ from their standard parents in one point only: ``cancel`` is a
*request*, as that of ``asyncio.Task`` is. A work that still waits is cancelled at
once. A coroutine that runs gets ``CancelledError`` in its worker, and the future
ends as the coroutine does. A plain function that runs is not interrupted.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from typing import TYPE_CHECKING, Any, TypeVar

from aplex._messages import CANCELLED, ERROR, PICKLED, VALUE
from aplex._pickling import decode_exception, decode_value

if TYPE_CHECKING:
    from aplex._manager import Manager
    from aplex._pool import Work

__all__ = ["AsyncioFuture", "ConcurrentFuture"]

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")


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
    _cancel_message: Any = None

    def cancel(self, msg: Any | None = None) -> bool:
        """Ask for the work to be cancelled.

        Args:
            msg: Passed to the ``CancelledError``.

        Returns:
            False if it is done already, else True: whoever awaits the future gets
            ``CancelledError`` when the work has ended so.
        """
        if self.done():
            return False
        work, manager = self._work, self._manager
        if work is None or manager is None:
            return super().cancel(msg)
        self._cancel_message = msg
        manager.cancel(work)
        return True

    def _settle(self, kind: int, data: Any) -> None:
        """Take the outcome. Called on the loop's thread."""
        self._work = self._manager = None
        if self.done():
            return
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
