"""What can be found out about a worker process that has died.

Nothing here costs anything while works run: all of it is looked up after the death. That may
be when no descriptor is left in this process, so nothing is imported or opened then.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, cast

from aplex._backends.linked.deaths import FATAL, describe
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


_STDERR: Final = 2  # the worker has inherited it
_PIECE: Final = 512  # bytes: a pipe that can be written takes so many at once


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
    return describe(
        worker,
        process.exitcode,
        time.monotonic() - born,
        pid=process.pid,
        out_of_memory=out_of_memory() if killed else False,
        peak_rss=peak_rss,
        words=progress.last_words,
    )


def show_crash(progress: Progress) -> None:
    """Write to stderr the stack that was to be written there; never blocks, never raises."""
    if not progress.is_for_stderr:
        return
    words = progress.last_words()
    start = words.find(FATAL)
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
