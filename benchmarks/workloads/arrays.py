"""Big arguments and results: there and back."""

import statistics
from typing import Any

import processes
import works
from workloads.base import Figures, Metric, Task, Workload

MB = 1_000_000
MS = Metric("ms there and back")
SPEED = Metric("GB/s", more_is_better=True)  # counts both ways
PARENT_PEAK = Metric("parent's peak / array")
WORKER_PEAK = Metric("worker's peak / array")


def echo(task: Task, size: int, *, numpy: bool) -> Figures:
    value = make_value(size, numpy=numpy)
    work = works.same_later if task.entry.coroutines_only else works.same
    with task.pool() as pool:
        (back,) = pool.submit_all([(work, value)])
        assert same_bytes(back, value)
        del back
        times = pool.time_each([(work, value)] * (task.count + 1))[1:]
        parent, worker = peaks()
    middle = statistics.median(times)
    return {
        MS.name: middle * 1e3,
        SPEED.name: 2 * size / middle / 1e9,
        PARENT_PEAK.name: parent / size,
        WORKER_PEAK.name: worker / size,
    }


def same_bytes(one: Any, other: Any) -> bool:
    """Compare piece by piece: the peak of the memory must be the pool's, not ours."""
    left, right = memoryview(one).cast("B"), memoryview(other).cast("B")
    pieces = range(0, len(left), MB)
    return len(left) == len(right) and all(
        bytes(left[place : place + MB]) == bytes(right[place : place + MB]) for place in pieces
    )


def peaks() -> tuple[int, int]:
    """The peak resident memory of this process, and of that descendant which had most.

    It is VmHWM of the kernel, in bytes: all pages that a process had at once, those of the
    interpreter, of the array itself (the parent holds it all the time) and of shared memory
    included; a page that two processes share counts in both.
    """
    parent, *workers = (processes.peak_memory(pid) for pid in processes.family())
    return parent, max(workers, default=0)


def make_value(size: int, *, numpy: bool) -> Any:
    if not numpy:
        return bytes(range(250)) * (size // 250)
    import numpy as np

    return np.arange(size // 8, dtype=np.int64)


def bytes_1(task: Task) -> Figures:
    return echo(task, MB, numpy=False)


def bytes_64(task: Task) -> Figures:
    return echo(task, 64 * MB, numpy=False)


def numpy_1(task: Task) -> Figures:
    return echo(task, MB, numpy=True)


def numpy_64(task: Task) -> Figures:
    return echo(task, 64 * MB, numpy=True)


def numpy_512(task: Task) -> Figures:
    return echo(task, 512 * MB, numpy=True)


PEERS = (
    "aplex",
    "memcpy",
    "pipe-shared",
    "futures-process",
    "multiprocessing-pool",
    "distex",
    "loky",
    "joblib",
    "pebble",
    "mpire",
    "ray",
)
WORKLOADS = [
    Workload(
        name=f"{kind}-{size}mb",
        title=f"{kind} of {size} MB there and back, one in flight",
        peers=PEERS,
        metrics=(MS, SPEED),
        measure=measure,
        full=200 if size == 1 else 10,
        quick=50 if size == 1 else 2,
        in_quick=(kind, size) == ("numpy", 1),
        tries_settings=False,
    )
    for kind, size, measure in (
        ("bytes", 1, bytes_1),
        ("numpy", 1, numpy_1),
        ("bytes", 64, bytes_64),
        ("numpy", 64, numpy_64),
    )
]
WORKLOADS.append(
    Workload(
        name="numpy-512mb",
        title="numpy of 512 MB there and back, one in flight; peak memory of one process",
        peers=PEERS,
        metrics=(MS, SPEED, PARENT_PEAK, WORKER_PEAK),
        measure=numpy_512,
        full=3,
        quick=1,
        in_quick=False,
        tries_settings=False,
    )
)
