"""The thread that reads the log records of one pool's workers, and calls the handlers.

It owns what it was given: nobody else reads a channel then, or closes it. A handler that takes its
time, or waits for the pool, holds up the records behind, and nothing else.
"""

from __future__ import annotations

import contextlib
import io
import logging
import selectors
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from aplex._wire.frames import End, Reader, Writer, one_way
from aplex._worker.log_records import Packed, unpack

LAST: Final = 5.0
"""Seconds that the end of a pool waits for handlers that are slow."""
_log = logging.getLogger("aplex")


class LogChannel:
    """The parent's side of one worker's channel for records, up, and levels, down.

    Attributes:
        end: The socket.
        writer: Writes levels.
        reader: Reads records.
        known: Whether anybody reads, or watches it.
        is_stale: Whether there are newer levels than those that were written.
        logged: How many records the worker had to forward, if it has ended and that is known.
        left: What it has left behind, frames as on the channel.
        taken: How many came, or were dropped by the worker.
    """

    def __init__(self, end: End) -> None:
        self.end = end
        self.reader = Reader(end)
        self.writer = Writer(end)
        self.known = False
        self.is_stale = False
        self.logged: int | None = None
        self.left = b""
        self.taken = 0


class _Memory:
    """Something to read frames from, as from a channel."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def reader(self) -> Callable[[list[memoryview]], int]:
        return lambda views: self._file.readinto(views[0])


class LogThread:
    """Reads channels until it is stopped."""

    def __init__(self, name: str) -> None:
        """Start nothing yet.

        Raises:
            OSError: There are too many open files.
        """
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._todo: deque[Callable[[], None]] = deque()
        self._wakee, self._waker = one_way()
        self._wakee.set_blocking(False)
        self._waker.set_blocking(False)
        self._channels: dict[LogChannel, None] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wakee, selectors.EVENT_READ)
        self._stopping = False

    def start(self) -> None:
        """Start the thread. Without locks: a finalizer that runs in it may want one."""
        # Else there can be no more threads, as the interpreter ends: `stop` does it all.
        with contextlib.suppress(RuntimeError):
            self._thread.start()

    def take(self, channel: LogChannel) -> None:
        """Read a channel from now on."""
        self._channels[channel] = None
        self._soon(partial(self._watch, channel))

    def end(self, channel: LogChannel) -> None:
        """Read what is left in a channel, and close it."""
        self._soon(partial(self._read_out, channel))

    def stop(self) -> None:
        """Do what is to be done, and end; wait for that, for a while."""
        self._soon(self._stop)
        if self._thread.ident is None:
            self._run()
        elif self._thread is not threading.current_thread():
            self._thread.join(LAST)

    def abandon(self) -> None:
        """In a forked child: close the copies."""
        for channel in list(self._channels):
            channel.end.close()
        self._close()

    def _soon(self, call: Callable[[], None]) -> None:
        self._todo.append(call)
        with contextlib.suppress(OSError):  # full: the thread is about to look
            self._waker.write([b"\0"])

    # -- its thread -------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping:
            for key, _ in self._selector.select():
                if key.data is None:
                    self._drain()
                else:
                    self._read(key.data)
            while self._todo:
                self._todo.popleft()()
        self._close()

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wakee.read_into(memoryview(bytearray(4096)))

    def _watch(self, channel: LogChannel) -> None:
        self._selector.register(channel.end, selectors.EVENT_READ, channel)

    def _unwatch(self, channel: LogChannel) -> None:
        with contextlib.suppress(KeyError):  # its end was read before
            self._selector.unregister(channel.end)

    def _read(self, channel: LogChannel) -> bool:
        """Read once, and hand over; return whether there may be more."""
        try:
            frames = channel.reader.read()
        except BlockingIOError:
            return False
        except (EOFError, OSError):  # it has ended: we are told, too
            self._unwatch(channel)
            return False
        while frames:
            self._take_in(channel, frames.popleft())
        return True

    def _take_in(self, channel: LogChannel, frame: Any) -> None:
        if isinstance(frame, int):
            channel.taken += frame
            _say("%d log records of a worker were dropped: the handlers do not keep up", frame)
        else:
            channel.taken += 1
            hand_over(frame)

    def _read_out(self, channel: LogChannel) -> None:
        while self._read(channel):
            pass
        self._unwatch(channel)
        channel.end.close()
        self._channels.pop(channel, None)
        self._read_left(channel)
        lost = (channel.logged or 0) - channel.taken
        if lost > 0:
            _say("%d log records of a worker were lost: it has ended before it had sent them", lost)

    def _read_left(self, channel: LogChannel) -> None:
        memory: Any = _Memory(channel.left)
        reader = Reader(memory)
        # What a kill has cut off cannot be read.
        with contextlib.suppress(EOFError, ValueError, TypeError):
            while frames := reader.read():
                while frames:
                    self._take_in(channel, frames.popleft())

    def _stop(self) -> None:
        self._stopping = True

    def _close(self) -> None:
        self._selector.close()
        self._wakee.close()
        self._waker.close()


def hand_over(packed: Packed) -> None:
    """Have a record handled by the handlers of its logger here."""
    try:
        record = unpack(packed)
        logger = logging.getLogger(record.name)
        if logger.isEnabledFor(record.levelno):
            logger.handle(record)
    except BaseException:  # noqa: BLE001 - of a handler, or a filter: users' code
        _say("a log record of a worker could not be handled", exc_info=True)


def _say(message: str, *args: object, exc_info: bool = False) -> None:
    with contextlib.suppress(BaseException):  # of a handler
        _log.warning(message, *args, exc_info=exc_info)
