"""The input of a ``map``: iterables, or asynchronous iterables, from which a window is filled.

Items are taken as columns, a list for each parameter of the work.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterable, Callable, Iterable, Sized
from typing import Any, ClassVar, Final, Protocol

Take = Callable[[int], list[Any]]
Iterables = tuple[Iterable[Any] | AsyncIterable[Any], ...]

HURRY: Final = 0.001
"""Seconds for which items of a slow input wait for the others of a chunk that adapts."""


class Filled(Protocol):
    """What is filled from an input: a window."""

    grows: ClassVar[bool]  # whether its chunks adapt: smaller ones may be put into it

    def wants(self) -> int:
        """Return how many items it wants as its next chunk now."""
        ...

    def put(self, columns: list[Any]) -> None:
        """Take a chunk of so many items, or fewer."""
        ...

    def end(self) -> None:
        """Learn that the input has ended."""
        ...

    def ring(self) -> None:
        """Wake who waits."""
        ...


def is_asynchronous(iterable: object) -> bool:
    """Whether something can be iterated by ``async for`` only."""
    return hasattr(iterable, "__aiter__") and not hasattr(iterable, "__iter__")


def length_of(iterables: Iterables) -> int | None:
    """Return how many items an input has at most, if that is known."""
    return min((len(each) for each in iterables if isinstance(each, Sized)), default=None)


def taker(iterables: tuple[Iterable[Any], ...]) -> Take:
    """Return what takes so many items from an input, as columns; none at its end."""
    if len(iterables) == 1:
        items = iter(iterables[0])

        def take_column(count: int) -> list[Any]:
            column = list(itertools.islice(items, count))
            return [column] if column else []

        return take_column
    rows = zip(*iterables, strict=False)
    return lambda count: list(zip(*itertools.islice(rows, count), strict=True))


class Input:
    """Iterables: whoever wants items takes them."""

    busy = False
    """Whether items are being taken while others do something else."""

    def __init__(self, iterables: tuple[Iterable[Any], ...]) -> None:
        self._taker: Take | None = taker(iterables)

    @property
    def open(self) -> bool:
        """Whether it has not come to its end, and was not closed."""
        return self._taker is not None

    def fill(self, window: Filled) -> None:
        """Put chunks into a window as long as it wants any."""
        while self._taker is not None and (count := window.wants()):
            columns = self._taker(count)
            if columns:
                window.put(columns)
            else:
                self._taker = None  # ask the input no more
                window.end()

    def close(self) -> None:
        """Take no more. An iterator nobody else refers to is gone then."""
        self._taker = None

    async def wait(self) -> None:
        """Wait until no items are being taken; raise what the input has raised."""

    async def aclose(self) -> None:
        """The same."""
        self.close()


class AsyncInput(Input):
    """Iterables of which at least one is asynchronous. Used on one event loop.

    A task takes the items, while who iterates the map may wait for results. It ends when
    the window is full, and begins again when there is room: a map that nobody goes on with
    leaves no task that waits.
    """

    def __init__(self, iterables: Iterables) -> None:
        self._sources: list[Any] = [_iterator(each) for each in iterables]
        self._open = True
        self._task: asyncio.Task[None] | None = None
        self._error: BaseException | None = None
        self._rows: list[list[Any]] = []  # taken, and not in the window yet
        self._timer: asyncio.TimerHandle | None = None

    @property
    def open(self) -> bool:
        """Whether it has not come to its end, and was not closed."""
        return self._open

    @property
    def busy(self) -> bool:  # type: ignore[override]
        """Whether an item is waited for."""
        return self._task is not None

    def fill(self, window: Filled) -> None:
        """Have the window filled; raise what the input has raised."""
        error, self._error = self._error, None
        if error is not None:
            raise error
        if self._open and self._task is None and window.wants():
            self._task = asyncio.get_running_loop().create_task(self._fill(window))

    async def _fill(self, window: Filled) -> None:
        try:
            while self._open and (count := window.wants()):
                await self._take(count, window)
        except BaseException as error:
            if not self._open:  # it was closed, and this is what came of it
                raise
            self._fail(error)
        finally:
            self._task = None
            window.ring()

    async def _take(self, count: int, window: Filled) -> None:
        """Take so many items, unless the input ends."""
        try:
            for _ in range(count):
                row = await self._row()
                if row is None:
                    self._open = False
                    break
                self._rows.append(row)
                if self._timer is None and window.grows and count > 1:
                    loop = asyncio.get_running_loop()
                    self._timer = loop.call_later(HURRY, self._hurry, window)
        finally:
            self._stop_timer()
        self._put(window)
        if not self._open:
            window.end()

    async def _row(self) -> list[Any] | None:
        """Take one item from each of the iterables; None at the end of one of them."""
        row: list[Any] = []
        for source in self._sources:
            try:
                row.append(await anext(source) if _is_async_iterator(source) else next(source))
            except (StopIteration, StopAsyncIteration):
                return None
        return row or None

    def _put(self, window: Filled) -> None:
        rows, self._rows = self._rows, []
        if rows:
            window.put([list(column) for column in zip(*rows, strict=True)])

    def _hurry(self, window: Filled) -> None:
        """Put what there is into the window: the input is slow."""
        self._timer = None
        try:
            self._put(window)
        except BaseException as error:  # noqa: BLE001 - ``fill`` raises it
            self._fail(error)
            window.ring()

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _fail(self, error: BaseException) -> None:
        self._open = False
        self._error = error

    def close(self) -> None:
        """Take no more. A generator that waits for something is cancelled there."""
        self._open = False
        self._rows.clear()
        if self._task is not None:
            self._task.cancel()

    async def wait(self) -> None:
        """Wait until no items are being taken; raise what the input has raised."""
        if self._task is not None:
            await asyncio.wait((self._task,))
        error, self._error = self._error, None
        if error is not None:
            raise error

    async def aclose(self) -> None:
        """Take no more, and close asynchronous iterators: their cleanup has run then."""
        task = self._task
        self.close()
        if task is not None:
            await asyncio.wait((task,))
            if not task.cancelled():
                task.result()
        sources, self._sources = self._sources, []
        for source in sources:
            close = getattr(source, "aclose", None)
            if close is not None:
                await close()


def _iterator(iterable: Any) -> Any:
    return aiter(iterable) if is_asynchronous(iterable) else iter(iterable)


def _is_async_iterator(source: Any) -> bool:
    return hasattr(source, "__anext__")
