"""The window of a ``map``: the works that are submitted and not handed over yet.

It is filled when ``map`` is called. After that one input is pulled for each result that was
handed over, so an endless input needs no more memory than the window.

* `Window` - each item is a work of its own, in order. The most usual, so kept short.
* `ChunkWindow` - chunks of items, see `_worker.chunks`. In any `_map.order`, from any `_map.input`.
* `GrowingWindow` - decides on the size of each chunk by how long the former ones took, and
  starts small: the call of ``map`` sends `AHEAD` chunks of one item for each worker, and so
  many chunks are on their way as long as results come quickly. Where the next result is not
  there after `PATIENCE`, works take long, and the window is filled up, so that no worker
  stands idle behind the first result.

Nothing here waits: a face (`_map.results`) waits for the future that ``first`` returns.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Final

from aplex._map.input import Input
from aplex._map.order import InOrder, give_up
from aplex._map.sizes import MOST, ChunkSizes

Submit = Callable[[Any], Any]
Collect = Callable[[Any], Any]

PATIENCE: Final = 0.001
"""Seconds for which a growing window waits for a result before it takes more input, and
takes input before it looks whether the result is there."""
TOGETHER: Final = 64
"""Works that are submitted together when so many results have left a window: they travel in one
frame. Of a small window it is a quarter."""
AHEAD: Final = 4
"""Chunks in a growing window, for each worker, while results come quickly."""


class Window:
    """The works of one ``map`` that are submitted and not handed over yet, one for each item.

    Attributes:
        grows: Whether it may be worth while to ask ``may_grow``.
        plain: Whether ``first`` returns the future of the next result, whose result that is.
            If not, ask ``is_bell`` when it is done, and have ``collect`` read it.

    Args:
        submit: Called with the arguments of a call; returns a future.
        calls: The input.
        size: How many works may be in the window.
    """

    grows: ClassVar[bool] = False
    plain = True

    def __init__(self, submit: Submit, calls: Iterator[Any], size: int) -> None:
        self._submit = submit
        self._calls = calls
        self._size = size
        self._low = size - max(1, min(TOGETHER, size // 4))
        self._futures: deque[Any] = deque()

    def first(self) -> Any:
        """Fill the window if it is low; return what to wait for, or None at the end."""
        if len(self._futures) <= self._low:
            # An input that is slow must not keep back results that are there.
            self._fill_until(time.monotonic() + PATIENCE)
        return self._futures[0] if self._futures else None

    def fill(self) -> None:
        """Submit works until the window is full, or the input ends."""
        self._fill_until(float("inf"))

    def _fill_until(self, until: float) -> None:
        """Do so, but not beyond a monotonic time."""
        futures, submit = self._futures, self._submit
        while len(futures) < self._size:
            for call in self._calls:
                futures.append(submit(call))
                break
            else:
                self._size = 0  # ask the input no more
            if time.monotonic() > until:
                return

    @property
    def open(self) -> bool:
        """Whether more input may be taken."""
        return self._size > 0

    def read_out(self) -> None:
        """Submit all that is left of the input, without a bound."""
        if self.open:
            self._size = sys.maxsize
            self.fill()

    async def wait_for_input(self) -> None:
        """Wait until an asynchronous input has come to its end, after ``read_out``."""

    def may_grow(self) -> bool:
        """Whether ``grow`` could do anything."""
        return False

    def grow(self) -> None:
        """Take more input for a while, as the next result is not there yet."""

    def is_bell(self, future: Any) -> bool:  # noqa: ARG002
        """Whether what was waited for is no work: ask for the first one again."""
        return False

    def collect(self, future: Any) -> Any:
        """Return the result of a work that is done."""
        return future.result()

    def hand_over(self, value: Any) -> None:  # noqa: ARG002
        """Drop the next work: its result was taken."""
        if self._futures:  # else a signal handler has closed the map just now
            self._futures.popleft()

    def cancel(self) -> None:
        """Cancel what is left, and take no more input."""
        self._size = 0
        self._calls = iter(())
        while self._futures:
            give_up(self._futures.pop())

    async def aclose(self) -> None:
        """Close an asynchronous input. Call ``cancel`` first."""


class ChunkWindow(Window):
    """A window of chunks.

    Args:
        submit: Called with columns of items; returns a future.
        source: The input.
        line: Knows which work is the next.
        size: How many chunks may be in the window.
        chunksize: Items of each.
        collect: Reads the result of a future that is done. None: it is that of the future,
            and whoever waits for a result may just wait for the future.
    """

    def __init__(
        self,
        submit: Submit,
        source: Input,
        line: InOrder,
        size: int,
        chunksize: int = 1,
        collect: Collect | None = None,
    ) -> None:
        super().__init__(submit, iter(()), size)
        self._source = source
        self._line = line
        self._chunksize = chunksize
        self._held = 0  # chunks that were handed to the face, but not yet to its user
        self.plain = collect is None and type(line) is InOrder
        if collect is not None:
            self.collect = collect  # type: ignore[method-assign, assignment]
        self.is_bell = line.is_bell  # type: ignore[method-assign]
        self.ring = line.ring

    def first(self) -> Any:
        """Fill the window; return what to wait for, or None at the end."""
        self._held = 0
        self._source.fill(self)
        return self._line.next(more=self._source.open)

    def fill(self) -> None:
        """Submit works until the window is full, or the input ends."""
        self._source.fill(self)

    def wants(self) -> int:
        """Return how many items may be taken from the input now, as the next chunk."""
        return self._chunksize if len(self._line) + self._held < self._size else 0

    def put(self, columns: list[Any]) -> None:
        """Submit a chunk of items that were taken."""
        self._line.add(self._submit(columns))

    def end(self) -> None:
        """Take no more input."""
        self._size = 0

    def hand_over(self, value: Any) -> None:  # noqa: ARG002
        """Drop the next work: its result was taken, and ``first`` is called after its items."""
        self._line.drop()
        self._held = 1

    def cancel(self) -> None:
        """Cancel what is left, and take no more input."""
        self._size = 0
        self._source.close()
        self._line.cancel()

    async def wait_for_input(self) -> None:
        """Wait until an asynchronous input has come to its end, after ``read_out``."""
        await self._source.wait()

    async def aclose(self) -> None:
        """Close an asynchronous input. Call ``cancel`` first."""
        await self._source.aclose()


class GrowingWindow(ChunkWindow):
    """A window of chunks whose sizes follow the durations of the works.

    It holds at most ``works`` chunks, and never more than ``bound`` items are taken from
    the input and not handed over; of coroutines that wait, ``works`` items.

    Args:
        submit: Called with columns of items; returns a future.
        source: The input.
        line: Knows which work is the next.
        sizes: Decides on the sizes of chunks.
        workers: How many run chunks at the same time.
        works: How many works they may have in flight.
        buffersize: Another bound of the items, whatever the works are. The sizes must
            respect it, see `most_of`.
        collect: As for `ChunkWindow`.
    """

    grows: ClassVar[bool] = True

    def __init__(
        self,
        submit: Submit,
        source: Input,
        line: InOrder,
        sizes: ChunkSizes,
        workers: int,
        works: int,
        buffersize: int | None = None,
        collect: Collect | None = None,
    ) -> None:
        self._least = AHEAD * workers  # chunks
        super().__init__(submit, source, line, self._least, collect=collect)
        self._sizes = sizes
        self._works = buffersize or max(works, self._least)
        self.bound = buffersize or max(self._works, self._least * MOST)
        self._total = 0  # of items
        self._held_items = 0  # of these, the ones of the chunk that is held
        self._handed_over = 0  # chunks

    def first(self) -> Any:
        """Fill the window; return what to wait for, or None at the end."""
        self._total -= self._held_items
        self._held_items = 0
        return super().first()

    def may_grow(self) -> bool:
        """Whether it could be bigger, and has not come to the end of the input."""
        return 0 < self._size < self._works and not self._source.busy and self._room() > 0

    def read_out(self) -> None:
        """Submit all that is left of the input, without a bound."""
        self._works = self.bound = sys.maxsize
        super().read_out()

    def grow(self) -> None:
        """Take more input for a while, as the next result is not there yet."""
        until = time.monotonic() + PATIENCE
        while self.may_grow():
            self._size += 1
            self.fill()
            if time.monotonic() > until:
                return

    def hand_over(self, value: Any) -> None:
        """Drop the next work; learn from how long its chunk took."""
        super().hand_over(value)
        items = self._held_items = len(value.values)
        if value.error is None:
            self._sizes.learn(items, value.seconds, value.waited)
        # Get small again, if works are short: the fewer chunks are on their way, the sooner
        # it is known how long they take. In two steps one, so that workers do not run dry.
        self._handed_over += 1
        if self._size > self._least and self._sizes.next() > 1 and self._handed_over % 2:
            self._size -= 1

    def wants(self) -> int:
        """Return how many items may be taken from the input now, as the next chunk."""
        return self._room() if len(self._line) + self._held < self._size else 0

    def put(self, columns: list[Any]) -> None:
        """Submit a chunk of items that were taken."""
        super().put(columns)
        items = len(columns[0])
        self._total += items
        self._sizes.taken(items)

    def _room(self) -> int:
        """Return the size of the next chunk; 0 if it would be too many items."""
        bound = self._works if self._sizes.waiting else self.bound
        size = self._sizes.next()
        if self._total + size <= bound:
            return size
        return 0 if self._total else bound


def most_of(buffersize: int | None, workers: int) -> int:
    """Return how many items a chunk has at most, so that all workers have some to do."""
    return MOST if buffersize is None else max(1, buffersize // (AHEAD * workers))
