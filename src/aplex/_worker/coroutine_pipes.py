"""The CoroutinePipes: the coroutine lane of a worker process, over its two pipes.

Imported when the first coroutine comes: a worker that only gets plain functions needs none of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, MutableSequence
from typing import Protocol

from aplex._common.messages import COROUTINE, Reports
from aplex._wire.frames import End, Reader, Writer
from aplex._worker.coroutine_lane import CoroutineLane
from aplex._worker.lane import Codec
from aplex._worker.loop_watch import watch_of
from aplex._worker.producers import Producers


class DefiningCodec(Codec, Protocol):
    """A codec that is told once what the functions are that calls name by number."""

    def define(self, definitions: dict[int, bytes | None]) -> None:
        """Take in functions that calls to come will name by number."""
        ...


class CoroutinePipes:
    """Reads works from one pipe, and writes their reports to another. On the loop's thread.

    Attributes:
        lane: Runs the works.
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
        """
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
        self.lane = CoroutineLane(loop, codec, self._send, producers)
        self._watch = watch_of(loop)
        self._watch.add_reader(self._end_in.fileno(), self._read)

    def close(self) -> None:
        """Read no more."""
        self._watch.remove_reader(self._end_in.fileno())

    def _read(self) -> None:
        lane = self.lane
        try:
            frames = self._reader.read()
        except BlockingIOError:
            return
        except (EOFError, OSError):
            self._lost()
            return
        started = self._started
        while frames:
            definitions, ids, functions, calls, cancels, recalls, credits_ = frames.popleft()
            if definitions:
                self._codec.define(definitions)
            for work_id, function, call in zip(ids, functions, calls, strict=True):
                self._count += 1
                started[COROUTINE] = self._count
                lane.begin(work_id, function, call)
            for work_id, seq in cancels:
                lane.cancel(work_id, seq, self._skip)
            for work_id, seq in recalls:
                lane.recall(work_id, seq, self._skip)
            for work_id, count in credits_:
                self._producers.credit(work_id, count)
        lane.flush()

    def _lost(self) -> None:
        """Note that a pipe has broken. If the parent is gone, the watcher knows it too."""
        self.close()
        self._say_lost()

    def _send(self, reports: Reports) -> None:
        try:
            if not self._writer.write(reports):
                self._watch.add_writer(self._end_out.fileno(), self._flush)
        except OSError:
            self._lost()

    def _flush(self) -> None:
        """Write on what the pipe did not take."""
        try:
            flushed = self._writer.flush()
        except OSError:
            flushed = True
        if flushed:
            self._watch.remove_writer(self._end_out.fileno())
