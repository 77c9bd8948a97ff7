"""The CoroutinePipes: the coroutine lane of a worker process, over its two pipes.

Imported when the first coroutine comes: a worker that only gets plain functions needs none of it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, MutableSequence
from functools import partial

from aplex._common.messages import COROUTINE, STALLED, Reports, only
from aplex._wire.frames import End, Reader, Writer
from aplex._wire.page import ALIVE
from aplex._worker.channel_watch import watch_of
from aplex._worker.coroutine_lane import CoroutineLane
from aplex._worker.lane import Codec
from aplex._worker.loop_watch import LoopWatch
from aplex._worker.meter import Meter
from aplex._worker.producers import Producers

TYPE_CHECKING = False  # from `typing`, which workers need not import
if TYPE_CHECKING:
    from typing import Any, Protocol

    from aplex._worker.bulk import Bulk
else:
    Protocol = object


class DefiningCodec(Codec, Protocol):
    """A codec that is told once what the functions are that calls name by number."""

    def define(self, definitions: dict[int, bytes | None]) -> None:
        """Take in functions that calls to come will name by number."""


class CoroutinePipes:
    """Reads works from one pipe, and writes their reports to another. On the loop's thread.

    Attributes:
        lane: Runs the works.
        watch: Sees what blocks the loop.
        bulk: Where big calls come; None: not apart.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        ends: tuple[End, End],
        codec: DefiningCodec,
        started: MutableSequence[int] | memoryview,
        producers: Producers,
        skip: Callable[[int], bool],
        lost: Callable[[], object],
        wake: Callable[[], object],
        tell: Callable[[Reports], object],
        meter: Meter | None = None,
    ) -> None:
        """Connect a loop that does not run yet.

        Args:
            loop: The worker's.
            ends: To read from, and to write to.
            codec: How calls and outcomes travel.
            started: Where to publish how many works were started.
            producers: The streams of this worker.
            skip: Keeps a plain function from being started, see `PlainLane.skip`.
            lost: Is called when a pipe has broken.
            wake: Wakes the thread that looks at the loop, see `LoopWatch`.
            tell: Sends reports that are none of a work here. Any thread.
            meter: Measures works. None: nobody does.
        """
        self.bulk: Bulk | None = None
        self._end_in, self._end_out = ends
        self._codec = codec
        self._started = started
        self._count = 0  # of works that came so far
        self._producers = producers
        self._skip = skip
        self._say_lost = lost
        self._end_in.set_blocking(False)
        self._end_out.set_blocking(False)
        self._reader, self._writer = Reader(self._end_in), Writer(self._end_out)
        self.lane = CoroutineLane(
            loop, codec, self._send, producers, started, meter, self._say_alive
        )
        self._channels = watch_of(loop)
        self._channels.add_reader(self._end_in.fileno(), self._read)
        self.watch = LoopWatch(started, wake, lambda stall: tell(only((0, STALLED, stall))))
        self.watch.attach(loop, self.lane.numbers, threading.get_ident())

    def _say_alive(self, count: int) -> None:
        self._started[ALIVE] = count

    def close(self) -> None:
        """Read no more."""
        self._channels.remove_reader(self._end_in.fileno())

    def _read(self) -> None:
        lane = self.lane
        try:
            frames = self._reader.read()
        except BlockingIOError:
            return
        except (EOFError, OSError):
            self._lost()
            return
        self.watch.arriving(now=True)
        started = self._started
        begin = lane.beginner()
        if self.bulk is not None:
            begin = partial(self._begin, begin, self.bulk)
        while frames:
            definitions, ids, functions, calls, cancels, recalls, credits_, submitted = (
                frames.popleft()
            )
            if definitions:
                self._codec.define(definitions)
            if ids:
                lane.frame(len(ids), submitted, functions[0])
            for work_id, function, call in zip(ids, functions, calls, strict=True):
                self._count += 1
                started[COROUTINE] = self._count
                begin(work_id, function, call)
            for work_id, seq in cancels:
                lane.cancel(work_id, seq, self._skip)
            for work_id, seq in recalls:
                lane.recall(work_id, seq, self._skip)
            for work_id, count in credits_:
                self._producers.credit(work_id, count)
        self.watch.arriving(now=False)
        lane.flush()

    def _begin(
        self,
        begin: Callable[[int, Any, Any], None],
        bulk: Bulk,
        work_id: int,
        function: Any,
        call: Any,
    ) -> None:
        """Begin a work, now or when its arguments have come."""
        there = bulk.lacking(call, self.lane.loop)
        if there is None:
            begin(work_id, function, call)
        else:
            self.lane.hold(work_id, function, call, there, bulk.give_up)

    def _lost(self) -> None:
        """Note that a pipe has broken. If the parent is gone, the watcher knows it too."""
        self.close()
        self._say_lost()

    def _send(self, reports: Reports) -> None:
        try:
            if not self._writer.write(reports):
                self._channels.add_writer(self._end_out.fileno(), self._flush)
        except OSError:
            self._lost()

    def _flush(self) -> None:
        """Write on what the pipe did not take."""
        try:
            flushed = self._writer.flush()
        except OSError:
            flushed = True
        if flushed:
            self._channels.remove_writer(self._end_out.fileno())
