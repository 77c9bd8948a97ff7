"""Drives a run: hands items to the workers, and what became of them to the sink.

All on one event loop. It knows no file and no process: it is given what submits, reads and writes.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from aplex._cli.map.items import Item
from aplex._cli.map.lines import End, record
from aplex._cli.map.settings import Bounds, Settings
from aplex._cli.map.sink import Entry
from aplex._map.sizes import ChunkSizes
from aplex.exceptions import BrokenPoolError, WorkQuarantinedError

if TYPE_CHECKING:
    from aplex._worker.chunks_measured import MeasuredChunk

FAILED, HALTED, BROKEN = 1, 3, 4
"""Exit codes."""


class Puts(Protocol):
    """Where entries go."""

    def put(self, entry: Entry, /) -> None:
        """Have an entry written."""


class Driver:
    """One run.

    Attributes:
        done: Items that have ended.
        failed: Those of them that have failed.
        ended: Whether the input has.
        stopped: Whether the run stopped before its end.
        at_once: Whether what runs is not to be waited for.
        code: The exit code, if something has decided on it.
        problem: Why it stopped, for the user.
        finished: Done when nothing is left to be done.

    Args:
        submit: Submits a chunk of values; returns the future of a `MeasuredChunk`.
        workers: How many there are.
        bounds: How much may be under way.
        settings: What was asked for.
        sink: Where entries go.
        record_items: Whether the journal has the items; None: there is no journal.
        again: Returns what the file of failed items gets of an item.
    """

    def __init__(
        self,
        submit: Callable[[list[Any]], asyncio.Future[MeasuredChunk]],
        workers: int,
        bounds: Bounds,
        settings: Settings,
        sink: Puts,
        *,
        record_items: bool | None,
        again: Callable[[Item], bytes],
    ) -> None:
        self.done = self.failed = 0
        self.ended = self.stopped = self.at_once = False
        self.code: int | None = None
        self.problem = ""
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._submit = submit
        self._bounds = bounds
        self._settings = settings
        self._sink = sink
        self._record_items = record_items
        self._again = again
        self._sizes = ChunkSizes(workers, None)
        self._ready: deque[Item] = deque()
        self._running: dict[asyncio.Future[Any], tuple[list[Item], float]] = {}
        self._in_flight = 0  # items
        self._held: dict[int, Entry] = {}  # that wait for those before them, by their places
        self._next = 0  # the place of the next one to be printed

    # -- events ---------------------------------------------------------------

    def take(self, items: list[Item]) -> None:
        """Take items from the input."""
        if not self.stopped:  # the thread may have been about to send them
            self._ready.extend(items)
        self._pump()

    def end_of_input(self, error: Exception | None) -> None:
        """Learn that no more items come."""
        self.ended = True
        if error is not None:
            self.stop(FAILED, f"the input cannot be read: {error}")
        self._pump()

    def stop(self, code: int | None, problem: str = "", *, now: bool = False) -> None:
        """Take no more items; wait for those that run, unless ``now``."""
        if self.code is None or now > self.at_once:
            self.code, self.problem = code, problem or self.problem
        self.stopped = True
        self._ready.clear()
        if now:
            self.at_once = True
            self._finish()
            return
        for future in list(self._running):  # what no worker has
            work = getattr(future, "_work", None)
            if work is not None and work.is_waiting:
                future.cancel()
        self._pump()

    # -- works ----------------------------------------------------------------

    def _pump(self) -> None:
        """Hand over as many items as workers may have."""
        while self._ready and not self.stopped and self._fits():
            self._send(self._chunk())
        if not self._running and not self._ready and (self.ended or self.stopped):
            self._finish()

    def _fits(self) -> bool:
        return self._in_flight < self._bounds.items and len(self._running) < self._bounds.works

    def _chunk(self) -> list[Item]:
        size = self._sizes.next() if self._bounds.chunk == "auto" else self._bounds.chunk
        size = min(size, self._bounds.items - self._in_flight, len(self._ready))
        items = [self._ready.popleft() for _ in range(size)]
        return [item for item in items if item.problem is None or self._refuse(item)]

    def _refuse(self, item: Item) -> bool:
        self._close(End(item, error=item.problem))
        return False

    def _send(self, items: list[Item]) -> None:
        if not items or self.stopped:
            return
        for item in items:
            item.attempts += 1
        try:
            future = self._submit([item.value for item in items])
        except BrokenPoolError as error:
            self.stop(BROKEN, f"the pool is broken: {error}", now=True)
            return
        self._running[future] = items, time.time()
        self._in_flight += len(items)
        future.add_done_callback(self._take_back)

    def _take_back(self, future: asyncio.Future[MeasuredChunk]) -> None:
        items, submitted = self._running.pop(future)
        self._in_flight -= len(items)
        error = None if future.cancelled() else future.exception()
        if self.finished.done() or future.cancelled():
            self._pump()
            return
        if isinstance(error, BrokenPoolError):
            self.stop(BROKEN, f"the pool is broken: {error}", now=True)
        elif error is not None:
            for item in items:
                if isinstance(error, WorkQuarantinedError):
                    item.attempts += len(error.deaths) - 1
                self._settle(End(item, None, error, submitted=submitted), final=True)
        else:
            self._take_in(items, submitted, future.result())
        self._pump()

    def _take_in(self, items: list[Item], submitted: float, chunk: MeasuredChunk) -> None:
        if self._bounds.chunk == "auto":
            self._sizes.learn(len(items), chunk.seconds, chunk.waited)
        for item, (value, error, wait, run) in zip(items, chunk.values, strict=True):
            self._settle(End(item, value, error, chunk.worker, submitted, wait, run))

    # -- ends -----------------------------------------------------------------

    def _settle(self, end: End, *, final: bool = False) -> None:
        """Have an item run again, or end."""
        dead = final and not isinstance(end.error, TimeoutError)  # the pool has seen to those
        retry = end.error is not None and end.item.attempts <= self._settings.retries
        if retry and not dead and not self.stopped:
            self._ready.appendleft(end.item)
        else:
            self._close(end)

    def _close(self, end: End) -> None:
        """Count an item, and hand on what is to be told of it."""
        if self.finished.done():
            return
        entry = Entry(self._settings.style.render(end))
        self.done += 1
        if end.error is not None:
            self.failed += 1
            entry.failure = self._settings.style.failure(end)
            entry.again = self._again(end.item)
        if self._record_items is not None:
            entry.record = record(end, with_item=self._record_items)
        self._put(end.item.place, entry)
        halt = self._settings.halt
        if halt is not None and not self.stopped and halt.reached(self.done, self.failed):
            code = HALTED if halt.what == "fail" else None
            self.stop(code, "stopped as --halt says", now=halt.now)

    def _put(self, place: int, entry: Entry) -> None:
        if not self._settings.keep_order:
            self._sink.put(entry)
            return
        self._held[place] = entry
        while self._next in self._held:
            self._sink.put(self._held.pop(self._next))
            self._next += 1

    def _finish(self) -> None:
        if not self.finished.done():
            for place in sorted(self._held):  # behind items that were not run to their end
                self._sink.put(self._held.pop(place))
            self.finished.set_result(None)
