"""``map``: works over iterables, in order, within a bounded window.

The window is filled when ``map`` is called. After that one input is pulled for
each result that is handed over, so an endless input needs no more memory than
the window. Leaving early cancels what is left.

With ``chunksize`` > 1 the items of a chunk travel as one work; the items of a
chunk of coroutines run concurrently, each as a task of its own.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any

from aplex._pickling import decode_exception, encode_exception

if TYPE_CHECKING:
    from aplex.futures import AsyncioFuture, ConcurrentFuture

Submit = Callable[..., Any]
Call = tuple[Any, ...]


class Chunk:
    """The results of a chunk: values up to the first failure, and that failure."""

    __slots__ = ("_error", "values")

    def __init__(self, values: list[Any], error: BaseException | None) -> None:
        self.values = values
        self._error = error

    def __reduce__(self) -> tuple[Any, ...]:
        error = None if self._error is None else encode_exception(self._error)
        return _received_chunk, (self.values, error)

    def results(self) -> Iterator[Any]:
        """Yield the values, then raise the failure, if there was one."""
        yield from self.values
        if self._error is not None:
            raise self._error


def _received_chunk(values: list[Any], error: bytes | None) -> Chunk:
    return Chunk(values, None if error is None else decode_exception(error))


def run_plain_chunk(work: Callable[..., Any], calls: list[Call]) -> Chunk:
    """Run a function on each item, until one fails."""
    values: list[Any] = []
    try:
        for args in calls:
            values.append(work(*args))  # noqa: PERF401 - kept up to the failure
    except BaseException as error:  # noqa: BLE001 - raised again where its item is
        return Chunk(values, error)
    return Chunk(values, None)


async def run_coroutine_chunk(
    work: Callable[..., Coroutine[Any, Any, Any]], calls: list[Call]
) -> Chunk:
    """Run a coroutine function on all items at once; cancel the rest if one fails."""
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(_call(work, args)) for args in calls]
    values: list[Any] = []
    try:
        for task in tasks:
            values.append(await task)  # noqa: PERF401 - kept up to the failure
    except asyncio.CancelledError:
        if asyncio.current_task().cancelling():  # type: ignore[union-attr]
            raise
        return Chunk(values, asyncio.CancelledError())
    except BaseException as error:  # noqa: BLE001 - raised again where its item is
        return Chunk(values, error)
    finally:
        await _cancel(tasks[len(values) :])
    return Chunk(values, None)


async def _call(work: Callable[..., Coroutine[Any, Any, Any]], args: Call) -> Any:
    return await work(*args)


async def _cancel(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.gather(*tasks, return_exceptions=True)


class Window:
    """The works of one ``map`` that are submitted and not handed over yet."""

    def __init__(self, submit: Submit, calls: Iterator[Call], size: int) -> None:
        self._submit = submit
        self._calls = calls
        self._futures: deque[Any] = deque()
        try:
            for _ in range(size):
                if not self.pull():
                    break
        except BaseException:
            self.cancel()
            raise

    def pull(self) -> bool:
        """Take one more input and submit it; return False if there is none."""
        for args in self._calls:
            self._futures.append(self._submit(*args))
            return True
        return False

    def next(self) -> Any:
        """Return the future of the next result, or None at the end."""
        return self._futures[0] if self._futures else None

    def hand_over(self) -> None:
        """Drop the future whose result was taken."""
        self._futures.popleft()

    def cancel(self) -> None:
        """Cancel what is left."""
        while self._futures:
            self._futures.pop().cancel()


def chunked(calls: Iterator[Call], size: int) -> Iterator[tuple[list[Call]]]:
    """Group calls into calls of a chunk function."""
    while chunk := list(itertools.islice(calls, size)):
        yield (chunk,)


def blocking_results(window: Window, deadline: float | None) -> Iterator[Any]:
    """Yield results in order."""
    try:
        while (future := window.next()) is not None:
            value = _result(future, deadline)
            window.hand_over()
            del future
            yield value
            del value
            window.pull()
    finally:
        window.cancel()


def _result(future: ConcurrentFuture[Any], deadline: float | None) -> Any:
    if deadline is None:
        return future.result()
    return future.result(max(0.0, deadline - time.monotonic()))


async def awaitable_results(
    window: Window | Callable[[], Window], deadline: float | None
) -> AsyncIterator[Any]:
    """Yield results in order. A window that could not be opened before is opened now."""
    if not isinstance(window, Window):
        window = window()
    try:
        while (future := window.next()) is not None:
            value = await _awaited(future, deadline)
            window.hand_over()
            del future
            yield value
            del value
            window.pull()
    finally:
        window.cancel()


async def _awaited(future: AsyncioFuture[Any], deadline: float | None) -> Any:
    if deadline is None:
        return await future
    if future.done():
        return future.result()
    left = max(0.0, deadline - time.monotonic())
    # Not wait_for: it would wait for the work to end its cancellation first.
    done, _ = await asyncio.wait((future,), timeout=left)
    if not done:
        raise TimeoutError
    return future.result()


def flattened(chunks: Iterator[Chunk]) -> Iterator[Any]:
    """Yield the results of chunks, one by one."""
    try:
        for chunk in chunks:
            yield from chunk.results()
    finally:
        chunks.close()  # type: ignore[attr-defined]


async def aflattened(chunks: AsyncIterator[Chunk]) -> AsyncIterator[Any]:
    """Yield the results of chunks, one by one."""
    try:
        async for chunk in chunks:
            for value in chunk.results():
                yield value
    finally:
        await chunks.aclose()  # type: ignore[attr-defined]
