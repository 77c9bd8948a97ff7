"""The gate: one descriptor for the reports of all workers, and one reader at a time.

Reports are mostly read by the listener. But a thread that blocks until a future is
done would then wait for another thread, which waits for the worker: two switches
where one is enough. So a caller who waits reads the reports itself (it *leads*; the
pattern is known as leader and followers), and the listener does not look meanwhile.

How the roles change, in order. All channels are in an inner ``epoll``; the listener
waits for an outer one, in which the inner one is only *armed* while nobody leads.

1. A caller comes. If somebody leads already it leaves, to be woken by that one.
2. It disarms the inner ``epoll``, and waits for it until its future is done.
3. It arms the inner ``epoll`` again: what came meanwhile wakes the listener. Or, if
   no report is to come, it lets the gate *rest*.
4. When one work is sent through a gate that rests, its caller is likely to come again,
   so the listener is not to be woken by the report. Whoever wants something else than
   to wait for that one result arms: a callback, ``wait``, ``done``, a cancel, a second
   work, the end of the pool.

A future may also be settled by another thread: by the listener, which had begun to
read before step 2, or by a cancel. Whoever settles calls `wake`. The leader looks at its
future after it has said that it leads, the other looks for a leader after it has
settled: one of them sees the other. The listener may find a wake in passing, while it
reads what came before step 2; it hands it on.

A signal handler, or a finalizer, may come here in the middle of any of it, in the thread that
has the lock. Each step can be taken again there: it does the same, or what the outer one then
does over. Only to lead, which waits, is not begun there.

Only for Linux: elsewhere the listener reads everything. See `epoll(7)` of the Linux manual
on putting one ``epoll`` into another.
"""

from __future__ import annotations

import os
import select
import sys
import threading
import time
from collections.abc import Callable
from typing import Final

from aplex._common.locks import RLock, is_mine

if sys.platform == "linux":
    from aplex._common.waits import of_selector

assert sys.platform == "linux"

AVAILABLE: Final = hasattr(select, "epoll") and hasattr(os, "eventfd")


class Gate:
    """Waits for channels, in the listener or in the thread of a caller."""

    def __init__(self, resume: Callable[[], None] = lambda: None) -> None:
        """Watch nothing yet.

        Args:
            resume: Takes in what was read and not taken in. Called when a signal handler begins
                to wait that has broken into the thread that leads.
        """
        self._resume = resume
        self._channels = select.epoll()
        self._outer = select.epoll()
        self._wakee = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._channels.register(self._wakee, select.EPOLLIN)
        self._outer.register(self._channels.fileno(), select.EPOLLIN)
        self._callbacks: dict[int, Callable[[], None]] = {self._wakee: self._drain}
        self._lock = RLock()  # for those below
        self._leader: int | None = None  # the thread that leads
        self._polls = False  # the one who leads is about to wait for the channels
        self._rests = False  # nobody leads, and the listener does not look
        self._closing = False
        self._closed = False

    def fileno(self) -> int:
        """Return what the listener waits for."""
        return self._outer.fileno()

    def watch(self, fd: int, readable: Callable[[], None]) -> None:
        """Call back whenever a channel can be read. Any thread."""
        known = fd in self._callbacks
        self._callbacks[fd] = readable
        if not known:
            self._channels.register(fd, select.EPOLLIN)

    def unwatch(self, fd: int) -> None:
        """Stop watching a channel, before it is closed. Any thread."""
        if self._callbacks.pop(fd, None) is not None:
            self._channels.unregister(fd)

    def read(self) -> None:
        """Call back for the channels that can be read now. On the listener's thread."""
        self._call_back(self._channels.poll(0))

    def arm(self) -> None:
        """Have the listener read, unless somebody leads. Any thread."""
        if self._rests:
            with self._lock:
                if not self._closed:
                    self._arm()

    def _read(self, timeout: float | None) -> None:
        ready = self._channels.poll(timeout)  # ... this
        self._polls = False
        self._call_back(ready)

    def _call_back(self, ready: list[tuple[int, int]]) -> None:
        for fd, _ in ready:
            callback = self._callbacks.get(fd)
            if callback is not None:
                callback()

    def read_until(
        self, done: Callable[[], bool], end: float | None, quiet: Callable[[], bool]
    ) -> None:
        """Lead until ``done()``, or the monotonic time ``end``; return at once if another leads.

        A callback of a future, or a signal handler, may come here again in the thread that
        leads. ``quiet`` says whether no report is to come, so that nobody needs to read.
        """
        if is_mine(self._lock):
            return  # a signal handler has broken in: others could not come in meanwhile
        me = threading.get_ident()
        first = False
        leader = None
        polls = self._polls
        try:
            with self._lock:
                leader = self._leader
                if self._closing or (leader is not None and leader != me):
                    return
                first = leader is None
                self._leader = me
            if not first:
                self._resume()  # what the call that was broken into has read does not come again
            if first and not self._rests:
                self._outer.modify(self._channels.fileno(), 0)
                self._rests = True  # until we leave, or somebody wants the listener
            while True:
                self._polls = True  # before the look: a signal handler may come between it and ...
                if done() or self._closing:
                    break
                timeout = None if end is None else end - time.monotonic()
                if timeout is not None and timeout <= 0:
                    break
                self._read(None if timeout is None else of_selector(timeout))
        finally:
            if first:
                # Before any call: a signal handler may raise after each. Then ``settle`` is
                # called later, elsewhere.
                self._leader = None
                self._polls = False
                self.settle(quiet)
            elif leader == me:
                # A signal handler may have read what the outer call polls for: that goes on to
                # poll when we return.
                self._polls = polls
                self.wake()

    def wake(self) -> None:
        """Make the thread that leads look whether it is done. Any thread.

        If that is this one, it will look; unless we are a signal handler in the middle of its
        poll.
        """
        leader = self._leader
        if leader is not None and (leader != threading.get_ident() or self._polls):
            with self._lock:
                if not self._closed:
                    os.eventfd_write(self._wakee, 1)

    def leads(self) -> bool:
        """Whether the caller is a callback in the thread that leads."""
        return self._leader == threading.get_ident()

    def is_broken_into(self) -> bool:
        """Whether the caller is a signal handler, or a finalizer, that has broken in here."""
        return is_mine(self._lock)

    def close(self) -> None:
        """Free the descriptors, as soon as nobody leads."""
        with self._lock:
            self._closing = True
            if self._leader is None:
                self.discard()
            else:
                os.eventfd_write(self._wakee, 1)

    def discard(self) -> None:
        """Free the descriptors now. Leaves what a forked child shares with its parent as it is."""
        self._closed = True
        self._channels.close()
        self._outer.close()
        os.close(self._wakee)

    def settle(self, quiet: Callable[[], bool]) -> None:
        """See to it that the listener reads, if nobody leads and reports are to come."""
        with self._lock:
            if self._leader is not None or self._closed:
                return
            if self._closing:
                self.discard()
                return
            # Works sent before this look are seen by it, those sent after it find us at rest:
            # also if a signal handler sends them, in the middle of the look.
            self._rests = True
            if not quiet():
                self._arm()

    def _arm(self) -> None:
        """Wake the listener by the channels. With the lock."""
        self._rests = False
        if self._leader is None:
            self._outer.modify(self._channels.fileno(), select.EPOLLIN)

    def _drain(self) -> None:
        try:
            os.eventfd_read(self._wakee)
        except BlockingIOError:
            pass  # another thread was faster
        self.wake()  # what the listener found may have been for one who has begun to lead
