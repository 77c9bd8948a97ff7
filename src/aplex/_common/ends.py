"""Waits for the end of a child, and leaves its exit status to be taken by others. A leaf."""

from __future__ import annotations

import contextlib
import os
import select
import sys


def wait_for_end(pid: int) -> None:
    """Block until a child of this process has ended."""
    if sys.platform == "darwin":
        # Its ``waitid`` came with Python 3.13 only, see `kqueue(2)`.
        with contextlib.closing(select.kqueue()) as queue, contextlib.suppress(ProcessLookupError):
            event = select.kevent(pid, select.KQ_FILTER_PROC, select.KQ_EV_ADD, select.KQ_NOTE_EXIT)
            queue.control([event], 1)
    elif sys.platform != "win32":
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
