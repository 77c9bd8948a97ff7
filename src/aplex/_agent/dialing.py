"""Dials a pool, and proves to it who this is; the pool proves the same. See `_wire.handshake`."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import Final, NamedTuple

from aplex._wire import handshake
from aplex._wire.frames import PipeEnd
from aplex._wire.handshake import RefusedError
from aplex._wire.tcp import tune

PATIENCE: Final = 10.0
"""Seconds in which the pool must have answered."""


class Place(NamedTuple):
    """Which worker this is, of which pool."""

    host: str
    port: int
    number: int
    token: bytes
    secret: bytes
    listener: int = -1  # a descriptor that listens, where the pool dials the worker


def reach(place: Place) -> socket.socket:
    """Return a connection to what listens where the pool should."""
    return socket.create_connection((place.host, place.port), PATIENCE)


def dial(place: Place, channel: int, reach: Callable[[Place], socket.socket] = reach) -> PipeEnd:
    """Return a connection on which both sides know who the other one is.

    Args:
        place: Whose.
        channel: Which one.
        reach: What makes the connection.

    Raises:
        RefusedError: The pool does not want us, or we do not want it.
        OSError: It cannot be reached, or does not answer.
    """
    connection = reach(place)
    try:
        nonce = handshake.nonce_of(_read(connection, handshake.GREETING_SIZE))
        said = handshake.answer(nonce, place.secret, channel, place.number, place.token)
        connection.sendall(said)
        handshake.check_verdict(_read_verdict(connection), said, nonce, place.secret)
        connection.settimeout(None)
        tune(connection, watched=channel == handshake.CONTROL)
    except BaseException:
        connection.close()
        raise
    return PipeEnd(connection.detach())


def _read_verdict(connection: socket.socket) -> bytes:
    data = _read(connection, 1)
    while (size := handshake.length_of_verdict(data)) > len(data):
        data += _read(connection, size - len(data))
    return data


def _read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = b""
        with contextlib.suppress(ConnectionResetError):
            part = connection.recv(size - len(data))
        if not part:
            raise RefusedError(
                "it has closed the connection: it is no aplex pool, or has too many visitors"
            )
        data += part
    return data
