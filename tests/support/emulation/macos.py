"""What macOS lacks of what Linux has, as far as aplex may want it."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import select
import selectors
import signal
import socket
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.support.emulation.views import PACKAGE, View, names_of

OF_LINUX = ("/proc", "/sys", "/dev/shm")


def views() -> dict[str, ModuleType]:
    """Return the views of modules."""
    return {
        "sys": View(sys, (), {"platform": "darwin"}),
        "os": View(
            os,
            names_of(os, "memfd_", "MFD_", "pidfd_", "eventfd", "EFD_", "sched_", "SCHED_")
            | names_of(os, "timerfd", "TFD_", "CLONE_", "setns", "unshare", "O_PATH", "O_TMPFILE")
            | {"P_PIDFD", "pipe2", "splice", "copy_file_range", "getrandom", "posix_fadvise"},
            {"fork": no_fork},
        ),
        "signal": View(
            signal,
            {"pidfd_send_signal", "sigwaitinfo", "sigtimedwait", "SIGRTMIN", "SIGRTMAX"}
            | {"SIGPWR", "SIGPOLL", "SIGCLD", "SIGSTKFLT"},
        ),
        "select": View(select, names_of(select, "epoll", "EPOLL")),
        # There it is `KqueueSelector`, which cannot be had here.
        "selectors": View(
            selectors, {"EpollSelector"}, {"DefaultSelector": selectors.PollSelector}
        ),
        "socket": View(
            socket,
            {"MSG_CMSG_CLOEXEC", "SOCK_CLOEXEC", "SOCK_NONBLOCK", "SOCK_SEQPACKET"}
            | names_of(socket, "AF_NETLINK", "AF_VSOCK", "SO_PASS", "SO_PEER"),
        ),
        "mmap": View(
            mmap,
            names_of(mmap, "MADV_REMOVE", "MADV_DO", "MADV_HUGE", "MADV_NOHUGE", "MADV_MERGE")
            | {"MAP_POPULATE", "MAP_STACK"},
        ),
        "fcntl": View(fcntl, names_of(fcntl, "F_ADD_SEALS", "F_GET_SEALS", "F_SEAL_", "F_OFD_")),
    }


MISSING: frozenset[str] = frozenset()
"""Modules that are not there."""


def no_fork() -> int:
    """Fail: the libraries of the system have threads and locks that a child would find broken."""
    raise AssertionError("aplex forks, where a process that was forked must exec")


def take_files() -> None:
    """Have aplex find no ``/proc`` and the like. For the whole life of this process."""
    sys.addaudithook(_look)


def _look(event: str, args: tuple[Any, ...]) -> None:
    if event in ("open", "os.listdir", "os.scandir") and args:
        path = args[0]
        if isinstance(path, Path):
            path = str(path)
        if isinstance(path, str) and path.startswith(OF_LINUX) and _is_for_aplex():
            raise FileNotFoundError(errno.ENOENT, "no such file (emulated)", path)


def _is_for_aplex() -> bool:
    """Whether it is aplex that opens a file, by itself or by ``pathlib``."""
    frame = sys._getframe(2)
    while frame is not None:
        module = frame.f_globals.get("__name__", "").partition(".")[0]
        if module not in ("pathlib", "os", "io", "_io"):
            return module == PACKAGE
        frame = frame.f_back  # type: ignore[assignment]
    return False
