"""Judges a case: what came of each work, how often it ran, whether anything is left."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aplex import WorkerLostError
from reliability.killing.cases import Case
from reliability.killing.faults import CLOSE, STOP, STOPPED, Struck, folder
from reliability.killing.scenes import CANCELLED, DIES, FAILS, Player, Sent
from reliability.points import DEATH, PARENT

_CANCELLED: Final = (concurrent.futures.CancelledError, asyncio.CancelledError)
NOT_REACHED: Final = "the point was never reached"
_SETTLING: Final = 5.0
"""Seconds in which what is shared with other programs, and ended processes, must be gone."""


def judged(case: Case, player: Player, struck: Struck | None) -> Iterator[str]:
    """Say what was wrong with the works of a case."""
    if struck is None:
        yield NOT_REACHED
        return
    yield from (f"work {number} was never resolved" for number in player.unresolved)
    runs = Counter(_runs())
    for sent in player.sent:
        if sent.future.done():
            yield from _judged(case, sent, struck, runs[sent.number])


def seconds(case: Case, player: Player, struck: Struck | None) -> float:
    """Return how long after the fault all works were resolved."""
    if struck is None:
        return 0.0
    at = struck.at + (STOPPED if case.action == STOP else 0.0)
    return next((t - at for t in player.resolved_at if t >= at), 0.0)


def _judged(case: Case, sent: Sent, struck: Struck, runs: int) -> Iterator[str]:
    name = f"work {sent.number}"
    if runs > 1 + case.retries:
        yield f"{name} ran {runs} times"
    try:
        result, error = sent.future.result(), None
    except BaseException as raised:
        result, error = None, raised
    if isinstance(error, WorkerLostError):
        yield from (f"{name}: {why}" for why in _wrongly_lost(case, sent, struck, error))
    elif not _expected(sent.expected, result, error):
        yield f"{name} should give {sent.expected!r:.40}, not {error or result!r:.200}"
    elif not runs and error is None:
        yield f"{name} has a result, and never ran"
    elif runs > 1 and not case.retries:
        yield f"{name} has a result, and ran {runs} times"


def _expected(expected: Any, result: Any, error: BaseException | None) -> bool:
    if expected == CANCELLED:
        return error is None or isinstance(error, _CANCELLED)
    if expected == FAILS:
        return isinstance(error, LookupError)
    return error is None and bool(result == expected)


def _wrongly_lost(case: Case, sent: Sent, struck: Struck, error: WorkerLostError) -> Iterator[str]:
    """Say why a work should not have failed by the death of its worker."""
    if sent.expected == DIES:
        return
    if case.action == STOP and case.of.scene != DEATH:
        yield "no worker died"
    if case.retries:
        yield "it should have run again"
    late = case.of.side == PARENT and case.action == CLOSE  # the worker does it, when it can
    if case.of.unborn and not late:
        yield f"it cannot have been started: {error}"
    if error.pid != struck.pid and case.of.scene != DEATH:
        yield f"another worker was hit, {struck.pid}: {error}"


def _runs() -> list[int]:
    try:
        lines = (folder() / "runs").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    return [int(line.split()[0]) for line in lines]


@dataclass
class Census:
    """What there is in and below this process, and in the shared memory of the machine."""

    descriptors: Counter[str]
    threads: set[str]
    children: set[int]
    mappings: int
    names: set[str]

    @classmethod
    def taken(cls) -> Census:
        """Count."""
        gc.collect()
        return cls(
            Counter(_descriptors()),
            {thread.name for thread in threading.enumerate()},
            set(_descendants(os.getpid())),
            Path("/proc/self/maps").read_text(encoding="utf-8").count("aplex"),
            _names(),
        )

    def more_than(self, other: Census) -> list[str]:
        """Say what there is that there was not before."""
        more = {
            "descriptors": dict(self.descriptors - other.descriptors),
            "threads": self.threads - other.threads,
            "processes": self.children - other.children,
            "mappings": max(0, self.mappings - other.mappings),
            "names in /dev/shm": self.names - other.names,
        }
        return [f"left behind, {kind}: {what}" for kind, what in more.items() if what]


def leaks_since(before: Census) -> list[str]:
    """Say what is left; other programs use /dev/shm too, theirs goes when they end."""
    deadline = time.monotonic() + _SETTLING
    while (left := Census.taken().more_than(before)) and time.monotonic() < deadline:
        time.sleep(0.01)  # nobody tells of the end of somebody else's processes
    return left


def _names() -> set[str]:
    """Return the names in /dev/shm that no other program uses."""
    names = set(os.listdir("/dev/shm"))
    if names:
        ours = {os.getpid(), *_descendants(os.getpid())}
        others = [int(name) for name in os.listdir("/proc") if name.isdigit()]
        names.difference_update(*(_mapped_by(pid) for pid in others if pid not in ours))
    return names


def _mapped_by(pid: int) -> set[str]:
    try:
        maps = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:  # it has ended, or is another user's
        return set()
    return {line.rpartition("/dev/shm/")[2] for line in maps.splitlines() if "/dev/shm/" in line}


def _descriptors() -> Iterator[str]:
    for fd in os.listdir("/proc/self/fd"):
        try:
            yield os.readlink(f"/proc/self/fd/{fd}").split(":")[0]
        except FileNotFoundError:  # the listing's own
            continue


def _descendants(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            below = [int(child) for child in task.read_text(encoding="utf-8").split()]
        except OSError:  # a thread that has ended
            continue
        for child in below:
            yield child
            yield from _descendants(child)
