"""Makes a process that a cluster has started into a worker, without forking. See `hosted`."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Final

from aplex._agent.belongings import Belongings
from aplex._agent.body import begin
from aplex._agent.dialing import Place
from aplex._wire.counters import Progress
from aplex._wire.frames import PipeEnd, Reader, Writer
from aplex._wire.handshake import RefusedError

if sys.platform != "win32":
    from aplex._agent.hosted import YES

assert sys.platform != "win32"

_PROGRAM: Final = (
    "import sys; sys.path[:] = {path!r}; from aplex._agent.hosted import attend; attend{arguments}"
)
_MOST: Final = 8
"""Descriptors that the agent sends."""


def be_worker(place: Place) -> Callable[[], None]:
    """Be a worker, until the pool does not want it any more. On the main thread.

    Args:
        place: Which worker of which pool.

    Returns:
        What is to be called just before the process ends in order.

    Raises:
        RefusedError: The pool does not want it, or cannot be reached.
        OSError: There are too many open files, say.
    """
    ours = _start_agent(place.listener)
    end = PipeEnd(os.dup(ours.fileno()))
    Writer(end).write(tuple(place))
    verdict, received, _, _ = socket.recv_fds(ours, 1, _MOST)
    reader: Reader = Reader(end)
    try:
        while not reader.frames:
            reader.read()
    except (EOFError, OSError) as error:
        raise RefusedError("the agent of this worker has ended") from error
    finally:
        end.close()
    if verdict != YES:
        raise RefusedError(reader.frames[0])
    welcome, modules, has_memory, has_common = reader.frames.popleft()
    given = [PipeEnd(fd) for fd in received]
    for one in given:
        os.set_inheritable(one.fileno(), False)
    coroutines, plain, lifeline, words, page, *others = given
    logs = others.pop(0) if welcome["logs"] else None
    # Ray has it write to a log; we tell of a crash whoever waits for the works.
    faulthandler.disable()
    memory = [others.pop(0), others.pop(0)] if has_memory else []
    common = others.pop(0) if has_common else None
    belongings = Belongings(memory, common, modules)
    ends = (coroutines, plain, lifeline, logs, None if has_memory else others.pop(0))
    begin(welcome, place.number, ends, belongings, Progress(words, page))

    def say_goodbye() -> None:
        with contextlib.suppress(OSError):
            ours.send(b"\0")

    return say_goodbye


def _start_agent(listener: int) -> socket.socket:
    """Start the agent of this process; return our end of the socket pair.

    Args:
        listener: `Place.listener`, which is the agent's from now on.
    """
    ours, theirs = socket.socketpair()
    pidfd, keeper = _pidfd(os.getpid()), _pidfd(os.getppid())
    known = [fd for fd in (pidfd, keeper, listener) if fd >= 0]
    passed = [theirs.fileno(), *known]
    arguments = (theirs.fileno(), os.getpid(), pidfd, keeper)
    program = _PROGRAM.format(path=sys.path, arguments=arguments)
    with theirs:
        started = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-c", program],
            stdin=subprocess.DEVNULL,
            pass_fds=passed,
            start_new_session=True,
        )
        for fd in known:
            os.close(fd)
    started.wait()
    return ours


def _pidfd(pid: int) -> int:
    """Return what can be read when a process has ended; -1 where nothing tells that."""
    if sys.platform == "linux" and hasattr(os, "pidfd_open") and pid > 1:
        with contextlib.suppress(OSError):  # an old kernel; or it has ended, and is not waited for
            return os.pidfd_open(pid)
    return -1
