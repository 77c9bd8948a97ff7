"""How TCP connections between a pool and its workers are set up."""

from __future__ import annotations

import socket
from typing import Final

IDLE: Final = 5
"""Seconds of silence after which the kernel asks whether the other machine is there."""
INTERVAL: Final = 2
"""Seconds between two such questions."""
PROBES: Final = 3
"""How many of them have no answer before the connection is lost."""
GIVE_UP: Final = 11_000
"""Milliseconds after which what was sent, and not acknowledged, means the same."""


def tune(connection: socket.socket, *, watched: bool) -> None:
    """Have small frames sent at once.

    Args:
        connection: Which one.
        watched: Whether the kernel is to notice that the other machine is lost, although nothing
            is sent: see `tcp(7)` of the Linux manual. That costs no process anything, and code of C
            that keeps the interpreter lock is not taken for a death. (Not where the other side may
            stop reading for long: `TCP_USER_TIMEOUT` would end that connection, too.)
    """
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if not watched:
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", IDLE),
        ("TCP_KEEPALIVE", IDLE),  # its name on macOS
        ("TCP_KEEPINTVL", INTERVAL),
        ("TCP_KEEPCNT", PROBES),
        ("TCP_USER_TIMEOUT", GIVE_UP),
    ):
        option = getattr(socket, name, None)
        if option is not None:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
