"""The window of a ``map``: the works that are submitted and not handed over yet.

It is filled when ``map`` is called. After that one input is pulled for each result that was
handed over, so an endless input needs no more memory than the window.

With chunks the window holds chunks of items, see `_chunks`. A `GrowingWindow` decides on
the size of each by how long the former ones took, and starts small:

* the call of ``map`` sends `AHEAD` chunks of one item for each worker, and so many chunks
  are on their way as long as results come quickly;
* where the next result is not there after `PATIENCE`, works take long, and the window is
  filled up, so that no worker stands idle behind the first result.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any, ClassVar, Final

from aplex._chunk_sizes import MOST, ChunkSizes
from aplex._chunks import Chunk, Columns

Call = tuple[Any, ...]
Submit = Callable[[Call], Any]
Take = Callable[[int], list[Any]]

PATIENCE: Final = 0.001
"""Seconds for which a growing window waits for a result before it takes more input, and
takes input before it looks whether the result is there."""
AHEAD: Final = 4
"""Chunks in a growing window, for each worker, while results come quickly."""


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


def chunked(iterables: tuple[Iterable[Any], ...], size: int) -> Iterator[tuple[Columns]]:
    """Group the items of an input into calls of a chunk function."""
    take = taker(iterables)
    while columns := take(size):
        yield (columns,)


def length_of(iterables: tuple[Iterable[Any], ...]) -> int | None:
    """Return how many items an input has at most, if that is known."""
    return min((len(each) for each in iterables if isinstance(each, Sized)), default=None)


class Window:
    """The works of one ``map`` that are submitted and not handed over yet.

    Attributes:
        grows: Whether it may be worth while to ask ``may_grow``.

    Args:
        submit: Called with the arguments of a call; returns a future.
        calls: The input.
        size: How many works may be in the window.
    """

    grows: ClassVar[bool] = False

    def __init__(self, submit: Submit, calls: Iterator[Call], size: int) -> None:
        self._submit = submit
        self._calls = calls
        self._size = size
        self._futures: deque[Any] = deque()

    def first(self) -> Any:
        """Fill the window; return the future of the next result, or None at the end."""
        self.fill()
        return self._futures[0] if self._futures else None

    def fill(self) -> None:
        """Submit works until the window is full, or the input ends."""
        futures, submit = self._futures, self._submit
        while len(futures) < self._size:
            for call in self._calls:
                futures.append(submit(call))
                break
            else:
                self._size = 0  # ask the input no more

    def may_grow(self) -> bool:
        """Whether ``grow`` could do anything."""
        return False

    def grow(self) -> None:
        """Take more input for a while, as the next result is not there yet."""

    def hand_over(self, value: Any) -> None:  # noqa: ARG002
        """Drop the first future: its result was taken."""
        self._futures.popleft()

    def cancel(self) -> None:
        """Cancel what is left, and take no more input."""
        self._size = 0
        self._calls = iter(())
        while self._futures:
            self._futures.pop().cancel()


class GrowingWindow(Window):
    """A window of chunks whose sizes follow the durations of the works.

    It holds at most ``works`` chunks, and never more than ``bound`` items are taken from
    the input and not handed over; of coroutines that wait, ``works`` items.

    Args:
        submit: Called with the arguments of a call of a chunk function; returns a future.
        take: Takes items from the input.
        sizes: Decides on the sizes of chunks.
        workers: How many run chunks at the same time.
        works: How many works they may have aboard.
    """

    grows: ClassVar[bool] = True

    def __init__(
        self, submit: Submit, take: Take, sizes: ChunkSizes, workers: int, works: int
    ) -> None:
        self._least = AHEAD * workers  # chunks
        super().__init__(submit, iter(()), self._least)
        self._take = take
        self._sizes = sizes
        self._works = max(works, self._least)
        self.bound = max(self._works, self._least * MOST)
        self._items: deque[int] = deque()  # of each chunk
        self._total = 0  # of items
        self._handed_over = 0  # chunks

    def fill(self) -> None:
        """Submit chunks until the window is full, or the input ends."""
        while len(self._futures) < self._size and self._has_place():
            self._send()

    def may_grow(self) -> bool:
        """Whether it could be bigger, and has not come to the end of the input."""
        return 0 < self._size < self._works and self._has_place()

    def grow(self) -> None:
        """Take more input for a while, as the next result is not there yet."""
        until = time.monotonic() + PATIENCE
        while self.may_grow():
            self._size += 1
            self.fill()
            if time.monotonic() > until:
                return

    def hand_over(self, value: Chunk) -> None:
        """Drop the first future; learn from how long its chunk took."""
        super().hand_over(value)
        items = self._items.popleft()
        self._total -= items
        if value.error is None:
            self._sizes.learn(items, value.seconds, value.waited)
        # Get small again, if works are short: the fewer chunks are on their way, the sooner
        # it is known how long they take. In two steps one, so that workers do not run dry.
        self._handed_over += 1
        if self._size > self._least and self._sizes.next() > 1 and self._handed_over % 2:
            self._size -= 1

    def cancel(self) -> None:
        """Cancel what is left, and take no more input."""
        super().cancel()
        self._take = _nothing

    def _has_place(self) -> bool:
        """Whether one more chunk would not be too many items."""
        bound = self._works if self._sizes.waiting else self.bound
        return self._total + self._sizes.next() <= bound

    def _send(self) -> None:
        columns = self._take(self._sizes.next())
        if not columns:
            self._size = 0  # ask the input no more
            return
        self._futures.append(self._submit((columns,)))
        items = len(columns[0])
        self._items.append(items)
        self._total += items
        self._sizes.taken(items)


def _nothing(_count: int) -> list[Any]:
    return []
