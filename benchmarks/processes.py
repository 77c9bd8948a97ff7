"""What this process and all its descendants cost (Linux: it reads /proc)."""

import os
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

SCHEDULER_CLOCK = 2  # the kernel's CPUCLOCK_SCHED, exact to the nanosecond


def family() -> list[int]:
    """The ids of this process and of all its descendants."""
    children: dict[int, list[int]] = defaultdict(list)
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it has just ended
        children[parent].append(int(path.parent.name))
    found = [os.getpid()]
    for pid in found:  # grows while it is walked through
        found.extend(children[pid])
    return found


def cpu_seconds(pids: Iterable[int]) -> dict[int, float]:
    """The CPU time each process has used so far, all its threads together."""
    used = {}
    for pid in pids:
        try:
            used[pid] = time.clock_gettime((~pid << 3) | SCHEDULER_CLOCK)
        except OSError:
            continue
    return used


def thread_seconds(pids: Iterable[int]) -> dict[int, float]:
    """The CPU time each thread of some processes has used so far, by the thread's id."""
    used = {}
    for pid in pids:
        for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            try:
                used[int(path.parent.name)] = int(path.read_text().split()[0]) / 1e9
            except OSError:
                continue
    return used


def wakeups(pids: Iterable[int]) -> dict[int, int]:
    """How often the threads of each process have slept so far."""
    slept: dict[int, int] = defaultdict(int)
    for pid in pids:
        for path in Path(f"/proc/{pid}/task").glob("*/status"):
            try:
                lines = path.read_text().splitlines()
            except OSError:
                continue
            for line in lines:
                if line.startswith("voluntary_ctxt_switches:"):
                    slept[pid] += int(line.split()[1])
    return slept


def grown(before: Mapping[int, float], after: Mapping[int, float]) -> float:
    """By how much the sum has grown over the processes that are still there."""
    return sum(after[pid] - before.get(pid, 0) for pid in after)


def peak_memory(pid: int) -> int:
    """The most memory a process ever had resident, in bytes."""
    return _kilobytes(pid, "VmHWM:") * 1024


def memory(pid: int) -> int:
    """The memory a process has resident, in bytes."""
    return _kilobytes(pid, "VmRSS:") * 1024


def _kilobytes(pid: int, name: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0  # it has just ended
    return next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)
