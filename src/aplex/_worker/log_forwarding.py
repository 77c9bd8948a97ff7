"""Forwards log records from a worker process to the handlers of its parent.

A handler at the root of the worker's loggers packs each record and writes it at once, in the
thread that logs, to a socket of its own, as long as that takes it: so what was logged before a
crash mostly arrives, and no thread is needed. What the socket does not take stands in line, and
the watcher of the worker writes it when there is room. Nobody who logs waits.

The line is bounded: once it is full, records are dropped and counted until half of it is free, and
how many is written before the next one. A worker that ends leaves its line to the parent in shared
memory. There it also says how many records were logged at all, so that the parent knows what was
lost by a crash.

Levels come from the parent, on the same socket: all at the start, and again when one changes.

A signal handler, or a finalizer, may log in the middle of all this, in the thread that is in it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
from collections import deque
from collections.abc import Callable
from typing import Final

from aplex._common.locks import RLock
from aplex._common.messages import LOGGED
from aplex._wire.counters import Progress
from aplex._wire.frames import Bytes, End, Writer, frame_of
from aplex._worker.log_levels import LevelReader, loggers
from aplex._worker.log_place import LogPlace
from aplex._worker.log_records import pack
from aplex._worker.signals import spare

LINE: Final = 10_000
"""Records that may stand in line."""
LINE_BYTES: Final = 16 * 2**20
"""Bytes of them, but for the last one."""
BATCH: Final = 100
"""Records that are written at once."""
ROOM: Final = LINE_BYTES + 2**20
"""Bytes that a worker can leave behind."""
STALLED: Final = 2.0
"""Where it cannot: seconds in which the parent must have taken something, or it is given up."""


class Forwarder(logging.Handler):
    """Sends what is logged to the parent.

    Attributes:
        end: The socket.
    """

    def __init__(
        self,
        end: End,
        progress: Progress,
        place: LogPlace,
        kick: Callable[[], None],
        again: Callable[[], None],
    ) -> None:
        """Forward nothing yet.

        Args:
            end: The socket; does not block.
            progress: The counters in shared memory.
            place: What records say of where they come from.
            kick: Has the watcher call `watch` soon.
            again: Interrupts the function that has logged, if it was spared meanwhile.
        """
        super().__init__()
        self.end = end
        self._progress = progress
        self._place = place
        self._kick = kick
        self._again = again
        self._pid = os.getpid()
        self._writer = Writer(end)
        self._line: deque[Bytes] = deque()
        self._bytes = 0  # in line
        self._logged = 0
        self._dropped = 0  # and not told yet
        self._is_dropping = False
        self._sending = False
        self._leaves = False  # it is ending: records go into memory
        self._waits = False  # until the socket takes more
        self._broken = False
        self._lock = RLock()
        self._levels = LevelReader(end)
        self._watched = 0  # what the watcher waits for

    def createLock(self) -> None:  # noqa: N802 - of `logging`
        """Have no lock: `handle` takes its own, which is reentrant."""
        self.lock = None

    # -- records, on any thread -------------------------------------------------

    def handle(self, record: logging.LogRecord) -> bool:
        """Send a record, or put it in line; does not wait for the parent."""
        if os.getpid() == self._pid:
            self.emit(record)
            self._again()
        elif logging.lastResort is not None and record.levelno >= logging.lastResort.level:
            logging.lastResort.handle(record)  # in a process that a work has forked off
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """Do the same, in the worker."""
        if self._broken:
            return
        try:
            frame = b"".join(frame_of(pack(record, self._place.of_record())))
        except Exception:  # noqa: BLE001 - of users' code, as `logging` has it
            self.handleError(record)
            return
        self._put(frame)
        self._send()

    def _put(self, frame: Bytes) -> None:
        with self._lock:
            self._logged += 1
            self._progress.started[LOGGED] = self._logged
            share = 2 if self._is_dropping else 1
            if self._leaves:
                with contextlib.suppress(OSError):  # else the parent counts it as lost
                    self._progress.leave(frame)
                return
            full = len(self._line) >= LINE // share or self._bytes >= LINE_BYTES // share
            self._is_dropping = full
            if full:
                self._dropped += 1
                return
            self._tell_dropped()
            self._line.append(frame)
            self._bytes += len(frame)

    def _tell_dropped(self) -> None:
        if self._dropped:
            self._line.extend(frame_of(self._dropped))
            self._dropped = 0

    def _send(self) -> None:
        """Write what the socket takes."""
        with self._lock:
            # In a loop: who breaks into it and logs finds it at work, perhaps at its last step.
            while self._line or self._writer.rest:
                if self._sending or self._waits or self._broken:
                    return
                self._sending = True
                try:
                    self._write()
                except OSError:  # the parent is gone
                    self._broken = True
                finally:
                    self._sending = False

    def _write(self) -> None:
        writer, line = self._writer, self._line
        while line or writer.rest:
            batch = [line.popleft() for _ in range(min(BATCH, len(line)))]
            self._bytes = max(0, self._bytes - sum(map(len, batch)))
            writer.rest += batch
            if not writer.flush():
                self._waits = True
                self._kick()
                return
            if not line:
                self._tell_dropped()

    def _go_on(self) -> None:
        """Write again: there is room, or may be."""
        with self._lock:
            self._waits = False
            self._send()

    def finish(self) -> None:
        """Leave what stands in line to the parent, as this process ends; what comes later as well.

        In memory that outlives the process, so that nobody waits for handlers.
        """
        self._send()
        with self._lock:
            self._tell_dropped()
            frames = [*map(_whole, self._writer.rest), *self._line]
            self._leaves = True
            try:
                self._progress.leave(b"".join(frames))
            except OSError:  # no such memory here, or it is too small
                self._leaves = False
                self._send_all()
            else:
                self._writer.rest = []
                self._line.clear()

    def _send_all(self) -> None:
        """Wait until all was sent, as long as the parent takes some of it."""
        selector = getattr(selectors, "PollSelector", selectors.SelectSelector)()
        selector.register(self.end, selectors.EVENT_WRITE)
        while (self._line or self._writer.rest) and not self._broken:
            if not selector.select(STALLED):
                return
            self._go_on()

    def install(self) -> None:
        """Become the only handler of this process, with the parent's levels. Main thread.

        What handlers and filters there are came by a fork, or with the main module. The parent
        has them as well, and they would see each record twice.
        """
        for logger in loggers().values():
            logger.handlers.clear()
            logger.filters.clear()
            logger.propagate = True
        logging.root.addHandler(self)
        spare(Forwarder.emit.__code__)
        self._levels.begin()

    # -- on the watcher's thread --------------------------------------------------

    def watch(self, selector: selectors.BaseSelector) -> None:
        """Have the watcher wait for room, and for levels."""
        room = selectors.EVENT_WRITE if self._waits and not self._broken else 0
        wanted = room | (selectors.EVENT_READ if self._levels.may_come else 0)
        before, self._watched = self._watched, wanted
        if before == wanted:
            return
        if not before:
            selector.register(self.end, wanted)
        elif not wanted:
            selector.unregister(self.end)
        else:
            selector.modify(self.end, wanted)

    def take(self, events: int) -> None:
        """Do what there is to do."""
        if events & selectors.EVENT_READ:
            self._levels.take()
        if events & selectors.EVENT_WRITE:
            self._go_on()


def _whole(part: Bytes) -> Bytes:
    """Return the frame of which a part is left to be written."""
    return part.obj if isinstance(part, memoryview) else part  # type: ignore[return-value]
