"""Hands the log records of worker processes to the handlers of this one.

A thread for each pool waits for the records of its workers: handlers are users' code, and may
take their time. If they do, the pipes fill, and workers count what they drop; works, and their
results, do not wait. The thread begins with the first worker, and ends with the pool.

When a level changes here, all workers get the new levels. ``logging`` tells nobody, but has every
change clear a cache by a method of its manager: that method is wrapped, in the manager itself.
"""

from __future__ import annotations

import logging
import os
import pickle
import selectors
import threading
import weakref
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from aplex._wire.exceptions import decode_exception
from aplex._wire.frames import End, Reader, Writer, one_way
from aplex._worker.log_forwarding import levels_now

LAST: Final = 5.0
"""Seconds that the end of a pool waits for handlers that are slow."""
_log = logging.getLogger("aplex")


class LogChannel:
    """The parent's ends of one worker's records and levels; made of two pipes."""

    def __init__(self, up: End, down: End) -> None:
        up.set_blocking(False)
        down.set_blocking(False)
        self.reader = Reader(up)
        self.levels = Writer(down)
        self.closed = False
        self.send_levels()  # read by the worker before anything else

    def send_levels(self) -> None:
        if not self.closed:
            try:
                self.levels.write(levels_now())
            except OSError:  # it has ended
                pass

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.reader.end.close()
            self.levels.end.close()


class LogReader:
    """Reads the records of one pool's workers."""

    def __init__(self, name: str) -> None:
        self._thread = threading.Thread(target=self._run, name=f"{name}-logs", daemon=True)
        self._todo: deque[Callable[[], None]] = deque()
        self._wakee, self._waker = one_way()
        self._wakee.set_blocking(False)
        self._waker.set_blocking(False)
        self._channels: list[LogChannel] = []
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wakee, selectors.EVENT_READ)
        self._ending = False
        _readers.add(self)
        _watch_levels()

    def start(self) -> None:
        """Start its thread, once. Not under a lock that a finalizer may want."""
        if self._thread.ident is None:
            try:
                self._thread.start()
            except RuntimeError:  # there can be no more threads: records stay in the pipes
                pass

    def add(self, channel: LogChannel) -> None:
        """Read a worker's records from now on. Any thread."""
        self._channels.append(channel)
        self._soon(partial(self._watch, channel))

    def end(self, channel: LogChannel) -> None:
        """Read the last records of a worker that has ended. Any thread."""
        self._soon(partial(self._read_out, channel))

    def push_levels(self) -> None:
        """Send all workers the levels. Any thread."""
        self._soon(self._send_levels)

    def close(self) -> None:
        """Hand over what is left, and end."""
        _readers.discard(self)
        self._soon(self._stop)
        if self._thread.ident is None:
            self._finish()
        elif self._thread is not threading.current_thread():
            self._thread.join(LAST)

    def abandon_after_fork(self) -> None:
        """In a forked child: close the copies."""
        for channel in self._channels:
            channel.close()
        self._close_own()

    def _soon(self, call: Callable[[], None]) -> None:
        self._todo.append(call)
        try:
            self._waker.write([b"\0"])
        except OSError:  # it is full: the thread is about to look; or closed: it has ended
            pass

    # -- its thread -------------------------------------------------------------

    def _run(self) -> None:
        while not self._ending:
            for key, _ in self._selector.select():
                if key.data is None:
                    self._drain_wakes()
                else:
                    self._read(key.data)
            while self._todo:
                self._todo.popleft()()
        self._finish()

    def _drain_wakes(self) -> None:
        try:
            self._wakee.read_into(memoryview(bytearray(4096)))
        except OSError:
            pass

    def _watch(self, channel: LogChannel) -> None:
        if not channel.closed:
            self._selector.register(channel.reader.end, selectors.EVENT_READ, channel)

    def _read(self, channel: LogChannel) -> bool:
        """Read once, and hand over; return whether there may be more."""
        if channel.closed:
            return False
        try:
            frames = channel.reader.read()
        except BlockingIOError:
            return False
        except Exception as error:  # noqa: BLE001 - the end, or what a dying worker has left
            if not isinstance(error, EOFError):
                _log.warning("the log records of a worker cannot be read: %r", error)
            self._forget(channel)
            return False
        while frames:
            dropped, batch = frames.popleft()
            for data in batch:
                _hand_over(data)
            if dropped:
                _log.warning(
                    "%d log records of a worker were dropped: the handlers do not keep up", dropped
                )
        return True

    def _read_out(self, channel: LogChannel) -> None:
        while self._read(channel):
            pass
        self._forget(channel)

    def _forget(self, channel: LogChannel) -> None:
        if not channel.closed:
            try:
                self._selector.unregister(channel.reader.end)
            except (KeyError, ValueError):
                pass
            channel.close()
            self._channels.remove(channel)

    def _send_levels(self) -> None:
        for channel in self._channels:
            channel.send_levels()

    def _stop(self) -> None:
        self._ending = True

    def _finish(self) -> None:
        for channel in list(self._channels):
            self._read_out(channel)
        self._close_own()

    def _close_own(self) -> None:
        self._selector.close()
        self._wakee.close()
        self._waker.close()


def _hand_over(data: bytes) -> None:
    """Have a record handled by the handlers of its logger here."""
    try:
        fields: dict[str, Any] = pickle.loads(data)
        if fields["exc_info"] is not None:
            error = decode_exception(fields["exc_info"])
            fields["exc_info"] = (type(error), error, error.__traceback__)
        record = logging.makeLogRecord(fields)
        logger = logging.getLogger(record.name)
        if logger.isEnabledFor(record.levelno):
            logger.handle(record)
    except Exception:  # noqa: BLE001 - of a filter, or of what is unpickled
        _log.warning("a log record of a worker could not be handled", exc_info=True)


_readers: weakref.WeakSet[LogReader] = weakref.WeakSet()


def _watch_levels() -> None:
    """Have `LogReader.push_levels` called when a level changes."""
    manager: Any = logging.root.manager
    clear = getattr(manager, "_clear_cache", None)
    if clear is None or hasattr(clear, "is_of_aplex"):
        return
    pid = os.getpid()

    def clear_and_tell() -> None:
        clear()
        if os.getpid() == pid:
            for reader in list(_readers):
                reader.push_levels()

    clear_and_tell.is_of_aplex = True  # type: ignore[attr-defined]
    manager._clear_cache = clear_and_tell  # noqa: SLF001 - the only place that hears of it
