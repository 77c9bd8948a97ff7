"""The future of a work that an event loop awaits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, TypeVar

from aplex._common.messages import CANCELLED, TOO_LATE, VALUE
from aplex._futures.outcome import outcome

if TYPE_CHECKING:
    from aplex._pool.state import Work

T = TypeVar("T")

PATIENCE: Final = 1.0
"""Seconds for which a cancelled asyncio future waits for the cancel to reach the coroutine."""


class AsyncioFuture(asyncio.Future[T]):
    """An ``asyncio.Future`` of a work; belongs to one event loop.

    ``asyncio.timeout``, ``wait_for`` and ``TaskGroup`` around it stop the remote
    coroutine. See https://docs.python.org/3/library/asyncio-future.html
    """

    __module__ = "aplex.futures"  # where it is public

    __slots__ = ("_message", "_number", "_patience", "_retried", "_work")
    # _work is set by ``submit``; the others by `cancel`, with ``_work.cancel_wanted``.

    _work: Work | None
    _number: int  # of the work, when it is done
    _retried: int  # how often it was run again, then; unset: never
    _message: Any
    _patience: asyncio.TimerHandle | None

    @property
    def id(self) -> int | None:
        """The number of the work, unique in its pool; that of `stats`.

        None if no pool has taken the work: it could not be pickled, for example.
        """
        work = getattr(self, "_work", None)
        return (getattr(self, "_number", 0) if work is None else work.id) or None

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
        if work is not None:
            self._number = work.id
            if work.retried:
                self._retried = work.retried
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
