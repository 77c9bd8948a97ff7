"""Waits for channels on behalf of an event loop that cannot (the proactor loop of Windows).

`ChannelWatch` has the four methods of a loop that can; a thread waits, and the loop calls back.
"""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import socket
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol

Callback = Callable[[], object]


class Watches(Protocol):
    """What waits for channels: a loop, or a `ChannelWatch`."""

    def add_reader(self, fd: int, callback: Callback, /) -> object:
        """Call back whenever it can be read."""

    def remove_reader(self, fd: int, /) -> object:
        """Stop that."""

    def add_writer(self, fd: int, callback: Callback, /) -> object:
        """Call back whenever it can be written."""

    def remove_writer(self, fd: int, /) -> object:
        """Stop that."""


def can_watch(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether a loop waits for channels itself."""
    return type(loop).add_reader is not asyncio.AbstractEventLoop.add_reader


def watch_of(loop: asyncio.AbstractEventLoop) -> Watches:
    """Return what waits for channels where that loop runs."""
    return loop if can_watch(loop) else ChannelWatch(loop)


class ChannelWatch:
    """A thread that waits for a loop. Its methods are called on the loop's thread.

    A channel that can be read, or written, is not waited for again before the loop has called
    back: else the thread would find it again and again.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the thread when there is something to wait for.

        Args:
            loop: Calls back.
        """
        self._loop = loop
        self._callbacks: dict[tuple[int, int], Callback] = {}  # by descriptor and event
        self._asked: deque[tuple[int, int, bool]] = deque()  # what is to be waited for, or not
        self._selector = selectors.DefaultSelector()
        self._wakee, self._waker = socket.socketpair()
        for end in self._wakee, self._waker:
            end.setblocking(False)
        self._selector.register(self._wakee, selectors.EVENT_READ)
        self._thread: threading.Thread | None = None
        self._closed = False

    def add_reader(self, fd: int, callback: Callback, /) -> None:
        """Call back whenever it can be read."""
        self._add(fd, selectors.EVENT_READ, callback)

    def remove_reader(self, fd: int, /) -> None:
        """Stop that."""
        self._remove(fd, selectors.EVENT_READ)

    def add_writer(self, fd: int, callback: Callback, /) -> None:
        """Call back whenever it can be written."""
        self._add(fd, selectors.EVENT_WRITE, callback)

    def remove_writer(self, fd: int, /) -> None:
        """Stop that."""
        self._remove(fd, selectors.EVENT_WRITE)

    def close(self) -> None:
        """End the thread, and free what it has, if there is one; it calls nobody any more."""
        self._closed = True
        self._callbacks.clear()
        if self._thread is not None:
            self._waker.close()  # which wakes it
            self._thread.join()
        else:
            self._free()

    def _free(self) -> None:
        self._selector.close()
        self._wakee.close()
        self._waker.close()

    # -- the loop's thread --------------------------------------------------------

    def _add(self, fd: int, event: int, callback: Callback) -> None:
        self._callbacks[fd, event] = callback
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="aplex-watch", daemon=True)
            self._thread.start()
        self._ask(fd, event, wanted=True)

    def _remove(self, fd: int, event: int) -> None:
        if self._callbacks.pop((fd, event), None) is not None:
            self._ask(fd, event, wanted=False)

    def _ask(self, fd: int, event: int, *, wanted: bool) -> None:
        self._asked.append((fd, event, wanted))
        try:
            self._waker.send(b"\0")
        except BlockingIOError:
            pass  # full: it wakes anyway

    def _call(self, fd: int, event: int) -> None:
        callback = self._callbacks.get((fd, event))
        if callback is None:
            return
        try:
            callback()
        finally:
            if (fd, event) in self._callbacks:
                self._ask(fd, event, wanted=True)

    # -- the thread that waits ----------------------------------------------------

    def _run(self) -> None:
        while not self._closed:
            for key, events in self._selector.select():
                if key.fileobj is self._wakee:
                    self._wakee.recv(4096)
                    continue
                for event in selectors.EVENT_READ, selectors.EVENT_WRITE:
                    if events & event:
                        self._tell(key.fd, event)
            while self._asked:
                self._change(*self._asked.popleft())
        self._free()

    def _tell(self, fd: int, event: int) -> None:
        """Have the loop call back."""
        self._change(fd, event, wanted=False)
        with contextlib.suppress(RuntimeError):  # it is closed, which is the end of the worker
            self._loop.call_soon_threadsafe(partial(self._call, fd, event))

    def _change(self, fd: int, event: int, wanted: bool) -> None:  # noqa: FBT001 - from the queue
        known = self._selector.get_map().get(fd)
        before = 0 if known is None else known.events
        events = before | event if wanted else before & ~event
        if events == before:
            return
        if not before:
            self._selector.register(fd, events)
        elif events:
            self._selector.modify(fd, events)
        else:
            self._selector.unregister(fd)
