"""Worker processes as the system shows them, and how to strike one and nobody else.

A process id may belong to somebody else a moment later. So a signal goes through a pidfd, and
only after that process was seen to be a worker of the given parent.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path


def children(parent: int) -> list[int]:
    """Return the process ids of the children, zombies too."""
    pids: list[int] = []
    with contextlib.suppress(OSError):  # it has ended
        for task in Path(f"/proc/{parent}/task").iterdir():
            with contextlib.suppress(OSError):  # a thread that has ended
                pids += map(int, (task / "children").read_text().split())
    return pids


def workers(parent: int) -> list[int]:
    """Return the process ids of spawned workers, those that start included."""
    return [pid for pid in children(parent) if _is_worker(pid)]


def strike(pid: int, number: int, parent: int) -> bool:
    """Send a signal to a worker of that parent; return whether it was there."""
    with _process(pid) as fd:
        if fd is None or _parent(pid) != parent:
            return False
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(fd, number)
            return True
    return False


@contextlib.contextmanager
def _process(pid: int) -> Iterator[int | None]:
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        yield None
        return
    try:
        yield fd
    finally:
        os.close(fd)


def _is_worker(pid: int) -> bool:
    try:
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _parent(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[1])
