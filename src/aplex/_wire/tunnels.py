"""Tunnels: connections of TCP that are encrypted on their way, by a thread of one's own.

Whoever has such a connection has one end of a socket pair, and uses it as it would use the
connection: it waits for its descriptor, gives it to a child, leaves it to a child that dies. A
thread carries the bytes between its other end and TLS. So all that is built on descriptors stays
as it is: frames, callers who wait at a gate, forked workers, what a signal handler may break into.
It costs two hops of a thread each way, but only where TLS is wanted.

* The end of one direction is passed on: what was written before arrives first. If the connection
  is lost, or ends without TLS saying so, that is an end like any other; a frame that is cut off
  never surfaces.
* Who does not read is not written to: at most `CHUNK` bytes wait here in each direction.
* An end that is closed is known at once (``POLLHUP``), also while the other side reads nothing.
  What was written to it before, if there was TLS by then, is passed on within `LINGER` seconds, or
  lost.
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

from aplex._wire import tls

CHUNK: Final = 256 * 1024
"""Bytes that are read at a time."""
LINGER: Final = 5.0
"""Seconds in which the network has to take what is left of a user that has closed its end."""
if sys.platform != "win32":
    _IN, _OUT, _ENDED = select.POLLIN, select.POLLOUT, select.POLLHUP | select.POLLERR
else:  # where there are no remote workers
    _IN, _OUT, _ENDED = 1, 4, 24
_log = logging.getLogger("aplex")


class Tunnel:
    """One connection.

    Attributes:
        end: What its user has of it.
        wire: The connection itself; belongs to the thread.
        failure: Why there is no TLS, once that is known: then ``end`` has nothing more to read.
            Empty: nothing is known, or the other side has just gone.
        certificate: That the other side has shown, as DER; known before ``end`` can be read.
        heard: Whether the other side has said anything.
    """

    def __init__(self, wire: socket.socket, context: ssl.SSLContext, *, is_pool: bool) -> None:
        """Take over a connection.

        Args:
            wire: Of TCP.
            context: How TLS is spoken.
            is_pool: Whether the other side begins.

        Raises:
            OSError: There are too many open files. The connection is closed then.
        """
        try:
            self.end, self._inner = socket.socketpair()
        except BaseException:
            wire.close()
            raise
        self.wire = wire
        wire.setblocking(False)
        self._inner.setblocking(False)
        self.failure = ""
        self.certificate: bytes | None = None
        self.heard = False
        self.is_over = False
        self._received, self._sent = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._received, self._sent, server_side=is_pool)
        self._shaken = False  # hands
        self._up = memoryview(b"")  # decrypted, not taken by the user yet
        self._down = memoryview(b"")  # encrypted, not taken by the network yet
        self._wire_ended = False  # nothing more comes from the network
        self._inner_ended = False  # nothing more comes from the user
        self.over_at: float | None = None  # once the user has closed its end

    # -- what is waited for -----------------------------------------------------

    def wanted(self) -> tuple[int, int]:
        """Return for what the wire is to be polled, and the inner end; -1: not at all."""
        wire = _IN if not self._wire_ended and not self._up else 0
        # A wire of which nothing is wanted would tell for ever that it has ended.
        wire = (wire | _OUT * bool(self._down)) or -1
        if self.over_at is not None:
            return wire, -1
        inner = _IN if self._shaken and not self._inner_ended and not self._down else 0
        return wire, inner | _OUT * bool(self._up)

    def begin(self) -> None:
        """Begin to shake hands."""
        self._decrypt(memoryview(bytearray(1)))

    def on_wire(self, events: int, buffer: memoryview) -> None:
        """Do what can be done, as the network is ready."""
        if self._down and events & (_OUT | _ENDED):
            self._flush_down()
        if events & (_IN | _ENDED) and not self._wire_ended and not self._up:
            self._read_wire(buffer)
        if self.over_at is not None:
            self._leave(buffer)

    def on_inner(self, events: int, buffer: memoryview) -> None:
        """Do what can be done, as the user is ready."""
        if self._up and events & _OUT:
            self._flush_up()
            if not self._up:
                self._decrypt(buffer)  # more of it may be here, where no descriptor tells
        if events & _ENDED:
            self.over_at = time.monotonic() + LINGER
            self._leave(buffer)
        elif events & _IN and not self._down:
            self._read_inner(buffer)

    # -- from the network to the user -------------------------------------------

    def _read_wire(self, buffer: memoryview) -> None:
        try:
            count = self.wire.recv_into(buffer)
        except BlockingIOError:
            return
        except OSError:  # lost
            count = 0
        if count:
            self.heard = True
            self._received.write(buffer[:count])
        else:
            self._received.write_eof()
        self._decrypt(buffer)

    def _decrypt(self, buffer: memoryview) -> None:
        try:
            if not self._shaken and not self._shake():
                return
            while not self._up and not self._wire_ended:
                size = self._read_tls(buffer)
                if not size:
                    break
                self._up = buffer[:size]
                self._flush_up(copy=True)
        except ssl.SSLError as error:
            if not self._inner_ended:
                self._fail(tls.told(error))
                return
            self._wire_ended = True  # nobody wants it; what is still on its way down matters
        self._flush_down()
        self._end_up()

    def _shake(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush_down()
            return False
        except ssl.SSLEOFError:
            self._fail("")
            return False
        self.certificate = self._tls.getpeercert(binary_form=True)
        self._shaken = True
        return True

    def _read_tls(self, buffer: memoryview) -> int:
        """Decrypt into the buffer all that is here, as far as it has room."""
        size, room = 0, len(buffer)
        while size < room:
            try:
                count: Any = self._tls.read(room - size, buffer[size:])
            except ssl.SSLWantReadError:
                break
            except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
                count = 0
            if not count:
                self._wire_ended = True
                break
            size += count
            if not self._received.pending and not self._tls.pending() and not self._received.eof:
                break
        return size

    def _flush_up(self, *, copy: bool = False) -> None:
        try:
            count = self._inner.send(self._up)
        except BlockingIOError:
            count = 0
        except OSError:  # nobody reads it any more
            count = len(self._up)
        rest = self._up[count:]
        self._up = memoryview(bytes(rest)) if copy and rest else rest
        self._end_up()

    def _end_up(self) -> None:
        """Pass on that nothing more comes."""
        if self._wire_ended and not self._up and not self.is_over:
            with contextlib.suppress(OSError):
                self._inner.shutdown(socket.SHUT_WR)
            self.is_over = self._inner_ended and not self._down

    # -- from the user to the network -------------------------------------------

    def _read_inner(self, buffer: memoryview) -> None:
        try:
            count = self._inner.recv_into(buffer)
        except BlockingIOError:
            return
        except OSError:  # closed, with something unread
            count = 0
        if count:
            at = 0
            while at < count:
                at += self._tls.write(buffer[at:count])
        else:
            self._inner_ended = True
            with contextlib.suppress(ssl.SSLError):  # the other side need not answer
                self._tls.unwrap()
        self._flush_down()

    def _flush_down(self) -> None:
        while not self.is_over:
            if not self._down:
                if not self._sent.pending:
                    break
                self._down = memoryview(self._sent.read())
            try:
                self._down = self._down[self.wire.send(self._down) :]
            except BlockingIOError:
                return
            except OSError:  # lost: that is read, too
                self._down = memoryview(b"")
                self._sent.read()
        if self._inner_ended and not self.is_over:
            with contextlib.suppress(OSError):
                self.wire.shutdown(socket.SHUT_WR)
            self.is_over = self._wire_ended and not self._up

    def _leave(self, buffer: memoryview) -> None:
        """Pass on what the user has left who has closed its end, as far as the network takes it."""
        while self._shaken and not self._down and not self._inner_ended:
            self._read_inner(buffer)
        if (self._inner_ended and not self._down) or not self._shaken:
            self.is_over = True

    def _fail(self, reason: str) -> None:
        """Have it over with a connection; the other side is told by an alert of TLS."""
        self.failure = self.failure or reason
        self._flush_down()
        with contextlib.suppress(OSError):
            self.wire.shutdown(socket.SHUT_WR)
        self.is_over = True

    def close(self) -> None:
        """Close what the thread has of it."""
        self.is_over = True
        self._inner.close()
        self.wire.close()


def _new_poll() -> Any:
    if sys.platform == "win32":
        raise OSError("pipes cannot be waited for on Windows")
    if sys.platform == "linux":
        return select.epoll()
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
            self._poll.register(self._wakee, _IN)
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
            known[tunnel._inner.fileno()] = tunnel, False  # noqa: SLF001
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
        ends = tunnel.wire.fileno(), tunnel._inner.fileno()  # noqa: SLF001
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
