"""The Link: the parent's side of one worker process, its pipes and its shared memory."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from aplex._common.messages import (
    CANCELLED,
    COROUTINE,
    FREED,
    ITEMS,
    LANES,
    PLAIN,
    RETURNED,
    Reports,
)
from aplex._wire.borrowed import BorrowedMemory
from aplex._wire.calls import Unopened
from aplex._wire.counters import Progress
from aplex._wire.frames import End, Opened, PipeEnd, Reader, Writer
from aplex._wire.segments import LENGTHS, Place
from aplex._wire.shared_memory import SharedMemory, SharedPayload, make_shared_memory_file
from aplex._worker import (
    coroutine_pipes,  # noqa: F401 - forked workers have it at once  # pyright: ignore[reportUnusedImport]
    process,
)
from aplex._worker.log_forwarding import ROOM

if TYPE_CHECKING:
    from aplex._backends.process.log_thread import LogChannel
    from aplex._backends.process.logs import Logs
    from aplex._pool.state import PoolWorker

Loop = asyncio.AbstractEventLoop


class Link:
    """The parent's side of one worker."""

    def __init__(
        self,
        arena: SharedMemory | None,
        worker: PoolWorker | None = None,
        logs: Logs | None = None,
        pool: str = "",
        slow_callback: float | None = None,
    ) -> None:
        """Open all channels of a worker, or none.

        Args:
            arena: Where the big arguments are.
            worker: Whose works get them.
            logs: Where its log records go.
            pool: The name of the pool.
            slow_callback: Seconds after which what blocks its event loop is told of.

        Raises:
            OSError: There are too many open files.
        """
        self._arena = arena
        self._worker = worker
        self.logs: LogChannel | None = None
        with Opened() as opened:
            self._open(opened, arena)
            if logs is not None:
                self.logs, self.child_ends.logs = logs.open(opened)
            self.progress = Progress(room=0 if self.logs is None else ROOM)
        self.progress.page.name(pool, 0 if worker is None else worker.id)
        self.progress.watch_loop(slow_callback)
        self.known: tuple[set[int], set[int]] = ({0}, {0})  # functions sent, per lane
        self.freed: Callable[[Link, list[int]], None] | None = None  # of shared objects
        self.process: Any = None  # a multiprocessing.Process
        self.started = False
        self.born = time.monotonic()
        self.peak_rss: int | None = None  # bytes, known after its end
        self.pidfd: PipeEnd | None = None
        self.loop: Loop | None = None  # the loop that watches the readers, if one does
        self.unwanted = False  # to be killed as soon as it has started
        self.stopped = False  # it was asked to stop
        self.buried = False  # nothing of it is watched any more: its numbers may be others' soon
        self.closed = False

    def _open(self, opened: Opened, arena: SharedMemory | None) -> None:
        lanes_in: list[End] = []
        lanes_out: list[End] = []
        self.writers: list[Writer] = []
        self.readers: list[Reader] = []
        for _ in LANES:
            child_in, down = opened.one_way()
            up, child_out = opened.one_way()
            down.set_blocking(False)
            up.set_blocking(False)
            lanes_in.append(child_in)
            lanes_out.append(child_out)
            self.writers.append(Writer(down))
            self.readers.append(Reader(up))
        child_lifeline, self.lifeline = opened.one_way()
        self.lifeline.set_blocking(False)
        self.child_ends = process.ChildEnds(
            lanes_in[COROUTINE], lanes_out[COROUTINE], lanes_in[PLAIN], lanes_out[PLAIN],
            child_lifeline, None, None,
        )  # fmt: skip
        self.results: BorrowedMemory | None = None
        results = None if arena is None else make_shared_memory_file()
        if arena is not None and results is not None:
            self.child_ends.arena_out = opened.end(results)
            self.child_ends.arena_in = opened.end(arena.end.duplicate())
            self.results = BorrowedMemory(opened.end(results.duplicate()))

    def ends(self) -> Iterator[End]:
        """The parent's ends."""
        for writer in self.writers:
            yield writer.end
        for reader in self.readers:
            yield reader.end
        yield self.lifeline
        if self.results is not None:
            yield self.results.end
        if self.pidfd is not None:
            yield self.pidfd

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

    def kill(self) -> None:
        """Kill the process, which was started; it may have ended by now."""
        with contextlib.suppress(OSError, ValueError):  # its end is known
            if (
                sys.platform == "linux" and self.pidfd is not None
            ):  # its number may be another's by now
                signal.pidfd_send_signal(self.pidfd.fileno(), signal.SIGKILL)
            else:
                self.process.kill()

    def close(self) -> None:
        """Close the parent's ends."""
        if not self.closed:
            self.closed = True
            if self.results is not None:
                self.results.close()
            for end in self.ends():
                end.close()
            self.progress.close()
