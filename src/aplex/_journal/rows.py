"""The input of a map that resumes: the iterables of the user, without the items that are done.

A map takes one item from each iterable in turn. The first *column* takes a whole row from the
user's iterables and leaves the rest of it to the others.
"""

from __future__ import annotations

import operator
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

Row = tuple[Any, ...]
Admit = Callable[[Row], bool]


class Rest(Iterator[Any]):
    """A column after the first."""

    def __init__(self, number: int) -> None:
        self._number = number
        self.row: Row = ()

    def __next__(self) -> Any:
        """Return the item of the row that the first column has taken."""
        return self.row[self._number]


class First(Iterator[Any]):
    """The first column.

    Args:
        iterables: Those of the user.
        admit: Says whether a row is to be run; called once for each, in their order.
        rest: The other columns.
        left_out: How many rows will probably not be run, for the progress.
    """

    def __init__(
        self, iterables: tuple[Any, ...], admit: Admit, rest: list[Rest], left_out: int
    ) -> None:
        self._hint = min((operator.length_hint(each, 0) for each in iterables), default=0)
        self._rows = zip(*iterables, strict=False)
        self._admit = admit
        self._rest = rest
        self._left_out = left_out

    def __length_hint__(self) -> int:
        """Return about how many rows will be run."""
        return max(0, self._hint - self._left_out) or NotImplemented

    def __next__(self) -> Any:
        """Take the next row that is to be run."""
        for row in self._rows:
            if self._admit(row):
                for column in self._rest:
                    column.row = row
                return row[0]
        raise StopIteration


class AsyncFirst(AsyncIterator[Any]):
    """The first column, where some of the iterables are asynchronous."""

    def __init__(self, iterables: tuple[Any, ...], admit: Admit, rest: list[Rest]) -> None:
        self._sources = [
            each.__aiter__() if hasattr(each, "__aiter__") else iter(each) for each in iterables
        ]
        self._admit = admit
        self._rest = rest

    async def __anext__(self) -> Any:
        """Take the next row that is to be run."""
        while True:
            row = await self._row()
            if self._admit(row):
                for column in self._rest:
                    column.row = row
                return row[0]

    async def _row(self) -> Row:
        row: list[Any] = []
        for source in self._sources:
            try:
                taken = await anext(source) if hasattr(source, "__anext__") else next(source)
            except StopIteration:
                raise StopAsyncIteration from None
            row.append(taken)
        return tuple(row)

    async def aclose(self) -> None:
        """Close those that can be closed."""
        for source in self._sources:
            close = getattr(source, "aclose", None)
            if close is not None:
                await close()


def columns(iterables: tuple[Any, ...], admit: Admit, left_out: int) -> tuple[Any, ...]:
    """Return what stands for iterables of the user."""
    rest = [Rest(number) for number in range(1, len(iterables))]
    first: Any
    if any(hasattr(each, "__aiter__") and not hasattr(each, "__iter__") for each in iterables):
        first = AsyncFirst(iterables, admit, rest)
    else:
        first = First(iterables, admit, rest, left_out)
    return (first, *rest)
