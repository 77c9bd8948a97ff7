"""The kernel's counter of processes that it has killed, since memory ran out. A leaf."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Final

_ALL: Final = 64 * 1024  # bytes: more than the file with the counter has


class OomKills:
    """Watches a counter of the kernel: processes killed since memory ran out.

    That of our cgroup (version 2), or, where that cannot be read, that of the whole system.
    """

    def __init__(self) -> None:
        path = _counter()
        self._fd: int | None = None
        if sys.platform == "linux" and path is not None:
            with contextlib.suppress(OSError):
                self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._blamed = self._count()

    def blame(self) -> bool | None:
        """Whether the kernel has killed a process that it was not blamed for yet.

        None if the counter cannot be read.
        """
        count = self._count()
        if count is None or self._blamed is None:
            return None
        if count <= self._blamed:
            return False
        self._blamed += 1  # one at a time: several workers may have been killed at once
        return True

    def close(self) -> None:
        """Watch it no more."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def _count(self) -> int | None:
        if sys.platform != "linux" or self._fd is None:
            return None
        try:
            lines = os.pread(self._fd, _ALL, 0).splitlines()
            return next(int(line.split()[1]) for line in lines if line.startswith(b"oom_kill "))
        except (OSError, ValueError, StopIteration):
            return None


def _counter() -> Path | None:
    """Return the file with the counter."""
    if sys.platform != "linux":
        return None
    try:
        lines = Path("/proc/self/cgroup").read_bytes().splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith(b"0::"):
            group = os.fsdecode(line[3:].strip(b"/"))
            events = Path("/sys/fs/cgroup", group, "memory.events")
            if events.is_file():
                return events
    return Path("/proc/vmstat")
