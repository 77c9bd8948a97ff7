"""The Link: the parent's side of the channels to one worker, and what it knows of that worker.

A link has two lanes, each with a `Reader` of reports and a `Writer` of works, a lifeline (numbers
for the worker's watcher, see `_worker.lifeline`), and the counters (`Progress`) by which the parent
knows what the worker has started without asking it. Where big arguments and results lie in memory
that both sides map, it has that as well. A back end makes a class of its own, which opens the
channels and knows how to end what is behind them.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from aplex._common.messages import CANCELLED, FREED, ITEMS, RETURNED, Reports
from aplex._wire.borrowed import BorrowedMemory
from aplex._wire.calls import Unopened
from aplex._wire.counters import Progress
from aplex._wire.frames import End, Reader, Writer
from aplex._wire.segments import LENGTHS, Place
from aplex._wire.shared_memory import SharedMemory, SharedPayload

if TYPE_CHECKING:
    from aplex._backends.linked.log_thread import LogChannel
    from aplex._pool.state import PoolWorker

Loop = asyncio.AbstractEventLoop


class Link(ABC):
    """The parent's side of one worker.

    A subclass opens the channels when it is made, or raises OSError and leaves none open: it sets
    ``writers`` and ``readers`` (one for each lane, non-blocking), ``lifeline`` and ``progress``,
    and may set ``results`` and ``logs``.

    Attributes:
        writers: One for each lane, with what is still to be written.
        readers: One for each lane.
        lifeline: Takes numbers for the worker's watcher; its end means that the parent is gone.
        progress: The counters of the worker, also after its death.
        results: Where its big results are; None: they travel in the frames.
        logs: Where its log records come; None: none are forwarded.
        known: Numbers of the functions that were sent, by lane.
        freed: Is told of shared objects of which the worker has nothing any more.
        started: Whether there is something that `kill` can end.
        born: When it was made, on the monotonic clock.
        loop: The loop that watches the readers, if one does.
        unwatched: Readers that it is to watch soon, by descriptor: what to call.
        unwanted: Whether it is to be killed as soon as it has started.
        stopped: Whether it was asked to stop.
        buried: Whether nothing of it is watched any more: its descriptors may be others' soon.
        closed: Whether its ends are closed.
    """

    skew = 0
    """What to add to a time of the worker's clock to get one of ours, in nanoseconds."""
    writers: list[Writer]
    readers: list[Reader]
    lifeline: End
    progress: Progress

    def __init__(self, worker: PoolWorker | None, arena: SharedMemory | None = None) -> None:
        """Have no channels yet.

        Args:
            worker: Whose works travel here.
            arena: Where the big arguments are; None: they travel in the frames.
        """
        self._arena = arena
        self._worker = worker
        self.results: BorrowedMemory | None = None
        self.logs: LogChannel | None = None
        self.known: tuple[set[int], set[int]] = ({0}, {0})
        self.freed: Callable[[Link, list[int]], None] | None = None
        self.started = False
        self.born = time.monotonic()
        self.loop: Loop | None = None
        self.unwatched: dict[int, Callable[[], None]] = {}
        self.unwanted = False
        self.stopped = False
        self.buried = False
        self.closed = False

    @abstractmethod
    def kill(self) -> None:
        """End by force what was started; it may have ended by now."""

    @property
    @abstractmethod
    def described(self) -> str:
        """What log lines call the worker: ``worker process 4711``."""

    def ends(self) -> Iterator[End]:
        """The parent's ends."""
        for writer in self.writers:
            yield writer.end
        for reader in self.readers:
            yield reader.end
        yield self.lifeline
        if self.results is not None:
            yield self.results.end

    def read(self, lane: int) -> deque[Reports]:
        """Read once; open big results, which lie in shared memory, while that is there."""
        frames: deque[Reports] = self.readers[lane].read()
        for frame in frames:
            if frame[1] or frame[5]:
                self._open_all(frame)
        return frames

    def _open_all(self, frame: Reports) -> None:
        others, pickles = frame[1], frame[5]
        for index, data in enumerate(pickles):
            if isinstance(data, list):
                pickles[index] = self._opened(data)
        for work_id, kind, data in others:
            if kind == ITEMS:
                _number, items = data
                items[:] = [(big, self._opened(item) if big else item) for big, item in items]
            elif kind == FREED and self.freed is not None:
                self.freed(self, data)
            elif data and kind in (CANCELLED, RETURNED):
                self._take_back(work_id, data)

    def _take_back(self, work_id: int, seq: int) -> None:
        """Take back the arguments of a function that was not started, and so not opened.

        Before anybody hears of it, and lends them anew to another worker.
        """
        work = None if self._worker is None else self._worker.works.get(work_id)
        if work is not None and work.seq == seq and type(work.call) is SharedPayload:
            assert self._arena is not None
            self._arena.take_back(work.call.place[0])

    def _opened(self, data: Any) -> Any:
        """Return views of what lies in shared memory.

        A frame that was read and not taken in yet comes here again: its places are views then.
        """
        if self.results is None or not isinstance(data, list) or not isinstance(data[0], int):
            return data
        place: Place = data
        try:
            return self.results.open(place)
        except (MemoryError, OSError) as error:  # what is in the frame beside it can be read
            self.results.give_back(place)
            return Unopened(sum(place[LENGTHS:]), error)

    def close(self) -> None:
        """Close the parent's ends."""
        if not self.closed:
            self.closed = True
            if self.results is not None:
                self.results.close()
            for end in self.ends():
                end.close()
            self.progress.close()
