"""What a process owns that pools could leave behind, counted by kind."""

from __future__ import annotations

import gc
import os
import threading
import time
from pathlib import Path
from typing import Any, Final

from reliability.system.processes import children

SHARED: Final = "/dev/shm/"
OTHERS: Final = 5.0
"""Seconds for the names of programs that have ended."""


def descriptors() -> int:
    """Return how many descriptors are open, without that which looks."""
    return len(os.listdir("/proc/self/fd")) - 1


def mappings() -> int:
    """Return how much of the shared memory of pools is mapped, in mappings."""
    return sum("aplex" in line for line in Path("/proc/self/maps").read_text().splitlines())


def belongings() -> dict[str, Any]:
    """Count everything."""
    gc.collect()
    return {
        "descriptors": descriptors(),
        "threads": threading.active_count(),
        "processes": len(children(os.getpid())),
        "mappings of shared memory": mappings(),
    }


def names() -> set[str]:
    """Return the names in ``/dev/shm``, which all programs of the machine share."""
    return set(os.listdir(SHARED))


def new_names(before: set[str]) -> list[str]:
    """Return the names that have come since, without those that other programs use.

    A program that has ended with names of its own is given time for its clean-up.
    """
    deadline = time.monotonic() + OTHERS
    while (new := names() - before - _used_by_others()) and time.monotonic() < deadline:
        time.sleep(0.1)  # nobody tells
    return sorted(new)


def _used_by_others() -> set[str]:
    ours, found = {os.getpid(), *children(os.getpid())}, set()
    for path in Path("/proc").iterdir():
        if path.name.isdigit() and int(path.name) not in ours:
            try:
                mapped = (path / "maps").read_text().split()
            except OSError:  # it has ended, or is none of our business
                continue
            found |= {word.removeprefix(SHARED) for word in mapped if word.startswith(SHARED)}
    return found
