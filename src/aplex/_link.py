"""The Link: the parent's side of one worker process, its pipes and its shared memory."""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

from aplex import _child
from aplex._arena import Arena, Lent, Place
from aplex._frames import End, PipeEnd, Reader, Writer, one_way
from aplex._messages import COROUTINE, ITEMS, LANES, PLAIN, Reports
from aplex._pickling import Unopened
from aplex._progress import Progress

Loop = asyncio.AbstractEventLoop


class Link:
    """The parent's side of one worker."""

    def __init__(self, arena: Arena | None) -> None:
        lanes_in: list[End] = []
        lanes_out: list[End] = []
        self.writers: list[Writer] = []
        self.readers: list[Reader] = []
        for _ in LANES:
            child_in, down = one_way()
            up, child_out = one_way()
            down.set_blocking(False)
            up.set_blocking(False)
            lanes_in.append(child_in)
            lanes_out.append(child_out)
            self.writers.append(Writer(down))
            self.readers.append(Reader(up))
        child_lifeline, self.lifeline = one_way()
        self.lifeline.set_blocking(False)
        self.child_ends = _child.ChildEnds(
            lanes_in[COROUTINE], lanes_out[COROUTINE], lanes_in[PLAIN], lanes_out[PLAIN],
            child_lifeline, None, None,
        )  # fmt: skip
        self.results: Lent | None = None
        if arena is not None:
            self.child_ends.arena_in = arena.end.duplicate()
            self.child_ends.arena_out = PipeEnd(os.memfd_create("aplex", os.MFD_CLOEXEC))
            self.results = Lent(self.child_ends.arena_out.duplicate())
        self.known: tuple[set[int], set[int]] = ({0}, {0})  # functions sent, per lane
        self.progress = Progress()
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
        _, others, _, _, _, pickles = frame
        for index, data in enumerate(pickles):
            if isinstance(data, list):
                pickles[index] = self._opened(data)
        for _, kind, data in others:
            if kind == ITEMS:
                _number, items = data
                items[:] = [(big, self._opened(item) if big else item) for big, item in items]

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
            return Unopened(sum(place[4:]), error)

    def close(self) -> None:
        """Close the parent's ends."""
        if not self.closed:
            self.closed = True
            for end in self.ends():
                end.close()
            self.progress.close()
