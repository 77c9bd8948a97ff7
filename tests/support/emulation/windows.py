"""What Windows lacks besides, and what it has instead, as far as aplex may want it.

What stands for it here: TCP connections to ourselves (so `socket.socketpair` works there), a
`msvcrt` whose handles are descriptors under another number, sockets that are shared with a
process which is being started, a selector that refuses what is no socket, and an event loop that
watches none. A process that is killed has the exit code that `multiprocessing` gives it there.
"""

from __future__ import annotations

import asyncio
import enum
import errno
import mmap
import multiprocessing
import os
import select
import selectors
import signal
import socket
import stat
import struct
import sys
from multiprocessing import popen_fork, popen_spawn_posix, reduction, resource_tracker, spawn
from multiprocessing.context import get_spawning_popen
from types import ModuleType
from typing import Any, Self

from tests.support.emulation import macos
from tests.support.emulation.views import View, names_of

MISSING = frozenset(
    {
        *("fcntl", "resource", "termios", "pwd", "grp", "uvloop"),
        *("multiprocessing.popen_fork", "multiprocessing.popen_spawn_posix"),
    }
)
"""Modules that are not there."""

SIGNALS = ("SIGABRT", "SIGFPE", "SIGILL", "SIGINT", "SIGSEGV", "SIGTERM")
HANDLES = 2**20
"""What the number of a handle is more than that of the descriptor."""
TERMINATE = 0x10000
"""The exit code of what `multiprocessing` has ended there, for which it says SIGTERM."""
OF_POSIX = {
    *("fork", "forkpty", "register_at_fork", "readv", "writev", "preadv", "pwritev", "pread"),
    *("pwrite", "set_blocking", "get_blocking", "wait", "wait3", "wait4", "waitid", "fchdir"),
    *("sysconf", "mkfifo", "killpg", "getpgid", "setsid", "statvfs", "fchmod", "sendfile"),
    *("getuid", "geteuid", "getpgrp", "ctermid", "fchown", "fstatvfs", "openpty", "confstr"),
}
OF_SIGNAL = {
    *("pthread_kill", "pthread_sigmask", "sigpending", "sigwait", "alarm", "setitimer", "pause"),
    *("siginterrupt", "SIG_BLOCK", "SIG_UNBLOCK", "SIG_SETMASK", "Sigmasks", "getitimer"),
}


def views() -> dict[str, ModuleType]:
    """Return the views of modules."""
    made = macos.views()
    sockets_only = View(
        selectors,
        {"EpollSelector", "PollSelector", "DevpollSelector", "KqueueSelector"},
        {"SelectSelector": SelectSelector, "DefaultSelector": SelectSelector},
    )
    others = {name for name in dir(signal) if name.startswith("SIG") and name.isalnum()}
    numbers = enum.IntEnum("Signals", {name: getattr(signal, name) for name in SIGNALS})
    known_reduction = View(reduction, {"DupFd", "sendfds", "recvfds"})
    no_tracker = View(resource_tracker, {"ensure_running", "getfd"})
    return made | {
        "sys": View(sys, (), {"platform": "win32"}),
        "os": View(
            os,
            vars(made["os"])["_missing"]
            | OF_POSIX
            | names_of(os, "posix_", "sched_", "W", "EX_", "P_", "O_CLOEXEC", "O_NONBLOCK")
            | names_of(os, "O_DIRECTORY", "O_NOFOLLOW", "O_SYNC", "O_DSYNC", "O_ASYNC"),
            {"kill": kill, "O_BINARY": 0, "O_NOINHERIT": 0},
        ),
        "signal": View(
            signal,
            OF_SIGNAL | vars(made["signal"])["_missing"] | (others - set(SIGNALS)),
            {"Signals": numbers},
        ),
        "select": View(select, names_of(select, "epoll", "EPOLL", "poll", "POLL")),
        "selectors": sockets_only,
        "socket": View(
            socket,
            names_of(socket, "AF_UNIX", "SCM_", "CMSG_", "MSG_CMSG", "MSG_DONTWAIT", "SOCK_SEQ")
            | vars(made["socket"])["_missing"],
            {"socketpair": socketpair, "fromshare": fromshare},
        ),
        "mmap": View(mmap, names_of(mmap, "MAP_", "MADV_", "PROT_"), {"mmap": Mapping}),
        "msvcrt": _msvcrt(),
        "asyncio": View(asyncio, (), {"ProactorEventLoop": ProactorEventLoop}),
        "multiprocessing": View(
            multiprocessing,
            (),
            {"reduction": known_reduction, "resource_tracker": no_tracker},
        ),
        "multiprocessing.reduction": known_reduction,
        "multiprocessing.resource_tracker": no_tracker,
    }


def take_what_is_not_aplexs() -> None:
    """Change what aplex does not import, but what it is given, or what it starts.

    The event loop that others make, what a killed process leaves, how handles travel.
    """
    asyncio.DefaultEventLoopPolicy._loop_factory = ProactorEventLoop
    popen_fork.Popen.poll = _poll(popen_fork.Popen.poll)
    popen_fork.Popen.terminate = popen_fork.Popen.kill = _kill_process
    popen_spawn_posix.Popen.pid = 0  # there it is known before the process object is pickled
    popen_spawn_posix.Popen.duplicate_for_child = _duplicate(
        popen_spawn_posix.Popen.duplicate_for_child
    )
    sys.modules["msvcrt"] = _msvcrt()  # what `subprocess` has looked for, and not found
    assert spawn.get_executable()


# -- processes ------------------------------------------------------------------------------


def kill(pid: int, number: int) -> None:
    """End a process without asking it, as ``TerminateProcess`` does; its code is the number."""
    if pid == os.getpid() and number != TERMINATE:
        os._exit(number)
    os.kill(pid, signal.SIGKILL)  # which is told by the number that `multiprocessing` knows


def _kill_process(popen: Any) -> None:
    popen._send_signal(signal.SIGKILL)


def _poll(real: Any) -> Any:
    def poll(popen: Any, *args: Any) -> Any:
        code = real(popen, *args)
        if code == -signal.SIGKILL:
            code = popen.returncode = -signal.SIGTERM
        return code

    return poll


# -- handles --------------------------------------------------------------------------------


def _msvcrt() -> ModuleType:
    module = ModuleType("msvcrt")
    vars(module).update(
        get_osfhandle=lambda fd: os.fstat(fd) and fd + HANDLES,
        open_osfhandle=lambda handle, _flags: _opened(handle - HANDLES),
    )
    return module


def _opened(fd: int) -> int:
    assert fd >= 0, "this is no handle"
    os.set_inheritable(fd, False)
    return fd


def _duplicate(real: Any) -> Any:
    def duplicate_for_child(popen: Any, fd: int) -> int:
        return real(popen, fd - HANDLES) + HANDLES if fd >= HANDLES else real(popen, fd)

    return duplicate_for_child


# -- sockets --------------------------------------------------------------------------------

_SHARED = struct.Struct("<q")


class Socket(socket.socket):
    """A socket that is shared with a process."""

    def share(self, pid: int) -> bytes:
        """Return what that process makes a copy of it of."""
        popen: Any = get_spawning_popen()
        assert popen.pid == pid
        return _SHARED.pack(popen.duplicate_for_child(self.fileno()))

    def sendmsg(self, *_: Any) -> Any:
        raise AttributeError("sendmsg (emulated)")

    def recvmsg(self, *_: Any) -> Any:
        raise AttributeError("recvmsg (emulated)")


def fromshare(data: bytes) -> Socket:
    """Return our copy of a socket."""
    (fd,) = _SHARED.unpack(data)
    os.set_inheritable(fd, False)
    return Socket(fileno=fd)


def socketpair() -> tuple[Socket, Socket]:
    """Return two sockets that are joined by TCP."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        left = Socket(socket.AF_INET, socket.SOCK_STREAM)
        left.connect(listener.getsockname())
        accepted, _ = listener.accept()
    return left, Socket(fileno=accepted.detach())


class SelectSelector(selectors.SelectSelector):
    """Waits for sockets only."""

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Begin to wait for a socket."""
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        if not stat.S_ISSOCK(os.fstat(fd).st_mode):
            raise OSError(errno.ENOTSOCK, f"{fileobj!r} is no socket (emulated)")
        return super().register(fileobj, events, data)


class ProactorEventLoop(asyncio.SelectorEventLoop):
    """Watches no descriptors for others, and no signals."""

    add_reader = asyncio.AbstractEventLoop.add_reader
    remove_reader = asyncio.AbstractEventLoop.remove_reader
    add_writer = asyncio.AbstractEventLoop.add_writer
    remove_writer = asyncio.AbstractEventLoop.remove_writer
    add_signal_handler = asyncio.AbstractEventLoop.add_signal_handler
    remove_signal_handler = asyncio.AbstractEventLoop.remove_signal_handler


class Mapping(mmap.mmap):
    """Memory, with the arguments that there are on Windows."""

    def __new__(
        cls, fileno: int, length: int, tagname: str | None = None, access: int = 0, offset: int = 0
    ) -> Self:
        """Map a file, or memory without a name."""
        assert tagname is None, "a name that outlives a process"
        return super().__new__(cls, fileno, length, access=access, offset=offset)

    def madvise(self, *_: Any) -> None:
        raise AttributeError("madvise (emulated)")
