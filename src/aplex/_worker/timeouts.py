"""What runs in a worker around a coroutine work, or an asynchronous stream, with a time limit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from aplex._common.names import described, run_by, runs
from aplex._worker.producers import CoroutineProducer, Producer, Put, produce


@runs(1)
async def run_within(seconds: float, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Await a coroutine function; cancel it after that time, as ``asyncio.timeout`` does.

    Raises:
        TimeoutError: It was cancelled.
        BaseException: What it raises.
    """
    scope = asyncio.timeout(seconds)
    try:
        async with scope:
            return await work(*args, **kwargs)
    except TimeoutError as error:
        if scope.expired() and not error.args:
            raise _too_long(run_by(work, args), seconds) from error.__cause__
        raise


@runs(2)
def produce_within(
    seconds: float, credit: int, work: Callable[..., Any], /, *args: Any, **kwargs: Any
) -> Producer:
    """Call a work that is an asynchronous stream, which is to end within that time.

    Raises:
        TypeError: What it returns cannot be iterated.
        BaseException: What it raises.
    """
    producer = produce(credit, work, *args, **kwargs)
    if isinstance(producer, CoroutineProducer):
        return TimedProducer(producer.source, credit, seconds, work)
    return producer  # a marked callable that has returned something else: nothing runs it


class TimedProducer(CoroutineProducer):
    """Iterates for so long at most, waiting for its reader included."""

    def __init__(
        self, source: AsyncIterator[Any], credit: int, seconds: float, work: Callable[..., Any]
    ) -> None:
        super().__init__(source, credit)
        self._seconds = seconds
        self._work = work

    async def run(self, put: Put) -> None:
        """Iterate; then close what is iterated.

        Raises:
            TimeoutError: Its time was over.
            asyncio.CancelledError: It was closed.
        """
        scope = asyncio.timeout(self._seconds)
        try:
            async with scope:
                await super().run(put)
        except TimeoutError as error:
            if scope.expired() and not error.args:
                raise _too_long(self._work, self._seconds) from error.__cause__
            raise


def _too_long(work: Callable[..., Any], seconds: float) -> TimeoutError:
    return TimeoutError(f"{described(work)} did not end within {seconds:g} s (time_limit)")
