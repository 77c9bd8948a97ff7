"""The Reception: where a worker waits for its pool, if the pool dials the worker.

Whoever can reach the port may dial it. A visitor has to begin with the knock of the pool
(`handshake.knock`), which only who knows the secret and the token can make; to all others nothing
is said. What follows is the same handshake as ever, in which both sides prove who they are.
"""

from __future__ import annotations

import contextlib
import hmac
import selectors
import socket
import time
from collections import deque
from typing import Any, Final, Self

from aplex._agent.dialing import PATIENCE, Place
from aplex._wire import handshake

WAIT: Final = 30.0
"""Seconds in which the pool must have dialled."""
MOST: Final = 64
"""Visitors that may be about to knock; then the first of them has to go."""


class Reception:
    """Takes connections from a listening socket, as long as all of them are wanted."""

    def __init__(self, place: Place) -> None:
        """Begin to wait.

        Args:
            place: Whose `Place.listener` this is from now on.
        """
        self._knock = handshake.knock(place.secret, place.token)
        self._door = socket.socket(fileno=place.listener)
        self._door.setblocking(False)
        self._said: dict[socket.socket, bytes] = {}
        self._known: deque[socket.socket] = deque()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._door, selectors.EVENT_READ)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let nobody in any more."""
        self._selector.close()
        for one in (self._door, *self._said, *self._known):
            one.close()

    def reach(self, place: Place) -> socket.socket:  # noqa: ARG002 - as others that make one
        """Return the next connection of the pool.

        Raises:
            OSError: It does not dial.
        """
        end = time.monotonic() + WAIT
        while not self._known:
            ready = self._selector.select(max(0.0, end - time.monotonic()))
            if not ready:
                raise OSError(f"nobody has dialled this worker within {WAIT:g} s")
            for key, _ in ready:
                visitor: Any = key.fileobj
                if visitor is self._door:
                    self._open()
                elif visitor in self._said:
                    self._hear(visitor)
        connection = self._known.popleft()
        connection.settimeout(PATIENCE)
        return connection

    def _open(self) -> None:
        with contextlib.suppress(OSError):  # it has gone again
            connection, _ = self._door.accept()
            connection.setblocking(False)
            if len(self._said) >= MOST:
                self._dismiss(next(iter(self._said)))
            self._said[connection] = b""
            self._selector.register(connection, selectors.EVENT_READ)

    def _hear(self, visitor: socket.socket) -> None:
        said = self._said[visitor]
        try:
            part = visitor.recv(len(self._knock) - len(said))
        except BlockingIOError:
            return
        except OSError:
            part = b""
        said += part
        if not part or not hmac.compare_digest(said, self._knock[: len(said)]):
            self._dismiss(visitor)
            return
        self._said[visitor] = said
        if len(said) == len(self._knock):
            del self._said[visitor]
            self._selector.unregister(visitor)
            self._known.append(visitor)

    def _dismiss(self, visitor: socket.socket) -> None:
        del self._said[visitor]
        self._selector.unregister(visitor)
        visitor.close()
