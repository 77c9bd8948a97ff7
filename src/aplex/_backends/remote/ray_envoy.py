"""The RayEnvoy: the pool's side of the child process that holds the connection to Ray.

What it is told and tells, are frames over a socket pair; see `aplex._ray.envoy`.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

from aplex._wire.frames import PipeEnd, Reader, Writer

if TYPE_CHECKING:
    from aplex._backends.remote.launcher import Order

BEGIN, LAUNCH, KILL, JOINED, FAILED, PLACED, ENDED, LISTENS, MISSED = range(9)
"""What `aplex._ray.envoy` knows."""
_PROGRAM: Final = (
    "import sys; sys.path[:] = {path!r}; from aplex._ray.envoy import main; main{arguments}"
)


class RayEnvoy:
    """One that was started.

    Attributes:
        hatch: For descriptors, each with the number of an order: a read of frames would drop them.
        process: Which it is.
        end: The connection to it.
        reader: Reads there what it tells.
        orders: That it has, by number.
        joined: Whether it has found a cluster.
        missed: Whether it has found that the head is gone.
        failure: Why it has found no cluster.
    """

    def __init__(self, *, quiet: bool) -> None:
        """Start it.

        Args:
            quiet: Whether nothing of what it and Ray print is to be seen.

        Raises:
            OSError: There is no memory, or there are too many processes or open files.
        """
        with contextlib.ExitStack() as theirs, contextlib.ExitStack() as ours:

            def pair(kind: int) -> tuple[socket.socket, int]:
                one, other = socket.socketpair(type=kind)
                ours.enter_context(one)
                return one, theirs.enter_context(other).fileno()

            connection, there = pair(socket.SOCK_STREAM)
            self.hatch, hatch_there = pair(socket.SOCK_SEQPACKET)
            self.process = _started((there, hatch_there), quiet=quiet)
            ours.pop_all()  # they are kept
        self.hatch.setblocking(False)
        self.end = PipeEnd(connection.detach())
        self.reader, self._writer = Reader(self.end), Writer(self.end)
        self.orders: dict[int, Order] = {}
        self.joined = False
        self.missed = False
        self.failure: str | None = None

    def tell(self, *message: Any) -> None:
        """Tell it something. It may have ended: that is read."""
        with contextlib.suppress(OSError):
            self._writer.write(message)

    def pass_on(self, number: int, connection: socket.socket) -> None:
        """Have it connect that inside the cluster, for an order; it may have ended, likewise."""
        data = number.to_bytes(8, sys.byteorder)
        if sys.platform != "win32":  # where there are no envoys
            with contextlib.suppress(OSError):
                socket.send_fds(self.hatch, [data], [connection.fileno()])

    def close(self) -> None:
        """Have it leave."""
        self.hatch.close()
        self.end.close()


def _started(passed: tuple[int, ...], *, quiet: bool) -> subprocess.Popen[bytes]:
    program = _PROGRAM.format(path=sys.path, arguments=passed)
    return subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-c", program],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL if quiet else None,
        stderr=subprocess.DEVNULL if quiet else None,
        pass_fds=passed,
        start_new_session=True,
    )
