"""What is told of the death of a worker, from what is known of it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from aplex._common.errors import RemoteTraceback, WorkerStartError
from aplex._pool.state import PoolWorker
from aplex._worker.signals import KILL

if TYPE_CHECKING:
    from aplex.exceptions import WorkerLostError

NAMED: Final = 16
"""Works in flight that are named; there may be hundreds."""
FATAL: Final = "Fatal Python error:"
"""How a dump of faulthandler begins."""
_SHOWN: Final = 8 * 1024  # characters of a stack
_CURRENT: Final = "Current thread"  # how the stack of the thread that has crashed begins
_FAULTS: Final = {"SIGSEGV", "SIGFPE", "SIGABRT", "SIGBUS", "SIGILL"}  # what it handles


def describe(
    worker: PoolWorker,
    exitcode: int | None,
    uptime: float,
    *,
    pid: int | None = None,
    out_of_memory: bool | None = None,
    peak_rss: int | None = None,
    words: Callable[[], str] = str,
    node: str | None = None,
    lost_by: str | None = None,
) -> WorkerLostError:
    """Return the error that works get which a dead worker had started. Under the lock.

    Args:
        worker: With the works that were in flight.
        exitcode: As of ``multiprocessing``; None: not known.
        uptime: Seconds for which it has lived.
        pid: Its process. None: what the worker has said of itself.
        out_of_memory: Whether the kernel has killed it for want of memory.
        peak_rss: The most that it held, in bytes.
        words: Returns its last words.
        node: The machine; None: this one.
        lost_by: What has happened, where nothing else is known of it.
    """
    names = [work.name for work, _ in zip(worker.works.values(), range(NAMED), strict=False)]
    # Executors have imported it. In a step nobody waits for the lock of late imports: a signal
    # handler that breaks into one waits for the step.
    from aplex.exceptions import WorkerLostError

    return WorkerLostError(
        worker.pid if pid is None else pid,
        exitcode,
        worker.workload,
        works=tuple(names),
        works_done=worker.works_done,
        uptime=uptime,
        out_of_memory=out_of_memory,
        peak_rss=peak_rss,
        reason=worker.why_killed if exitcode == -KILL else None,
        stack=_stack(exitcode, words),
        node=node,
        lost_by=lost_by,
    )


def _stack(exitcode: int | None, words: Callable[[], str]) -> str | None:
    """Return the last dump of faulthandler, if it can be of this death.

    A program that a work has forked off inherits the handler, and may have died before.
    """
    if exitcode is None or exitcode >= 0:
        return None
    try:
        name = signal.Signals(-exitcode).name
    except ValueError:
        return None
    said = words() if name in _FAULTS else ""
    start = said.rfind(FATAL)
    if start < 0:
        return None
    head, _, rest = said[start:].partition("\n")
    return f"{head}\n\n{rest[max(0, rest.find(_CURRENT)) :].lstrip()}"[:_SHOWN]


def never_served(error: WorkerLostError, last_words: str) -> WorkerStartError:
    """Return what to tell of a worker that ended before it was ready."""
    words = error.stack or last_words
    said = f"; its last words: {words.splitlines()[-1]}" if words else ""
    failure = WorkerStartError(
        f"worker process {error.pid} {error.cause} before it was ready, "
        f"after {error.uptime:.1f} s{said}"
    )
    failure.__cause__ = error
    if words and not error.stack and error.exitcode == 1:  # an exception: its traceback comes first
        error.__cause__ = RemoteTraceback(words)
    elif words:
        failure.add_note(f"the worker's last words:\n{words}")
    return failure
