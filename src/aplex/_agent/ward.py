"""The Ward: the worker process that an agent has forked, and looks after."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from typing import Any

from aplex._common.ends import wait_for_end
from aplex._wire.frames import PipeEnd, one_way
from aplex._worker.signals import KILL


class Ward:
    """A worker process. What differs if it is no child of this one can be overridden.

    Attributes:
        pid: Its process.
        end: Can be read when it has ended.
    """

    def __init__(self, pid: int, end: Any = None) -> None:
        """Look after a process that has begun.

        Args:
            pid: Its id.
            end: Can be read when it has ended. None: what tells that of a child.
        """
        self.pid = pid
        self.end = _end_of(pid) if end is None else end

    def kill(self) -> None:
        """Kill it, if it has not ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, KILL)

    def how_ended(self) -> tuple[int | None, int | None]:
        """Return the exit code of the worker, which has ended, and the most that it held, in bytes.

        Negative: killed by that signal. None: not known.
        """
        if sys.platform == "win32":  # where there are no agents
            return None, None
        _, status, usage = os.wait4(self.pid, 0)
        return os.waitstatus_to_exitcode(status), _peak_of(usage)


def _peak_of(usage: Any) -> int | None:
    if sys.platform != "linux":  # elsewhere the unit differs
        return None
    import resource

    peak: int = usage.ru_maxrss
    return peak * 1024 if peak > resource.getrusage(resource.RUSAGE_SELF).ru_maxrss else None


def _end_of(pid: int) -> Any:
    """Return what can be read when a child has ended."""
    if sys.platform == "linux" and hasattr(os, "pidfd_open"):
        with contextlib.suppress(OSError):  # an old kernel
            return PipeEnd(os.pidfd_open(pid))
    wakee, waker = one_way()

    def wait() -> None:
        wait_for_end(pid)
        waker.close()

    threading.Thread(target=wait, name="aplex-end", daemon=True).start()
    return wakee
