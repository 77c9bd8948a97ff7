"""Counts what a test leaves alive: threads, processes, file descriptors."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SETTLING: float = 10.0
"""Seconds that what ends on its own may take for it."""


@dataclass(frozen=True)
class Census:
    """What lives in this process and below it."""

    threads: frozenset[threading.Thread]
    processes: frozenset[int]
    descriptors: frozenset[tuple[int, str]]

    @classmethod
    def taken(cls) -> Census:
        """Count."""
        return cls(frozenset(threading.enumerate()), descendants(os.getpid()), _descriptors())

    def __sub__(self, other: Census) -> Census:
        return Census(
            self.threads - other.threads,
            self.processes - other.processes,
            self.descriptors - other.descriptors,
        )

    def __bool__(self) -> bool:
        return bool(self.threads or self.processes or self.descriptors)


@contextmanager
def nothing_left_alive() -> Iterator[None]:
    """Fail if something lives after the block that did not before."""
    before = Census.taken()
    yield
    deadline = time.monotonic() + SETTLING
    left = Census.taken() - before
    while left and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.005)  # nobody tells of the end of somebody else's threads and processes
        left = Census.taken() - before
    assert not left, f"left alive: {left}"


APART: set[int] = set()
"""Processes that are there for all tests; nobody asks what is below them."""


def descendants(root: int) -> frozenset[int]:
    """Return the processes below one, zombies included."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path("/proc", entry, "stat").read_text(encoding="utf-8", errors="replace")
            except (FileNotFoundError, ProcessLookupError):
                continue
            parent = int(stat.rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry))
    found: set[int] = set()
    unseen = [root]
    while unseen:
        below = [pid for pid in children.get(unseen.pop(), ()) if pid not in APART]
        found.update(below)
        unseen += below
    return frozenset(found)


def _descriptors() -> frozenset[tuple[int, str]]:
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            what = os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:
            continue  # the listing's own, or that of a thread
        # A pool that lives on maps more of its shared memory when it is needed. That all
        # of it goes with the pool is a test of its own, in exits/test_leaks.
        if not what.startswith("/memfd:aplex"):
            found.add((int(fd), what))
    return frozenset(found)
