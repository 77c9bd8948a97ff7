"""Processes of this machine, which may be nobody's children here."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.support.waiting import eventually


def parent_of(pid: int) -> int:
    """Return who has started a process.

    Raises:
        OSError: There is no such process.
    """
    return int(_fields(Path("/proc", str(pid)))[1])


def is_alive(pid: int) -> bool:
    """Return whether there is such a process, and it is no zombie."""
    try:
        return _fields(Path("/proc", str(pid)))[0] != "Z"
    except OSError:
        return False


def stop(pid: int) -> None:
    """Stop a process; return when all its threads have stopped, which one may do late."""
    os.kill(pid, signal.SIGSTOP)
    tasks = Path(f"/proc/{pid}/task")
    eventually(lambda: all(_fields(task)[0] == "T" for task in tasks.iterdir()))


def _fields(entry: Path) -> list[str]:
    """State, parent and so on; before them is a name, of any characters."""
    stat = (entry / "stat").read_text(encoding="utf-8", errors="replace")
    return stat.rpartition(")")[2].split()
