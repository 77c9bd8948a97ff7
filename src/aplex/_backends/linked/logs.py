"""The parent's side of log forwarding: reads the records of one pool's workers, and sends levels.

Handlers are users' code, and may take their time, or want the pool. So a thread of its own calls
them, `LogThread`: no work, no result and no death waits for it. If handlers do not keep up, sockets
fill, and workers count what they drop. The thread is started when the first record comes: until
then the listener watches, and a program that logs nothing pays nothing.

What belongs to whom: the listener's thread opens, watches and writes (levels); once the log thread
is there, it reads and closes.
"""

from __future__ import annotations

import logging
import socket
import sys
from functools import partial

from aplex._backends.linked.log_levels import LevelWatch
from aplex._backends.linked.log_thread import LogChannel, LogThread
from aplex._backends.listener import Listener
from aplex._wire.counters import Progress
from aplex._wire.frames import End, Opened, PipeEnd, SocketEnd
from aplex._worker.log_levels import levels_now


class Logs:
    """What the workers of one pool log."""

    def __init__(self, name: str, *, wanted: bool | None) -> None:
        """Open nothing yet.

        Args:
            name: Of the pool.
            wanted: Whether records are forwarded. None: if the root logger has a handler when the
                first worker starts.
        """
        self._name = name
        self._wanted = wanted
        self._channels: dict[LogChannel, None] = {}
        self._thread: LogThread | None = None
        self._levels: LevelWatch | None = None
        self._pushing = False  # levels are about to be sent

    def bind(self, listener: Listener) -> None:
        """Say which listener watches."""
        self._listener = listener

    def open(self, opened: Opened) -> tuple[LogChannel | None, End | None]:
        """Open the channel of a worker; return its two sides, None if nothing is forwarded.

        Raises:
            OSError: There are too many open files.
        """
        if not self.are_wanted():
            return None, None
        ours, theirs = _two_way()
        opened.take(ours, theirs)
        ours.set_blocking(False)
        theirs.set_blocking(False)
        channel = LogChannel(ours)
        channel.writer.write(levels_now())  # read by the worker before anything else
        return channel, theirs

    def are_wanted(self) -> bool:
        """Whether records are forwarded; that is decided now, at the latest."""
        if self._wanted is None:
            self._wanted = bool(logging.root.handlers)
        if self._wanted and self._levels is None:
            self._levels = LevelWatch(self._push_levels)
        return self._wanted

    def add(self, channel: LogChannel) -> None:
        """Take what a worker logs from now on, unless that was said before. Any thread."""
        if channel in self._channels:
            return
        self._channels[channel] = None
        self._listener.call_soon(partial(self._watch, channel))

    def end(self, channel: LogChannel, progress: Progress) -> None:
        """Take what a worker has left behind, which has ended. Any thread.

        Args:
            channel: Its channel.
            progress: Its counters, which say what that is.
        """
        channel.logged = progress.logged()
        channel.left = progress.left()
        self._listener.call_soon(partial(self._end, channel))

    def close(self) -> None:
        """Hand over what is left, if handlers do not take too long. On the listener's thread."""
        self._forget_levels()
        for channel in list(self._channels):
            self._end(channel)
        if self._thread is not None:
            self._thread.stop()

    def abandon(self) -> None:
        """In a forked child: close the copies of what belongs to the parent."""
        self._forget_levels()
        for channel in self._channels:
            channel.end.close()
        if self._thread is not None:
            self._thread.abandon()

    def _forget_levels(self) -> None:
        if self._levels is not None:
            self._levels.close()

    def _push_levels(self) -> None:
        """Send the levels, which have changed, to all workers. Any thread."""
        if not self._pushing:
            self._pushing = True
            self._listener.call_soon(self._send_levels)

    # -- on the listener's thread ---------------------------------------------------

    def _watch(self, channel: LogChannel) -> None:
        channel.known = True
        self._write(channel)
        if self._thread is not None:
            self._thread.take(channel)
        else:
            self._listener.watch(channel.end, self._begin)

    def _begin(self) -> None:
        """Have a thread read: the first record has come."""
        self._thread = LogThread(f"{self._name}-logs")
        for channel in list(self._channels):
            if channel.known:
                self._listener.unwatch(channel.end)
                self._thread.take(channel)
        self._thread.start()

    def _end(self, channel: LogChannel) -> None:
        if channel not in self._channels:
            return
        if self._thread is None and channel.logged != 0:
            self._begin()
        del self._channels[channel]
        self._listener.unwatch(channel.end)
        self._listener.unwatch_writing(channel.end)
        if self._thread is None:
            channel.end.close()
        else:
            self._thread.end(channel)

    def _send_levels(self) -> None:
        self._pushing = False  # before they are read: who changes one from now on sends again
        for channel in list(self._channels):
            channel.is_stale = True
            if channel.known:
                self._write(channel)

    def _write(self, channel: LogChannel) -> None:
        """Write levels, the newest ones only: a worker may not read for a while."""
        writer = channel.writer
        try:
            if writer.flush() and channel.is_stale:
                channel.is_stale = False
                writer.write(levels_now())
        except OSError:  # it has ended
            writer.rest = []
        if writer.rest:
            self._listener.watch_writing(channel.end, partial(self._write, channel))
        else:
            self._listener.unwatch_writing(channel.end)


def _two_way() -> tuple[End, End]:
    """Return two ends that are joined both ways, neither inherited by exec."""
    left, right = socket.socketpair()
    if sys.platform == "win32":
        return SocketEnd(left), SocketEnd(right)
    return PipeEnd(left.detach()), PipeEnd(right.detach())
