"""One work at a time: how long until its result is there."""

import time
from dataclasses import replace

import works
from peers.base import Work
from workloads.base import Figures, Metric, Task, Workload, percentile, warm_up

P50 = Metric("p50 µs")
P99 = Metric("p99 µs")
TAIL = Metric("p99 / p50")


def one_in_flight(task: Task, work: Work) -> Figures:
    """Time works one after another, up to a count or a time."""
    batch = [(work, number) for number in range(50)]
    times: list[float] = []
    with task.pool() as pool:
        warm_up(pool, batch * 4)
        end = time.monotonic() + (0.5 if task.quick else 3)
        while len(times) < task.count and time.monotonic() < end:
            times += pool.time_each(batch)
    middle, late = percentile(times, 50), percentile(times, 99)
    return {P50.name: middle * 1e6, P99.name: late * 1e6, TAIL.name: late / middle}


def plain(task: Task) -> Figures:
    return one_in_flight(task, works.same)


def coroutine(task: Task) -> Figures:
    return one_in_flight(task, works.same_later)


BLOCKING = Workload(
    name="latency-blocking",
    title="One in flight, blocking, plain function; everything on one core",
    peers=(
        "aplex",
        "pipe",
        "pipe-c",
        "futures-process",
        "futures-thread",
        "multiprocessing-pool",
        "loky",
        "joblib",
        "pebble",
        "mpire",
        "dask",
        "ray",
    ),
    metrics=(P50, P99, TAIL),
    measure=plain,
    full=5_000,
    quick=500,
    pinned=True,
    tries_settings=False,
)
AWAITED = Workload(
    name="latency-awaited",
    title="One in flight, awaited coroutine; everything on one core",
    peers=(
        "aplex-awaited",
        "aplex-awaited-uvloop",
        "pipe",
        "pipe-c",
        "asyncio-alone",
        "aiomultiprocess",
        "aiomultiprocess-uvloop",
        "distex",
        "distex-uvloop",
        "futures-process-awaited",
        "dask-awaited",
        "ray-awaited",
    ),
    metrics=(P50, P99, TAIL),
    measure=coroutine,
    full=5_000,
    quick=500,
    pinned=True,
    tries_settings=False,
)
THREADS = Workload(
    name="thread-latency",
    title="Thread engine: one in flight, awaited coroutine; everything on one core",
    peers=(
        "aplex-threads-awaited",
        "aplex-threads-awaited-uvloop",
        "asyncio-other-thread",
        "asyncio-other-thread-uvloop",
    ),
    metrics=(P50, P99, TAIL),
    measure=coroutine,
    full=5_000,
    quick=500,
    pinned=True,
)


def unpinned(workload: Workload) -> Workload:
    return replace(
        workload,
        name=f"{workload.name}-any-core",
        title=workload.title.replace("everything on one core", "on any core, for the record"),
        pinned=False,
        in_quick=False,
    )


WORKLOADS = [BLOCKING, unpinned(BLOCKING), AWAITED, unpinned(AWAITED), THREADS]
