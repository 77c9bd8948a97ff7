"""What ``stream`` returns: iterators over what a generator yields in a worker.

The two faces only wait. What has arrived, and when credit is due, an `Inflow` knows.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import math
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from aplex._common.messages import Item
from aplex._futures.outcome import outcome
from aplex._map.telling import Bell
from aplex._pool.inflow import NOTHING, Inflow, Owner
from aplex._wire.calls import decode_value

if TYPE_CHECKING:
    from aplex._manager.manager import Manager
    from aplex._pool.state import Work

__all__ = ["AsyncStream", "Stream"]

T = TypeVar("T")


class _Reader(Generic[T]):
    """What both faces share."""

    _work: Work | None = None

    def __init__(self, manager: Manager, inflow: Inflow) -> None:
        self._manager = manager
        self._inflow = inflow
        self._over = False  # nothing more is handed out

    def _begin(self, work: Work) -> None:
        """Take note of the work, which is submitted now."""
        self._work = work

    def _ask(self) -> None:
        """Send the credit that is due."""
        inflow, work = self._inflow, self._work
        credit = inflow.due()
        if credit and work is not None:
            self._manager.credit(work, credit)
            inflow.sent(credit)

    def _idle_until(self) -> float:
        """Return until when, on the monotonic clock, a reader who begins to wait does so."""
        work = self._work
        seconds = None if work is None else work.options.idle_timeout
        return math.inf if seconds is None else time.monotonic() + seconds

    def _stop_idle(self) -> float:
        """Have the generator stopped, whose reader has waited too long; return until when to wait.

        It ends with the error, as with a ``time_limit``: when its cleanup has run.
        """
        work = self._work
        assert work is not None
        seconds = work.options.idle_timeout
        error = TimeoutError(f"{work.name} has yielded nothing for {seconds:g} s (idle_timeout)")
        self._manager.overdue(work, error)
        return math.inf

    def _decoded(self, item: tuple[bool, Any]) -> T:
        pickled, data = item
        if not pickled:
            return data  # type: ignore[no-any-return]
        try:
            return decode_value(data)  # type: ignore[no-any-return]
        except BaseException:
            self._give_up()
            raise

    def _ending(self, usual: type[Exception]) -> BaseException:
        """Return what the stream has ended with; from then on it is just over."""
        over, self._over = self._over, True
        if over or self._inflow.end is None or self._inflow.ended_well:
            return usual()
        if self._inflow.was_cancelled:
            return self._cancelled()
        error: BaseException | None = outcome(*self._inflow.end)[1]
        if isinstance(error, (StopIteration, StopAsyncIteration)):
            stand_in = RuntimeError(f"the work raised {type(error).__name__}")
            stand_in.__cause__ = error
            return stand_in
        return usual() if error is None else error

    def _cancelled(self) -> BaseException:
        raise NotImplementedError

    def _give_up(self) -> None:
        """Have the generator closed, and hand out nothing more."""
        self._over = True
        self._inflow.drop()
        if self._work is not None and self._inflow.end is None:
            self._manager.cancel(self._work)

    def _closing_failure(self) -> BaseException | None:
        """Return what the cleanup of the generator has raised."""
        inflow = self._inflow
        if inflow.end is None or inflow.was_cancelled:
            return None
        return outcome(*inflow.end)[1]

    def __del__(self) -> None:
        """Have the generator closed, if the stream was left."""
        if self._work is not None and self._inflow.end is None:
            self._inflow.drop()
            self._manager.cancel_soon(self._work)


class Stream(_Reader[T], Iterator[T]):
    """Iterates over what a generator yields in a worker; returned by ``stream``.

    One thread at a time may read it. It may be used in a ``with`` statement, which closes it.
    """

    def __next__(self) -> T:
        """Wait for the next item.

        Raises:
            StopIteration: The generator has ended, or the stream was closed.
            concurrent.futures.CancelledError: The generator was cancelled, by the end of its
                executor or by itself.
            TimeoutError: Its ``time_limit``, ``deadline`` or ``idle_timeout`` has passed, and it
                was stopped.
            WorkerLostError: Its worker has died.
            BaseException: What it has raised.
        """
        inflow = self._inflow
        if self._over:
            raise StopIteration
        self._ask()
        item = inflow.next()
        return self._decoded(self._awaited() if item is NOTHING else item)

    def _awaited(self) -> Item:
        """Wait for the next item; raise what the stream ends with."""
        inflow, idle_until = self._inflow, self._idle_until()
        while True:
            ended = inflow.end is not None  # before the look: the end comes after its items
            item = inflow.next()
            if item is not NOTHING:
                return item
            if ended:
                raise self._ending(StopIteration)
            if not self._wait(idle_until):
                idle_until = self._stop_idle()

    def close(self) -> None:
        """Have the generator closed, and wait until its ``finally`` has run.

        A plain generator ends when it comes to its next ``yield``. Does nothing if the stream
        has ended. In a signal handler that has broken into a call of the same pool it does not
        wait.

        Raises:
            BaseException: What the cleanup of the generator raises.
        """
        if self._work is None or self._inflow.end is not None:
            self._over = True
            self._inflow.drop()
            return
        bell = self._inflow.bell  # of this thread, if we are a signal handler in its ``next``
        self._give_up()
        if self._manager.is_broken_into():
            return
        while not self._inflow.is_ready():
            self._wait()
        if bell is not None:
            bell()
        failure = self._closing_failure()
        if failure is not None:
            raise failure

    def __enter__(self) -> Stream[T]:
        """Return the stream."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """Close the stream."""
        self.close()

    def _wait(self, until: float = math.inf) -> bool:
        """Wait until something comes; read the reports meanwhile.

        Returns:
            False if nothing has come until then, on the monotonic clock.
        """
        inflow = self._inflow
        inflow.owner = this_reader()
        bell = Bell(self._manager, lambda: self._work)
        inflow.bell = bell.ring
        # What came before is seen by this look, what comes after it rings.
        if inflow.is_ready():
            return True
        if until == math.inf:
            bell.result()
            return True
        try:
            bell.result(max(0.0, until - time.monotonic()))
        except TimeoutError:
            if time.monotonic() < until:  # of a signal handler
                raise
        return inflow.is_ready() or time.monotonic() < until

    def _cancelled(self) -> BaseException:
        return concurrent.futures.CancelledError()


class AsyncStream(_Reader[T], AsyncIterator[T]):
    """Iterates asynchronously over what a generator yields in a worker; returned by ``stream``.

    It belongs to one event loop, and one task at a time may read it. It may be used in an
    ``async with`` statement, which closes it.
    """

    _reading = False

    async def __anext__(self) -> T:
        """Wait for the next item. A cancel while it waits closes the stream.

        Raises:
            StopAsyncIteration: The generator has ended, or the stream was closed.
            asyncio.CancelledError: The generator was cancelled, by the end of its executor or
                by itself.
            RuntimeError: Another task waits for the next item.
            TimeoutError: The ``time_limit``, ``deadline`` or ``idle_timeout`` of the stream has
                passed, and it was stopped.
            WorkerLostError: The worker of the generator has died.
            BaseException: What the generator has raised.
        """
        inflow = self._inflow
        if self._over:
            raise StopAsyncIteration
        if self._reading:
            raise RuntimeError("another task waits for the next item of this stream")
        self._ask()
        item = inflow.next()
        return self._decoded(await self._awaited() if item is NOTHING else item)

    async def _awaited(self) -> Item:
        """Wait for the next item; raise what the stream ends with."""
        inflow, idle_until = self._inflow, self._idle_until()
        while True:
            ended = inflow.end is not None  # before the look: the end comes after its items
            item = inflow.next()
            if item is not NOTHING:
                return item
            if ended or self._over:
                raise self._ending(StopAsyncIteration)
            if not await self._wait_or_give_up(idle_until):
                idle_until = self._stop_idle()

    async def aclose(self) -> None:
        """Have the generator closed, and wait until its ``finally`` has run.

        A plain generator ends when it comes to its next ``yield``. Does nothing if the stream
        has ended.

        Raises:
            BaseException: What the cleanup of the generator raises.
        """
        if self._work is None or self._inflow.end is not None:
            self._over = True
            self._inflow.drop()
            return
        self._give_up()
        self._inflow.ring()  # another task may wait: it sees the end
        while not self._inflow.is_ready():
            await self._wait()
        failure = self._closing_failure()
        if failure is not None:
            raise failure

    async def __aenter__(self) -> AsyncStream[T]:
        """Return the stream."""
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """Close the stream."""
        await self.aclose()

    async def _wait_or_give_up(self, until: float) -> bool:
        self._reading = True
        try:
            return await self._wait(until)
        except BaseException:
            self._give_up()
            raise
        finally:
            self._reading = False

    async def _wait(self, until: float = math.inf) -> bool:
        """Wait until something comes; return False if nothing has come until then."""
        inflow = self._inflow
        inflow.owner = this_reader()
        bell = inflow.loop.create_future()
        inflow.bell = lambda: bell.done() or bell.set_result(None)
        if inflow.is_ready():
            return True
        if until == math.inf:
            await bell
            return True
        # Its own clock: that of the loop is another one, perhaps.
        timer = inflow.loop.call_later(max(0.0, until - time.monotonic()), inflow.ring)
        try:
            await bell
        finally:
            timer.cancel()
        return inflow.is_ready() or time.monotonic() < until

    def _cancelled(self) -> BaseException:
        return asyncio.CancelledError()


def of_this_thread() -> Callable[[Inflow], bool]:
    """Return what says whether a stream is read by this thread."""
    thread = threading.get_ident()
    return lambda inflow: inflow.owner[0] == thread


def of_this_task() -> Callable[[Inflow], bool]:
    """Return what says whether a stream is read by this task."""
    this = this_reader()
    return lambda inflow: inflow.owner == this


def this_reader() -> Owner:
    """Return the thread that calls, and its task if there is one."""
    task = None
    if asyncio._get_running_loop() is not None:  # noqa: SLF001 - documented, for libraries
        task = asyncio.current_task()
    return threading.get_ident(), None if task is None else weakref.ref(task)
