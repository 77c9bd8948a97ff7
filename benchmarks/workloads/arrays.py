"""Big arguments and results: there and back."""

import statistics
from typing import Any

import works
from workloads.base import Figures, Metric, Task, Workload

MB = 1_000_000
MS = Metric("ms there and back")
SPEED = Metric("GB/s")  # counts both ways


def echo(task: Task, size: int, *, numpy: bool) -> Figures:
    value = make_value(size, numpy=numpy)
    work = works.same_later if task.entry.coroutines_only else works.same
    with task.pool() as pool:
        (back,) = pool.submit_all([(work, value)])
        assert bytes(back) == bytes(value)
        del back
        times = pool.time_each([(work, value)] * (task.count + 1))[1:]
    middle = statistics.median(times)
    return {MS.name: middle * 1e3, SPEED.name: 2 * size / middle / 1e9}


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


PEERS = (
    "aplex",
    "memcpy",
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
