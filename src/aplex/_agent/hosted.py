"""The agent beside a process that is to be the worker, where this one may not fork it.

A process that a cluster has started is the worker itself where works are to use what the cluster
has put into it (a connection to Ray, say). It has threads of the cluster's, so it cannot fork. So
it starts this agent, as a program (`host.be_worker`), and both keep an end of a socket pair:

1. The host tells the agent which place it is to have.
2. The agent dials the pool, and sends the host the connections of the lanes, the memory of the
   counters, the lifeline, and how to begin; or one line that says why not.
3. The host works. Just before it ends in order, it says its exit code.

From then on all is as with a worker that the agent has forked, but that this is no child: its exit
code is what it has said, or what the kernel knows (Linux 6.15), or what its last words tell.

What has started the host, a node's part of the cluster, counts its places: if that dies, the worker
is killed, as nobody counts it any more.

The agent is nobody's child: some clusters kill the children of a process that ends, and the end is
what it is there to tell. It ends when the worker has, or the pool.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import sys
from typing import Any, Final

from aplex._agent import tunnels
from aplex._agent.body import make_progress
from aplex._agent.dialing import Place
from aplex._wire.counters import Progress
from aplex._wire.frames import PipeEnd, Reader, Writer
from aplex._wire.handshake import RefusedError

if sys.platform != "win32":
    from aplex._agent.agent import Agent, hear_nothing, make_lifeline
    from aplex._agent.arrival import arrive
    from aplex._agent.ward import Ward

assert sys.platform != "win32"

_GET_INFO: Final = 0xC040FF0B
"""``PIDFD_GET_INFO`` with the smallest `struct pidfd_info`, of Linux 6.13; see `pidfd.h`."""
_INFO: Final = struct.Struct("=QQ11Ii")
_EXITED: Final = 1 << 3  # ``PIDFD_INFO_EXIT``, of Linux 6.15
_FAULTS: Final = {
    "Segmentation fault": signal.SIGSEGV,
    "Aborted": signal.SIGABRT,
    "Bus error": signal.SIGBUS,
    "Floating": signal.SIGFPE,
    "Illegal instruction": signal.SIGILL,
}
"""What ``faulthandler`` calls them."""
YES: Final = b"Y"
"""The agent's verdict: descriptors come with it, and how to begin follows."""
NO: Final = b"N"
"""The other one: the reason follows."""


class HostedWard(Ward):
    """A worker that is no child of this process."""

    def __init__(
        self, pid: int, pidfd: PipeEnd | None, host: socket.socket, progress: Progress
    ) -> None:
        """Look after it.

        Args:
            pid: Its process.
            pidfd: A pidfd of it, where there is such.
            host: The socket pair.
            progress: Where it counts.
        """
        super().__init__(pid, host if pidfd is None else pidfd)
        self._host = host
        self._pidfd = pidfd
        self._progress = progress
        self._killed = False

    def kill(self) -> None:
        self._killed = True
        if self._pidfd is None:
            super().kill()
        elif sys.platform == "linux":
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd.fileno(), signal.SIGKILL)

    def how_ended(self) -> tuple[int | None, int | None]:
        self._host.setblocking(False)
        said = b""
        with contextlib.suppress(OSError):
            said = self._host.recv(1)
        if said:
            return said[0], None
        code = None if self._pidfd is None else _code_of(self._pidfd)
        if code is None:
            code = -signal.SIGKILL if self._killed else _code_told(self._progress.last_words())
        return code, None


def _code_of(pidfd: PipeEnd) -> int | None:
    """Return the exit code of a process that has ended, if the kernel tells whoever asks."""
    import fcntl

    info = bytearray(_INFO.pack(_EXITED, *[0] * 13))
    try:
        fcntl.ioctl(pidfd.fileno(), _GET_INFO, info)
    except OSError:  # an older kernel
        return None
    mask, *_, status = _INFO.unpack(info)
    return os.waitstatus_to_exitcode(status) if mask & _EXITED else None


def _code_told(words: str) -> int | None:
    """Return the exit code of a crash of which ``faulthandler`` has told."""
    _, fatal, rest = words.rpartition("Fatal Python error: ")
    for name, number in _FAULTS.items() if fatal else ():
        if rest.startswith(name):
            return -number
    return None


def attend(connection: int, pid: int, pidfd: int, keeper: int = -1) -> None:
    """Be the agent of a process; returns when all is over. The program's main function.

    Args:
        connection: The descriptor of the agent's end of the socket pair.
        pid: The process.
        pidfd: What can be read when it has ended; -1: its end of the socket pair tells.
        keeper: The same of what has started it; -1: nobody tells.
    """
    if os.fork():  # see the module
        os._exit(0)
    host = socket.socket(fileno=connection)
    end = None if pidfd < 0 else PipeEnd(pidfd)
    frames = Reader(PipeEnd(os.dup(connection)))
    writer = Writer(PipeEnd(os.dup(connection)))
    try:
        place = Place(*_read(frames))
    except (EOFError, OSError):  # the process has ended before it was to be a worker
        return
    try:
        arrived = arrive(place)
    except (RefusedError, EOFError, OSError) as error:
        with contextlib.suppress(OSError):
            host.sendall(NO)
            writer.write(str(error) or "the connection ended")
        return
    memory, common, modules = arrived.belongings
    progress = make_progress(arrived.welcome, place.number)
    lanes = [arrived.coroutines, arrived.plain]
    agent = Agent(arrived.control, lanes, progress)
    signal.signal(signal.SIGINT, hear_nothing)
    signal.signal(signal.SIGTERM, agent.leave)
    lifeline, theirs = make_lifeline()
    page = progress.page.end
    assert page is not None
    given = [*lanes, theirs, progress.file, page]
    if arrived.logs is not None:
        given.append(arrived.logs)
    given += memory
    if common is not None:
        given.append(common)
    if arrived.bulk is not None:
        lanes.append(arrived.bulk)
        given.append(arrived.bulk)
    with contextlib.suppress(OSError):  # it has ended: that is read
        # First, and read apart: a read that goes on into them would drop the descriptors.
        socket.send_fds(host, [YES], [one.fileno() for one in given])
        writer.write((arrived.welcome, modules, bool(memory), common is not None))
    arrived.welcome["setup"].clear()
    for one in (theirs, page, arrived.logs, *memory):
        if one is not None:
            one.close()
    started_by = None if keeper < 0 else PipeEnd(keeper)
    agent.run(HostedWard(pid, end, host, progress), lifeline, started_by)
    tunnels.finish(arrived.control, *lanes)


def _read(reader: Reader) -> Any:
    while not reader.frames:
        reader.read()
    return reader.frames.popleft()
