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
from typing import Any

from aplex._pickling import decode_exception, encode_exception
from aplex._worker import is_coroutine

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
        if isinstance(self._error, (StopIteration, StopAsyncIteration)):
            raise _no_end(self._error) from self._error
        if self._error is not None:
            raise self._error


def _received_chunk(values: list[Any], error: bytes | None) -> Chunk:
    return Chunk(values, None if error is None else decode_exception(error))


def run_plain_chunk(
    work: Callable[..., Any], calls: list[Call]
) -> Chunk | Coroutine[Any, Any, Chunk]:
    """Run a function on each item, until one fails.

    If it turns out to return coroutines, they run on the loop, as those of single works do.
    """
    values: list[Any] = []
    rest = iter(calls)
    try:
        for args in rest:
            value = work(*args)
            if is_coroutine(value):
                return _gathered(values, [value, *(_called(work, args) for args in rest)])
            values.append(value)
    except BaseException as error:  # noqa: BLE001 - raised again where its item is
        return Chunk(values, error)
    return Chunk(values, None)


async def run_coroutine_chunk(work: Callable[..., Any], calls: list[Call]) -> Chunk:
    """Run a coroutine function on all items at once; cancel the rest if one fails."""
    return await _gathered([], [_called(work, args) for args in calls])


async def _called(work: Callable[..., Any], args: Call) -> Any:
    made = work(*args)
    return await made if is_coroutine(made) else made


async def _gathered(values: list[Any], coroutines: list[Coroutine[Any, Any, Any]]) -> Chunk:
    """Run coroutines, each as a task; append their values to those given."""
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(coroutine) for coroutine in coroutines]
    done = 0
    try:
        for task in tasks:
            values.append(await task)
            done += 1
    except asyncio.CancelledError:
        if asyncio.current_task().cancelling():  # type: ignore[union-attr]
            raise
        return Chunk(values, asyncio.CancelledError())
    except BaseException as error:  # noqa: BLE001 - raised again where its item is
        return Chunk(values, error)
    finally:
        await _cancel(tasks[done:])
    return Chunk(values, None)


async def _cancel(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.gather(*tasks, return_exceptions=True)


def _no_end(error: BaseException) -> RuntimeError:
    """Return what stands for an exception that would end a loop as if all were well."""
    return RuntimeError(f"the work raised {type(error).__name__}")


class Window:
    """The works of one ``map`` that are submitted and not handed over yet.

    Args:
        submit: Called with the items of a call; returns a future.
        calls: The input.
        size: How many works may be in the window.
    """

    def __init__(self, submit: Submit, calls: Iterator[Call], size: int) -> None:
        self._submit = submit
        self._calls = calls
        self._room = size
        self._futures: deque[Any] = deque()
        try:
            self.fill()
        except BaseException:
            self.cancel()
            raise

    def fill(self) -> None:
        """Submit works until the window is full, or the input ends."""
        while self._room:
            for args in self._calls:
                self._futures.append(self._submit(*args))
                self._room -= 1
                break
            else:
                self._room = 0  # ask the input no more

    def first(self) -> Any:
        """Return the future of the next result, or None at the end."""
        return self._futures[0] if self._futures else None

    def hand_over(self) -> None:
        """Drop the first future: its result was taken."""
        self._futures.popleft()
        self._room += 1

    def cancel(self) -> None:
        """Cancel what is left, and take no more input."""
        self._room = 0
        self._calls = iter(())
        while self._futures:
            self._futures.pop().cancel()


def chunked(calls: Iterator[Call], size: int) -> Iterator[tuple[list[Call]]]:
    """Group calls into calls of a chunk function."""
    while chunk := list(itertools.islice(calls, size)):
        yield (chunk,)


class _Results:
    """What both iterators share.

    Args:
        window: The works; or, if it cannot be opened before the first result is
            asked for, what opens it.
        deadline: On the clock of ``time.monotonic``; None: never.
        chunked: Whether each work yields a `Chunk`.
    """

    def __init__(
        self, window: Window | Callable[[], Window], deadline: float | None, *, chunked: bool
    ) -> None:
        self._opened = window
        self._deadline = deadline
        self._chunked = chunked
        self._chunk: Iterator[Any] = iter(())
        self._begun = False
        self._closed = False

    def _window(self) -> Window:
        """Open the window, or make up for what was handed over since the last time."""
        if not isinstance(self._opened, Window):
            self._opened = self._opened()
        self._opened.fill()
        self._begun = True
        return self._opened

    def _left(self) -> float | None:
        """Seconds until the deadline."""
        if self._deadline is None:
            return None
        return max(0.0, self._deadline - time.monotonic())

    def _close(self) -> None:
        self._closed = True
        self._chunk = iter(())
        if isinstance(self._opened, Window):
            self._opened.cancel()

    def __del__(self) -> None:
        """Cancel what is left of a loop that was left. A map nobody iterated runs on."""
        if self._begun and not self._closed:
            self._close()


class BlockingResults(_Results, Iterator[Any]):
    """Yields results in order."""

    def __next__(self) -> Any:
        """Wait for the next result.

        Raises:
            TimeoutError: The timeout of ``map`` has passed.
        """
        try:
            while not self._closed:
                for value in self._chunk:
                    return value
                value = self._next()
                if not self._chunked:
                    return value
                self._chunk = value.results()
        except BaseException:
            self._close()
            raise
        raise StopIteration

    def _next(self) -> Any:
        future = self._window().first()
        if future is None:
            raise StopIteration
        try:
            value = future.result(self._left())
        except StopIteration as error:
            raise _no_end(error) from error
        self._window().hand_over()
        return value

    def close(self) -> None:
        """Cancel what is left."""
        self._close()


class AwaitableResults(_Results, AsyncIterator[Any]):
    """Yields results in order, to ``async for``."""

    async def __anext__(self) -> Any:
        """Wait for the next result.

        Raises:
            TimeoutError: The timeout of ``map`` has passed.
        """
        try:
            while not self._closed:
                for value in self._chunk:
                    return value
                value = await self._next()
                if not self._chunked:
                    return value
                self._chunk = value.results()
        except BaseException:
            self._close()
            raise
        raise StopAsyncIteration

    async def _next(self) -> Any:
        future = self._window().first()
        if future is None:
            raise StopAsyncIteration
        if self._deadline is not None and not future.done():
            # Not wait_for: it would wait for the work to end its cancellation first.
            await asyncio.wait((future,), timeout=self._left())
            if not future.done():
                raise TimeoutError
        try:
            value = await future
        except StopAsyncIteration as error:
            raise _no_end(error) from error
        self._window().hand_over()
        return value

    async def aclose(self) -> None:
        """Cancel what is left."""
        self._close()
