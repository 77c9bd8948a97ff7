"""``map``: the two faces of the results of works over iterables.

All that is decided, is decided by a `Window`; the faces only wait. Leaving early cancels
what is left.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from aplex._map.window import PATIENCE, Window
from aplex._worker.chunks import Chunk


def no_end(error: BaseException) -> RuntimeError:
    """Return what stands for an exception that would end a loop as if all were well."""
    return RuntimeError(f"the work raised {type(error).__name__}")


def _collected(window: Window, future: Any) -> Any:
    """Return the result of a work that is done."""
    try:
        return window.collect(future)
    except (StopIteration, StopAsyncIteration) as error:
        raise no_end(error) from error


class _Results:
    """What both iterators share.

    Args:
        window: What opens the window.
        deadline: On the clock of ``time.monotonic``; None: never.
        at_once: Whether to open the window now, and not when the first result is asked for.
    """

    unread: Any = None  # an `Unread`, to be told if nobody has iterated it
    where = ("", 0)
    bounded = False
    asynchronous = False
    needs_loop = False
    _begun = False

    def __init__(
        self, window: Callable[[], Window], deadline: float | None, *, at_once: bool = True
    ) -> None:
        self._open: Callable[[], Window] | None = window
        self._window = Window(lambda call: call, iter(()), 0)
        self._deadline = deadline
        self._begun = False
        if at_once:
            self._open_window()

    def _open_window(self) -> None:
        open_, self._open = self._open, None
        if open_ is not None:
            self._window = open_()
            try:
                self._window.fill()
            except BaseException:
                self._window.cancel()
                raise

    def _left(self) -> float | None:
        """Seconds until the deadline."""
        if self._deadline is None:
            return None
        return max(0.0, self._deadline - time.monotonic())

    def _close(self) -> None:
        self._begun = False
        self._open = None
        self._window.cancel()

    @property
    def is_unread(self) -> bool:
        """Whether no result was asked for, and input may be left."""
        return not self._begun and (self._open is not None or self._window.open)

    def read_out(self) -> None:
        """Submit what is left of the input."""
        try:
            self._open_window()
            self._window.read_out()
        except BaseException:
            self._close()
            raise

    async def read_all_out(self) -> None:
        """Submit what is left of the input, also of an asynchronous one."""
        self.read_out()

    def __del__(self) -> None:
        """Cancel what is left of a loop that was left. A map nobody iterated runs on."""
        if self._begun:
            self._close()
        elif self.unread is not None and self.is_unread:
            self.unread.drop(self)


class BlockingResults(_Results, Iterator[Any]):
    """Yields results."""

    def __next__(self) -> Any:
        """Wait for the next result.

        Raises:
            TimeoutError: The timeout of ``map`` has passed.
        """
        try:
            window = self._window
            self._begun = True
            future = window.first()
            if future is None:
                raise StopIteration  # noqa: TRY301
            if window.grows and window.may_grow():
                self._grow(future)
            if window.plain:
                try:
                    value = future.result(None if self._deadline is None else self._left())
                except StopIteration as error:
                    raise no_end(error) from error
            else:
                value = _collected(window, self._wait(future))
            window.hand_over(value)
        except BaseException:
            self._close()
            raise
        return value

    def _grow(self, future: Any) -> None:
        """Let the window grow while its first result is not there."""
        wait = PATIENCE
        while self._window.may_grow() and self._left() != 0 and not _comes(future, wait):
            self._window.grow()
            wait = 0.0

    def _wait(self, future: Any) -> Any:
        """Wait until it is known which work is the next, and until it is done; return it."""
        while True:
            if not _comes(future, self._left()):
                raise TimeoutError
            if not self._window.is_bell(future):
                return future
            future = self._window.first()
            if future is None:
                raise StopIteration
            if self._window.grows and self._window.may_grow():
                self._grow(future)

    def close(self) -> None:
        """Cancel what is left."""
        self._close()


def _comes(future: concurrent.futures.Future[Any], seconds: float | None) -> bool:
    """Wait for a future to be done; return whether it is."""
    try:
        future.exception(seconds)
    except concurrent.futures.TimeoutError:
        return False
    except concurrent.futures.CancelledError:
        pass
    return True


class BlockingChunks(BlockingResults):
    """Yields, for each chunk, the list of its values."""

    _error: BaseException | None = None

    def __init__(
        self, window: Callable[[], Window], deadline: float | None, *, at_once: bool = True
    ) -> None:
        super().__init__(window, deadline, at_once=at_once)
        self._values: list[Any] = []

    def __next__(self) -> Any:
        """Wait for the next chunk; after one with a failure, raise that."""
        error, self._error = self._error, None
        if error is not None:
            self._close()
            if isinstance(error, (StopIteration, StopAsyncIteration)):
                raise no_end(error) from error
            raise error
        chunk: Chunk = super().__next__()
        self._error = chunk.error
        self._values = chunk.values
        return chunk.values

    def close(self) -> None:
        """Cancel what is left; the values of the last chunk too."""
        super().close()
        self._error = None
        self._values.clear()


class FlatResults(itertools.chain[Any]):
    """The values of chunks, one by one: nothing of ours runs for each of them."""

    _chunks: BlockingChunks

    @classmethod
    def of(cls, chunks: BlockingChunks) -> FlatResults:
        """Return the values of these chunks."""
        results: Any = cls.from_iterable(chunks)
        results._chunks = chunks  # noqa: SLF001 - of this class
        return results  # type: ignore[no-any-return]

    def close(self) -> None:
        """Cancel what is left."""
        self._chunks.close()


class AwaitableResults(_Results, AsyncIterator[Any]):
    """Yields results, to ``async for``."""

    async def __anext__(self) -> Any:
        """Wait for the next result.

        Raises:
            TimeoutError: The timeout of ``map`` has passed.
        """
        try:
            if self._open is not None:
                self._open_window()
            window = self._window
            self._begun = True
            future = window.first()
            if future is None:
                raise StopAsyncIteration  # noqa: TRY301
            if window.grows and window.may_grow():
                await self._grow(future)
            if window.plain:
                if self._deadline is not None and not future.done():
                    await self._wait(future)
                try:
                    value = await future
                except StopAsyncIteration as error:
                    raise no_end(error) from error
            else:
                value = _collected(window, await self._next(future))
            window.hand_over(value)
        except BaseException:
            self._close()
            await self._window.aclose()
            raise
        return value

    async def _next(self, future: Any) -> Any:
        """Wait until it is known which work is the next, and until it is done; return it."""
        while True:
            await self._wait(future)
            if not self._window.is_bell(future):
                return future
            future = self._window.first()
            if future is None:
                raise StopAsyncIteration
            if self._window.grows and self._window.may_grow():
                await self._grow(future)

    async def _grow(self, future: asyncio.Future[Any]) -> None:
        """Let the window grow while its first result is not there."""
        if not future.done():
            await asyncio.wait((future,), timeout=PATIENCE)
        while self._window.may_grow() and self._left() != 0 and not future.done():
            self._window.grow()
            await asyncio.sleep(0)

    async def _wait(self, future: asyncio.Future[Any]) -> None:
        """Wait until the deadline at most.

        Not wait_for: it would wait for the work to end its cancellation first.
        """
        if not future.done():
            await asyncio.wait((future,), timeout=self._left())
            if not future.done():
                raise TimeoutError

    async def read_all_out(self) -> None:
        """Submit what is left of the input, also of an asynchronous one."""
        self.read_out()
        await self._window.wait_for_input()

    async def aclose(self) -> None:
        """Cancel what is left; close an asynchronous input."""
        self._close()
        await self._window.aclose()


class AwaitableChunks(AwaitableResults):
    """Yields the values of chunks, one by one."""

    _values: Iterator[Any] = iter(())
    _error: BaseException | None = None

    async def __anext__(self) -> Any:
        """Wait for the next value; after the values of a chunk with a failure, raise that."""
        while True:
            for value in self._values:
                return value
            error, self._error = self._error, None
            if error is not None:
                await super().aclose()
                if isinstance(error, (StopIteration, StopAsyncIteration)):
                    raise no_end(error) from error
                raise error
            chunk: Chunk = await super().__anext__()
            self._error = chunk.error
            self._values = iter(chunk.values)

    async def aclose(self) -> None:
        """Cancel what is left; the values of the last chunk too."""
        await super().aclose()
        self._error = None
        self._values = iter(())
