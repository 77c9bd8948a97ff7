"""A Tunnel: one connection of TCP that is encrypted on its way, see `_wire.tunnels`.

* The end of one direction is passed on: what was written before arrives first. If the connection
  is lost, or ends without TLS saying so, that is an end like any other; a frame that is cut off
  never surfaces.
* Who does not read is not written to: at most `tunnels.CHUNK` bytes wait here in each direction.
* An end that is closed is known at once (``POLLHUP``), also while the other side reads nothing.
  What was written to it before, if there was TLS by then, is passed on within `LINGER` seconds, or
  lost.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import sys
import time
from typing import Any, Final

from aplex._wire import tls

LINGER: Final = 5.0
"""Seconds in which the network has to take what is left of a user that has closed its end."""
if sys.platform != "win32":
    IN, OUT, ENDED = select.POLLIN, select.POLLOUT, select.POLLHUP | select.POLLERR
else:  # where there are no remote workers
    IN, OUT, ENDED = 1, 4, 24


class Tunnel:
    """One connection.

    Attributes:
        end: What its user has of it.
        wire: The connection itself; belongs to the thread.
        inner: The other end of ``end``; likewise.
        over_at: When it is given up, whatever is left, as its user has closed its end.
        is_over: Whether nothing goes in either direction any more.
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
            self.end, self.inner = socket.socketpair()
        except BaseException:
            wire.close()
            raise
        self.wire = wire
        wire.setblocking(False)
        self.inner.setblocking(False)
        self.failure = ""
        self.certificate: bytes | None = None
        self.heard = False
        self.is_over = False
        self._received, self._sent = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._received, self._sent, server_side=is_pool)
        self._shaken = False  # hands
        self._up = memoryview(b"")  # decrypted, not taken by the user yet
        self._down = memoryview(b"")  # encrypted, not taken by the network yet
        self._wire_silent = False  # nothing more comes from the network
        self._wire_ended = False  # and all that came was decrypted
        self._inner_ended = False  # nothing more comes from the user
        self.over_at: float | None = None  # once the user has closed its end

    # -- what is waited for -----------------------------------------------------

    def wanted(self) -> tuple[int, int]:
        """Return for what the wire is to be polled, and the inner end; -1: not at all."""
        wire = IN if not self._wire_silent and not self._up else 0
        # A wire of which nothing is wanted would tell for ever that it has ended.
        wire = (wire | OUT * bool(self._down)) or -1
        if self.over_at is not None:
            return wire, -1
        inner = IN if self._shaken and not self._inner_ended and not self._down else 0
        return wire, inner | OUT * bool(self._up)

    def begin(self) -> None:
        """Begin to shake hands."""
        self._decrypt(memoryview(bytearray(1)))

    def on_wire(self, events: int, buffer: memoryview) -> None:
        """Do what can be done, as the network is ready."""
        if self._down and events & (OUT | ENDED):
            self._flush_down()
        if events & (IN | ENDED) and not self._wire_silent and not self._up:
            self._read_wire(buffer)
        if self.over_at is not None:
            self._leave(buffer)

    def on_inner(self, events: int, buffer: memoryview) -> None:
        """Do what can be done, as the user is ready."""
        if self._up and events & OUT:
            self._flush_up()
            if not self._up:
                self._decrypt(buffer)  # more of it may be here, where no descriptor tells
        if events & ENDED:
            self.over_at = time.monotonic() + LINGER
            self._leave(buffer)
        elif events & IN and not self._down:
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
            self._wire_silent = True
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
            self._fail(tls.told(error))
            return
        self._flush_down()
        self._end_up()

    def _shake(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            if self._wire_silent:
                self._fail("")
            self._flush_down()
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
            except ssl.SSLZeroReturnError:
                count = 0
            if not count:  # the other side says that it is its end
                self._wire_silent = True
                break
            size += count
            if not self._received.pending and not self._tls.pending():
                break
        self._wire_ended = self._wire_silent and not size
        return size

    def _flush_up(self, *, copy: bool = False) -> None:
        try:
            count = self.inner.send(self._up)
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
                self.inner.shutdown(socket.SHUT_WR)
            self.is_over = self._inner_ended and not self._down

    # -- from the user to the network -------------------------------------------

    def _read_inner(self, buffer: memoryview) -> None:
        try:
            count = self.inner.recv_into(buffer)
        except BlockingIOError:
            return
        except OSError:  # closed, with something unread
            count = 0
        if not count:
            # Only the connection says so: OpenSSL would refuse what comes after its own word.
            self._inner_ended = True
        try:
            at = 0
            while at < count:
                at += self._tls.write(buffer[at:count])
        except ssl.SSLError as error:
            self._fail(tls.told(error))
            return
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
        self.inner.close()
        self.wire.close()
