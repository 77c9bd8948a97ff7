"""The tunnels of an agent, where its pool wants TLS: one set for the process, see `_wire.tunnels`.

They have a thread; and an agent forks. So it pauses them for that, and the worker, which has
copies of their descriptors, closes these: else its connections would outlive its agent.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final

from aplex._wire.handshake import RefusedError

if TYPE_CHECKING:
    from aplex._wire.frames import PipeEnd
    from aplex._wire.tunnel import Tunnel
    from aplex._wire.tunnels import Tunnels

LAST: Final = 5.0
"""Seconds in which that must have been passed on which the network has not taken yet."""
_tunnels: Tunnels | None = None


def through(credentials: tuple[str, str, str], wire: socket.socket) -> Tunnel:
    """Return a tunnel for a connection to the pool, which is its own from now on.

    Args:
        credentials: Of the worker.
        wire: The connection.

    Raises:
        RefusedError: The credentials cannot be used.
        OSError: There are too many open files, say.
    """
    global _tunnels  # noqa: PLW0603
    if _tunnels is None:
        from aplex._wire.credentials import Credentials
        from aplex._wire.tls import context_of
        from aplex._wire.tunnels import Tunnels

        try:
            context = context_of(Credentials(*credentials), is_pool=False)
        except (OSError, ValueError) as error:
            wire.close()
            raise RefusedError(f"not dialled: {error}") from error
        _tunnels = Tunnels(context, is_pool=False)
    try:
        return _tunnels.open(wire)
    except RuntimeError as error:  # there can be no more threads
        raise OSError(str(error)) from error


def pause() -> None:
    """Have no thread: before a fork."""
    if _tunnels is not None:
        _tunnels.pause()


def resume() -> None:
    """Have it again: after that."""
    if _tunnels is not None:
        _tunnels.start()


def finish(*ends: PipeEnd) -> None:
    """Have what is on its way passed on, before this process ends.

    Args:
        ends: Of connections that are not used any more.
    """
    if _tunnels is not None:
        for end in ends:
            end.close()
        _tunnels.finish(LAST)


def abandon() -> None:
    """In the child: close what belongs to the parent."""
    global _tunnels
    tunnels, _tunnels = _tunnels, None
    if tunnels is not None:
        tunnels.abandon()
