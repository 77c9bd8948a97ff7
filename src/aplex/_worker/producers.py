"""The worker's side of a stream: a generator that runs as far as its reader's credit goes.

A stream is a work like others: a call of `produce`, which calls the user's function and
returns a producer. The lane that has made the call sees that, and has it run:

* `CoroutineProducer` - an asynchronous generator; a task of the worker's event loop;
* `PlainProducer` - a generator, or whatever can be iterated. It runs on the plain lane,
  and waits for credit there.

Credit and closing come in on the loop's thread, as cancels do. A leaf.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import copy_context
from types import CoroutineType

from aplex._common.names import runs

TYPE_CHECKING = False  # from `typing`, which workers need not import
if TYPE_CHECKING:
    import asyncio
    from typing import Any, Final, TypeAlias

_END: Final = object()
Put: TypeAlias = "Callable[[Any], None]"
"""Reports an item; raises if it cannot travel."""


class Producer:
    """Runs as far as credit goes.

    Attributes:
        yielded: Items that were reported.
        credit: Items that may be yielded, counted from the first one.
        closed: Whether nobody wants more.
    """

    def __init__(self, credit: int) -> None:
        self.yielded = 0
        self.credit = credit
        self.closed = False

    def wake(self) -> None:
        """Have it look at its credit, and whether it is closed."""
        raise NotImplementedError


class PlainProducer(Producer):
    """Iterates on the thread that calls ``run``; is woken by another one.

    Attributes:
        source: What is iterated.
    """

    def __init__(self, source: Iterator[Any], credit: int) -> None:
        super().__init__(credit)
        self.source = source
        self._context = copy_context()  # that of the call: its steps run in it, too
        self._changed = threading.Condition()

    def wake(self) -> None:
        """Wake the thread that waits for credit."""
        with self._changed:
            self._changed.notify()

    def run(self, put: Put, flush: Callable[[], None], lane: Any, seq: int) -> bool:
        """Iterate; at the end, whatever the reason, close what is iterated.

        Args:
            put: Reports an item.
            flush: Sends what was reported; called before it waits.
            lane: Its ``inside`` is the number ``seq`` while the user's code runs, which may be
                interrupted, and else 0.
            seq: Number of the work.

        Returns:
            Whether it came to its end, and was not closed.
        """
        try:
            while self._may_go_on(flush):
                lane.inside = seq
                item = self._context.run(next, self.source, _END)
                lane.inside = 0
                if item is _END:
                    return True
                put(item)
                self.yielded += 1
                del item  # it must not live on while nothing is wanted
            return False
        finally:
            lane.inside = 0  # first of all: no call until here
            close = getattr(self.source, "close", None)
            if close is not None:
                self._context.run(close)

    def _may_go_on(self, flush: Callable[[], None]) -> bool:
        """Wait for credit; return whether there is some, and False if it was closed."""
        if self.yielded >= self.credit and not self.closed:
            flush()
            with self._changed:
                self._changed.wait_for(lambda: self.closed or self.yielded < self.credit)
        return not self.closed


class CoroutineProducer(Producer):
    """Iterates in a task; is woken on the same thread.

    Attributes:
        source: What is iterated.
    """

    def __init__(self, source: AsyncIterator[Any], credit: int) -> None:
        super().__init__(credit)
        self.source = source
        self.context = copy_context()  # that of the call: its task runs in it, too
        self._waiter: asyncio.Future[None] | None = None

    def wake(self) -> None:
        """Wake the task that waits for credit."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def run(self, put: Put) -> None:
        """Iterate; at the end, whatever the reason, close what is iterated.

        Raises:
            asyncio.CancelledError: It was closed.
        """
        from asyncio import CancelledError

        step = type(self.source).__anext__
        try:
            while not self.closed:
                if self.yielded >= self.credit:
                    await self._wait()
                    continue
                try:
                    item = await step(self.source)
                except StopAsyncIteration:
                    return
                put(item)
                self.yielded += 1
            raise CancelledError
        finally:
            close = getattr(self.source, "aclose", None)
            if close is not None:
                await close()

    async def _wait(self) -> None:
        from asyncio import get_running_loop

        self._waiter = get_running_loop().create_future()
        await self._waiter


class Producers:
    """The streams that run in a worker, by the ids of their works."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[int, Producer] = {}
        # Works that were to be closed and were not here: one may be about to come.
        self._late: deque[int] = deque(maxlen=1024)

    def add(self, work_id: int, producer: Producer) -> None:
        """Let a stream be found. It is closed at once if that was asked for before."""
        with self._lock:
            self._running[work_id] = producer
            if work_id in self._late:
                producer.closed = True

    def remove(self, work_id: int) -> None:
        """Forget a stream that has ended."""
        with self._lock:
            self._running.pop(work_id, None)

    def credit(self, work_id: int, count: int) -> None:
        """Let a stream yield so many items. It may have ended."""
        with self._lock:
            producer = self._running.get(work_id)
        if producer is not None:
            producer.credit = max(producer.credit, count)
            producer.wake()

    def close(self, work_id: int) -> bool:
        """End a stream at its next yield; return whether there is one."""
        with self._lock:
            producer = self._running.get(work_id)
            if producer is None:
                self._late.append(work_id)
                return False
        producer.closed = True
        producer.wake()
        return True


@runs(1)
def produce(credit: int, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Producer:
    """Call a work that is a stream. This is what runs in a worker.

    Args:
        credit: How many items it may yield at first.
        work: The user's function.
        *args: Its positional arguments.
        **kwargs: Its keyword arguments.

    Raises:
        TypeError: What it returns cannot be iterated.
        BaseException: What it raises.
    """
    made: Any = work(*args, **kwargs)
    kind: Any = type(made)
    if hasattr(kind, "__aiter__"):
        return CoroutineProducer(aiter(made), credit)
    if hasattr(kind, "__iter__"):
        return PlainProducer(iter(made), credit)
    if isinstance(made, CoroutineType):
        made.close()  # no "was never awaited" on top of the error
    raise TypeError(
        f"a stream must be iterated, and {getattr(work, '__qualname__', work)} has returned "
        f"{kind.__qualname__}: pass a generator function, or use submit()"
    )
