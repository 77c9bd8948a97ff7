"""Tunnels: connections of TCP that are encrypted on their way, by a thread of one's own.

Whoever has such a connection has one end of a socket pair, and uses it as it would use the
connection: it waits for its descriptor, gives it to a child, leaves it to a child that dies. A
thread carries the bytes between its other end and TLS. So all that is built on descriptors stays
as it is: frames, callers who wait at a gate, forked workers, what a signal handler may break into.
It costs two hops of a thread each way, but only where TLS is wanted.
"""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import ssl
import sys
import threading
import time
from collections import deque
from typing import Any, Final

from aplex._wire.tunnel import IN, Tunnel

CHUNK: Final = 256 * 1024
"""Bytes that are read at a time."""
_log = logging.getLogger("aplex")


def _new_poll() -> Any:
    if sys.platform == "win32":
        raise OSError("pipes cannot be waited for on Windows")
    elif sys.platform == "linux":  # noqa: RET506 - so type checkers see that it is for systems
        return select.epoll()
    else:
        return select.poll()


class Tunnels:
    """The tunnels of one process, and the thread that serves them."""

    def __init__(self, context: ssl.SSLContext, *, is_pool: bool) -> None:
        """Start nothing yet.

        Args:
            context: How TLS is spoken.
            is_pool: Whether connections come from the other side.
        """
        self._context = context
        self._is_pool = is_pool
        self._new: deque[Tunnel] = deque()
        self._tunnels: dict[int, tuple[Tunnel, bool]] = {}  # by descriptors; whether it is the wire
        self._masks: dict[int, int] = {}
        self._lingering: set[Tunnel] = set()
        self._poll: Any = None
        self._thread: threading.Thread | None = None
        self._stopped = False
        self._finishing = False
        self._buffer: memoryview
        self._waker: socket.socket
        self._wakee: socket.socket

    def open(self, wire: socket.socket) -> Tunnel:
        """Encrypt a connection, which belongs to the tunnel from now on. One thread at a time.

        Raises:
            OSError: There are too many open files; the connection is closed then.
            RuntimeError: There can be no more threads; likewise.
        """
        tunnel = Tunnel(wire, self._context, is_pool=self._is_pool)
        self._new.append(tunnel)
        try:
            self.start()
        except BaseException:
            self._new.clear()
            tunnel.close()
            tunnel.end.close()
            raise
        self._wake()
        return tunnel

    def start(self) -> None:
        """Have a thread, unless there is one.

        Raises:
            OSError: There are too many open files.
            RuntimeError: There can be no more threads.
        """
        if self._thread is not None:
            return
        if self._poll is None:
            self._waker, self._wakee = socket.socketpair()
            self._waker.setblocking(False)
            self._wakee.setblocking(False)
            self._buffer = memoryview(bytearray(CHUNK))
            self._poll = _new_poll()
            self._poll.register(self._wakee, IN)
        self._stopped = False
        thread = threading.Thread(target=self._run, name="aplex-tls", daemon=True)
        self._thread = thread
        try:
            thread.start()
        except BaseException:
            self._thread = None
            raise

    def pause(self) -> None:
        """Have no thread, and nothing carried, until `start`: for a fork."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stopped = True
            self._wake()
            thread.join()

    def finish(self, patience: float = 0.0) -> None:
        """Free everything as soon as all connections are over. Opens no more of them.

        Args:
            patience: How many seconds to wait for that, at most.
        """
        self._finishing = True
        self._wake()
        thread = self._thread
        if thread is not None and patience:
            thread.join(patience)

    def abandon(self) -> None:
        """In a forked child: close the copies of what belongs to the parent."""
        known = [tunnel for tunnel, _ in list(self._tunnels.values())]
        for tunnel in {*known, *self._new}:
            tunnel.close()
        self._tunnels.clear()
        self._masks.clear()
        self._lingering.clear()
        self._new.clear()
        self._free()
        self._thread = None

    def _wake(self) -> None:
        if self._poll is not None:
            with contextlib.suppress(OSError):  # it wakes anyway; or has ended
                self._waker.send(b"\0")

    # -- the thread ---------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._stopped:
                self._serve()
                if self._finishing and not self._tunnels and not self._new:
                    break
        except BaseException:  # noqa: BLE001 - a bug, or no memory: what they carry is lost
            _log.exception("encrypted connections are lost")
            self._stopped = False
        if not self._stopped:
            self.abandon()

    def _serve(self) -> None:
        """Wait once, and do what can be done."""
        known = self._tunnels
        touched: set[Tunnel] = set()
        for fd, events in self._poll.poll(self._timeout()):
            if fd in known:
                tunnel, is_wire = known[fd]
                if not tunnel.is_over:
                    self._carry(tunnel, events, is_wire=is_wire)
                touched.add(tunnel)
            else:
                with contextlib.suppress(BlockingIOError):
                    self._wakee.recv(4096)
        while self._new:  # only now: what was told may be of a descriptor that was closed before
            tunnel = self._new.popleft()
            known[tunnel.wire.fileno()] = tunnel, True
            known[tunnel.inner.fileno()] = tunnel, False
            tunnel.begin()
            touched.add(tunnel)
        now = time.monotonic()
        for tunnel in self._lingering:
            if tunnel.over_at is not None and tunnel.over_at <= now:
                tunnel.is_over = True
                touched.add(tunnel)
        for tunnel in touched:
            self._watch(tunnel)

    def _timeout(self) -> float | None:
        """Return when those are over that linger; in the unit that the poll has."""
        ends = [tunnel.over_at for tunnel in self._lingering if tunnel.over_at is not None]
        if not ends:
            return None
        left = max(0.0, min(ends) - time.monotonic())
        return left if sys.platform == "linux" else 1000 * left

    def _carry(self, tunnel: Tunnel, events: int, *, is_wire: bool) -> None:
        try:
            (tunnel.on_wire if is_wire else tunnel.on_inner)(events, self._buffer)
        except Exception:  # noqa: BLE001 - a bug, or no memory: the others go on
            _log.exception("an encrypted connection is lost")
            tunnel.is_over = True

    def _watch(self, tunnel: Tunnel) -> None:
        """Have polled for what a tunnel wants now."""
        ends = tunnel.wire.fileno(), tunnel.inner.fileno()
        wanted = (-1, -1) if tunnel.is_over else tunnel.wanted()
        for fd, mask in zip(ends, wanted, strict=True):
            before = self._masks.get(fd, -1)
            if mask == before:
                continue
            if mask < 0:
                self._poll.unregister(fd)
                del self._masks[fd]
                continue
            (self._poll.register if before < 0 else self._poll.modify)(fd, mask)
            self._masks[fd] = mask
        if tunnel.is_over:
            for fd in ends:
                del self._tunnels[fd]
            self._lingering.discard(tunnel)
            tunnel.close()
        elif tunnel.over_at is not None:
            self._lingering.add(tunnel)

    def _free(self) -> None:
        poll, self._poll = self._poll, None
        if poll is not None:
            if sys.platform == "linux":
                poll.close()
            self._waker.close()
            self._wakee.close()
