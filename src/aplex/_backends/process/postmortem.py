"""What can be found out about a worker process that has died.

Nothing here costs anything while works run: all of it is looked up after the death. That may
be when no descriptor is left in this process, so nothing is imported or opened then.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from aplex._pool.state import PoolWorker
from aplex._wire.counters import Progress
from aplex._worker.signals import KILL

if TYPE_CHECKING:
    from aplex.exceptions import WorkerLostError

if sys.platform == "linux":
    import resource

    def _own_peak() -> int:
        """Return the peak RSS of this process, in KiB."""
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

else:

    def _own_peak() -> int:
        """Return what is never asked for: elsewhere the unit differs."""
        return 0


NAMED: Final = 16
"""Works in flight that are named; there may be hundreds."""
_SHOWN: Final = 8 * 1024  # characters of a stack
_ALL: Final = 64 * 1024  # bytes: more than the file with the counter has
_FATAL: Final = "Fatal Python error:"  # how a dump of faulthandler begins
_CURRENT: Final = "Current thread"  # how the stack of the thread that has crashed begins
_STDERR: Final = 2  # the worker has inherited it
_PIECE: Final = 512  # bytes: a pipe that can be written takes so many at once
_FAULTS: Final = {"SIGSEGV", "SIGFPE", "SIGABRT", "SIGBUS", "SIGILL"}  # what it handles


def postmortem(
    worker: PoolWorker,
    process: Any,
    *,
    born: float,
    peak_rss: int | None,
    progress: Progress,
    out_of_memory: Callable[[], bool | None],
) -> WorkerLostError:
    """Return what is known about the death of a worker.

    Args:
        worker: The worker, with the works that were in flight.
        process: Its ``multiprocessing.Process``, ended.
        born: When it was started, on the clock of ``time.monotonic``.
        peak_rss: As `reap` has found it.
        progress: Where it left its last words.
        out_of_memory: Called if it was killed by SIGKILL: whether the kernel did it,
            for want of memory.
    """
    killed = process.exitcode == -KILL
    names = [work.name for work, _ in zip(worker.works.values(), range(NAMED), strict=False)]
    # Executors have imported it. In a step nobody waits for the lock of late imports: a signal
    # handler that breaks into one waits for the step.
    from aplex.exceptions import WorkerLostError

    return WorkerLostError(
        process.pid,
        process.exitcode,
        worker.workload,
        works=tuple(names),
        works_done=worker.works_done,
        uptime=time.monotonic() - born,
        out_of_memory=out_of_memory() if killed else False,
        peak_rss=peak_rss,
        reason=worker.why_killed if killed else None,
        stack=_stack(process.exitcode, progress),
    )


def _stack(exitcode: int | None, progress: Progress) -> str | None:
    """Return the last dump of faulthandler, if it can be of this death.

    A program that a work has forked off inherits the handler, and may have died before.
    """
    if exitcode is None or exitcode >= 0:
        return None
    try:
        name = signal.Signals(-exitcode).name
    except ValueError:
        return None
    words = progress.last_words() if name in _FAULTS else ""
    start = words.rfind(_FATAL)
    if start < 0:
        return None
    head, _, rest = words[start:].partition("\n")
    return f"{head}\n\n{rest[max(0, rest.find(_CURRENT)) :].lstrip()}"[:_SHOWN]


def show_crash(progress: Progress) -> None:
    """Write to stderr the stack that was to be written there; never blocks, never raises."""
    if not progress.is_for_stderr:
        return
    words = progress.last_words()
    start = words.find(_FATAL)
    rest = f"{words[start:]}\n".encode() if start >= 0 else b""
    with contextlib.suppress(OSError):  # it is closed
        while rest and _is_writable(_STDERR):
            rest = rest[os.write(_STDERR, rest[:_PIECE]) :]


def _is_writable(fd: int) -> bool:
    if sys.platform == "win32":  # where nothing tells; and nothing was kept for stderr there
        return False
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(0))


def reap(process: Any) -> int | None:
    """Take the exit status of a process that has ended; return its peak RSS in bytes.

    ``multiprocessing`` throws the resource usage away, and nothing else has it: so its
    object is told the exit status that is taken here. None if the process is no child of
    this one (``forkserver``), if someone else was first, or if the figure may be that of
    this process: it passes from parent to child at the fork.
    """
    if sys.platform != "linux":  # elsewhere the unit differs
        return None
    popen: Any = getattr(process, "_popen", None)
    if is_forked(process):  # the template has taken it
        return cast("int | None", popen.peak_rss)
    if getattr(popen, "method", None) not in ("spawn", "fork") or popen.returncode is not None:
        return None
    try:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
    except ChildProcessError:
        return None
    if pid == 0:
        return None
    popen.returncode = os.waitstatus_to_exitcode(status)
    peak = usage.ru_maxrss
    return peak * 1024 if peak > _own_peak() else None


def is_forked(process: Any) -> bool:
    """Whether a process, which was started, was forked by a template process."""
    return getattr(getattr(process, "_popen", None), "method", None) == "template"


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
