"""The Door: listens on one address, and lets in who proves to belong to the pool.

Anybody can knock. So a visitor gets `PATIENCE` seconds and some hundred bytes, nothing that it says
is unpickled, and there are at most `MOST` of them at a time; who is refused is told why in one
line, and so is the log. Everything is done on the listener's thread, and never blocks. See
`_wire.handshake` for what is said.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from aplex._backends.listener import Listener, Timer
from aplex._wire import handshake
from aplex._wire.handshake import Claim, LateError, RefusedError
from aplex._wire.tcp import tune

if TYPE_CHECKING:
    from aplex._backends.remote.security import Security
    from aplex._wire.tunnel import Tunnel
    from aplex._wire.tunnels import Tunnels

PATIENCE: Final = 10.0
"""Seconds in which a visitor must have said who it is."""
HELLO: Final = 5.0
"""Seconds in which it must have said anything, where it has to begin: by TLS."""
INVITED: Final = 60.0
"""The same, if the pool has dialled: the worker may still be busy with what came first."""
MOST: Final = 512
"""Visitors that may be about to say it; then the first of them has to go."""
BACKLOG: Final = 512
BREATH: Final = 0.1
"""Seconds after which the door is opened again, when there were too many open files."""
TOLD: Final = 50
"""Refusals that are logged, so that a stranger cannot fill the log."""
_log = logging.getLogger("aplex")


class Door:
    """Where workers come in.

    Attributes:
        address: Host and port, once it is open.
    """

    def __init__(
        self,
        listen: str,
        port: int,
        secret: bytes,
        listener: Listener,
        admit: Callable[[Claim], None],
        arrived: Callable[[Claim, socket.socket], None],
        security: Security | None = None,
    ) -> None:
        """Open nothing yet.

        Args:
            listen: The address of one interface.
            port: There; 0: any.
            secret: Of the pool.
            listener: On whose thread all is done.
            admit: Raises RefusedError if nobody is expected whose claim that is; else it counts as
                used.
            arrived: Takes the connection of who was let in.
            security: How TLS is spoken; None: it is not.
        """
        self.address = (listen, port)
        self._tunnels: Tunnels | None = None
        if security is not None:
            from aplex._wire.tunnels import Tunnels

            secret = handshake.bound(secret, security.certificate)
            self._tunnels = Tunnels(security.context, is_pool=True)
        self._secret = secret
        self._listener = listener
        self._admit = admit
        self._arrived = arrived
        self._socket: socket.socket | None = None
        self._is_open = False
        self._visitors: dict[_Visitor, None] = {}
        self._refusals = 0
        self._closed = False

    def open(self) -> None:
        """Begin to listen, if it does not; watched from the listener's next round on. Any thread.

        Raises:
            OSError: It cannot be listened there.
        """
        if self._is_open:
            return
        if self._socket is None:  # else Ctrl-C broke into this very method
            self._socket = self._listening()
        self._listener.call_soon(self._watch)
        self._is_open = True

    def _listening(self) -> socket.socket:
        host, port = self.address
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        door = socket.socket(family, socket.SOCK_STREAM)
        try:
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            door.setblocking(False)
            door.bind((host, port))
            door.listen(BACKLOG)
        except BaseException:
            door.close()
            raise
        self.address = host, door.getsockname()[1]
        return door

    def close(self) -> None:
        """Let nobody in any more. On the listener's thread."""
        self._closed = True
        door, self._socket = self._socket, None
        if door is not None:
            self._listener.unwatch(door)
            door.close()
        for visitor in list(self._visitors):
            self.dismiss(visitor)
        if self._tunnels is not None:
            self._tunnels.finish()

    def abandon(self) -> None:
        """In a forked child: close the copies of what belongs to the parent."""
        if self._socket is not None:
            self._socket.close()
        for visitor in self._visitors:
            visitor.connection.close()
        if self._tunnels is not None:
            self._tunnels.abandon()

    # -- on the listener's thread -------------------------------------------------

    def receive(self, connection: socket.socket, peer: str) -> None:
        """Let in who is at the other end of a connection that was made otherwise, likewise."""
        if self._closed:
            connection.close()
        else:
            self._greet(connection, peer, INVITED)

    def _watch(self) -> None:
        if self._socket is not None:
            self._listener.watch(self._socket, self._open_to_all)

    def _open_to_all(self) -> None:
        while self._socket is not None:
            try:
                connection, peer = self._socket.accept()
            except BlockingIOError:
                return
            except ConnectionError:  # it has gone again
                continue
            except OSError:  # too many open files: it would be told again at once
                self._listener.unwatch(self._socket)
                self._listener.call_at(time.monotonic() + BREATH, self._watch)
                return
            if len(self._visitors) >= MOST:
                first = next(iter(self._visitors))
                self.refuse(first, "there are too many visitors")
            self._greet(connection, f"{peer[0]}:{peer[1]}", PATIENCE)

    def _greet(self, connection: socket.socket, peer: str, patience: float) -> None:
        wire, tunnel = connection, None
        if self._tunnels is not None:
            try:
                tunnel = self._tunnels.open(wire)
            except (OSError, RuntimeError) as error:
                _log.warning("no TLS for a connection from %s: %s", peer, error)
                return
            connection = tunnel.end
        connection.setblocking(False)
        visitor = _Visitor(connection, peer, tunnel)
        self._visitors[visitor] = None
        if tunnel is not None and patience == PATIENCE:
            silent = partial(self._dismiss_silent, visitor, tunnel)
            visitor.hello = self._listener.call_at(time.monotonic() + HELLO, silent)
        late = partial(self.refuse, visitor, f"it did not say who it is within {patience:g} s")
        visitor.timer = self._listener.call_at(time.monotonic() + patience, late)
        self._listener.watch(connection, partial(self._hear, visitor))
        try:
            connection.send(handshake.greeting(visitor.nonce))
        except OSError:
            self._lose(visitor)

    def _dismiss_silent(self, visitor: _Visitor, tunnel: Tunnel) -> None:
        """Refuse who does not begin, as those do that do not speak TLS: in the clear, this once."""
        if tunnel.heard or visitor not in self._visitors:
            return
        reason = "it does not speak TLS, as this pool does"
        with contextlib.suppress(OSError):
            tunnel.wire.send(handshake.greeting(visitor.nonce) + handshake.refusal(reason))
        self.refuse(visitor, reason)

    def _hear(self, visitor: _Visitor) -> None:
        try:
            claim = visitor.hear(self._secret)
            if claim is None:
                return
            self._admit(claim)
        except BlockingIOError:
            return
        except LateError as error:  # nobody needs to see to that
            _log.info("a worker that was given up has come after all, from %s", visitor.peer)
            self._send_away(visitor, str(error))
            return
        except RefusedError as error:
            self.refuse(visitor, str(error))
            return
        except OSError:
            self._lose(visitor)
            return
        self._let_in(visitor, claim)

    def _lose(self, visitor: _Visitor) -> None:
        """Take in that a visitor has gone; or that its tunnel has, which says why."""
        if visitor.tunnel is not None and visitor.tunnel.failure:
            self.refuse(visitor, visitor.tunnel.failure)
        else:
            self.dismiss(visitor)

    def _let_in(self, visitor: _Visitor, claim: Claim) -> None:
        connection = visitor.connection
        consent = handshake.consent(bytes(visitor.said), visitor.nonce, self._secret)
        self._forget(visitor)
        # If it has gone by now, whoever gets the connection finds that out.
        with contextlib.suppress(OSError):
            connection.send(consent)
            wire = connection if visitor.tunnel is None else visitor.tunnel.wire
            tune(wire, watched=claim.channel == handshake.CONTROL)
        self._arrived(claim, connection)

    def refuse(self, visitor: _Visitor, reason: str) -> None:
        """Tell a visitor and the log why it is not let in, and let it go."""
        self._refusals += 1
        if self._refusals <= TOLD:
            more = "; further ones are not logged" if self._refusals == TOLD else ""
            _log.warning(
                "refused a connection from %s to %s:%s: %s%s",
                visitor.peer, *self.address, reason, more,
            )  # fmt: skip
        self._send_away(visitor, reason)

    def _send_away(self, visitor: _Visitor, reason: str) -> None:
        with contextlib.suppress(OSError):
            visitor.connection.send(handshake.refusal(reason))
            # What it still sends is not read: without this the reason would be lost by that.
            visitor.connection.shutdown(socket.SHUT_WR)
        self.dismiss(visitor)

    def dismiss(self, visitor: _Visitor) -> None:
        """Let a visitor go."""
        self._forget(visitor)
        visitor.connection.close()

    def _forget(self, visitor: _Visitor) -> None:
        self._visitors.pop(visitor, None)
        self._listener.unwatch(visitor.connection)
        for timer in (visitor.timer, visitor.hello):
            if timer is not None:
                timer.cancel()


class _Visitor:
    """Who has not proved anything yet."""

    __slots__ = ("connection", "hello", "nonce", "peer", "said", "timer", "tunnel")

    def __init__(self, connection: socket.socket, peer: str, tunnel: Tunnel | None) -> None:
        self.connection = connection
        self.tunnel = tunnel
        self.peer = peer
        self.nonce = handshake.new_nonce()
        self.said = bytearray()
        self.timer: Timer | None = None
        self.hello: Timer | None = None

    def hear(self, secret: bytes) -> Claim | None:
        """Read what it says; return who it is, once that is known.

        Raises:
            RefusedError: It is not to be let in.
            OSError: It has gone; or nothing is to be read now.
        """
        size = handshake.length_of_answer(bytes(self.said))
        wanted = (handshake.ANSWER_HEAD if size is None else size) - len(self.said)
        part = self.connection.recv(wanted)
        if not part:
            raise ConnectionResetError
        self.said += part
        size = handshake.length_of_answer(bytes(self.said))
        if size is None or size > len(self.said):
            return None
        return handshake.check_answer(bytes(self.said), self.nonce, secret)
