"""Dials a pool, and proves to it who this is; the pool proves the same. See `_wire.handshake`."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from aplex._agent.tunnels import through
from aplex._wire import handshake
from aplex._wire.frames import PipeEnd
from aplex._wire.handshake import RefusedError
from aplex._wire.tcp import tune

if TYPE_CHECKING:
    from aplex._wire.tunnel import Tunnel

PATIENCE: Final = 10.0
"""Seconds in which the pool must have answered."""


class Place(NamedTuple):
    """Which worker this is, of which pool."""

    host: str
    port: int
    number: int
    token: bytes
    secret: bytes
    tls: tuple[str, str, str] | None = None  # the fields of its `Credentials`
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
    wire = connection = reach(place)
    tunnel = None
    if place.tls is not None:
        tunnel = through(place.tls, wire)
        connection = tunnel.end
        connection.settimeout(PATIENCE)
    try:
        nonce = handshake.nonce_of(_read(connection, handshake.GREETING_SIZE))
        secret = _secret(place, tunnel)
        said = handshake.answer(nonce, secret, channel, place.number, place.token)
        connection.sendall(said)
        handshake.check_verdict(_read_verdict(connection), said, nonce, secret)
        connection.settimeout(None)
        tune(wire, watched=channel == handshake.CONTROL)
    except (RefusedError, TimeoutError) as error:
        connection.close()
        if tunnel is not None and tunnel.failure:
            raise RefusedError(tunnel.failure) from error
        raise
    except BaseException:
        connection.close()
        raise
    return PipeEnd(connection.detach())


def _secret(place: Place, tunnel: Tunnel | None) -> bytes:
    if tunnel is None:
        return place.secret
    assert tunnel.certificate is not None  # it has one: something came through
    return handshake.bound(place.secret, tunnel.certificate)


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
