"""Many works, each submitted on its own."""

import works
from peers.base import Work
from workloads.base import CPU, RATE, Figures, Task, Workload, timed, warm_up

PLAIN_POOLS = (
    "futures-process",
    "multiprocessing-pool",
    "loky",
    "joblib",
    "pebble",
    "mpire",
    "dask",
    "ray",
)


def submit(task: Task, work: Work) -> Figures:
    calls = [(work, number) for number in range(task.count)]
    with task.pool() as pool:
        warm_up(pool, calls)
        figures, results = timed(lambda: pool.submit_all(calls), task.count)
        assert results == list(range(task.count))
    return figures


def submit_coroutines(task: Task) -> Figures:
    return submit(task, works.same_later)


def submit_plain(task: Task) -> Figures:
    return submit(task, works.same)


def sleep(task: Task) -> Figures:
    calls = [(works.nap, 0.05)] * task.count
    with task.pool() as pool:
        pool.keep_in_flight(calls[: max(4, task.count // 4)], 500)
        figures, results = timed(lambda: pool.keep_in_flight(calls, 500), task.count)
        assert results == [0.05] * task.count
    return figures


WORKLOADS = [
    Workload(
        name="coroutines-awaited",
        title="Coroutines submitted one by one, awaited",
        peers=(
            "aplex-awaited",
            "aplex-awaited-uvloop",
            "asyncio-alone",
            "asyncio-alone-uvloop",
            "aiomultiprocess",
            "aiomultiprocess-uvloop",
            "distex",
            "distex-uvloop",
            "futures-process-awaited",
            "dask-awaited",
            "ray-awaited",
        ),
        metrics=(RATE, CPU),
        measure=submit_coroutines,
        full=20_000,
        quick=3_000,
    ),
    Workload(
        name="plain-awaited",
        title="Plain functions submitted one by one, awaited",
        peers=(
            "aplex-awaited",
            "aplex-awaited-uvloop",
            "futures-process-awaited",
            "futures-thread-awaited",
            "distex",
            "distex-uvloop",
            "anyio",
            "trio-parallel",
            "dask-awaited",
            "ray-awaited",
        ),
        metrics=(RATE, CPU),
        measure=submit_plain,
        full=20_000,
        quick=3_000,
    ),
    Workload(
        name="plain-blocking",
        title="Plain functions, blocking submit, then every result",
        peers=("aplex", "aplex-uvloop", "futures-thread", *PLAIN_POOLS),
        metrics=(RATE, CPU),
        measure=submit_plain,
        full=20_000,
        quick=3_000,
    ),
    Workload(
        name="coroutines-blocking",
        title="Coroutines, blocking submit, then every result",
        peers=("aplex", "aplex-uvloop", "futures-process"),
        metrics=(RATE, CPU),
        measure=submit_coroutines,
        full=20_000,
        quick=3_000,
        in_quick=False,
        fewer={"futures-process": 4},
    ),
    Workload(
        name="sleeps",
        title="asyncio.sleep(0.05), 500 in flight (10,000 works/s is ideal)",
        peers=(
            "aplex-awaited",
            "aplex-awaited-uvloop",
            "asyncio-alone",
            "asyncio-alone-uvloop",
            "aiomultiprocess",
            "aiomultiprocess-uvloop",
            "distex",
            "futures-process-awaited",
            "dask-awaited",
            "ray-awaited",
        ),
        metrics=(RATE, CPU),
        measure=sleep,
        full=20_000,
        quick=3_000,
        fewer={
            "distex": 100,
            "futures-process-awaited": 300,
            "dask-awaited": 20,
            "ray-awaited": 10,
        },
    ),
    Workload(
        name="thread-coroutines",
        title="Thread engine: coroutines submitted one by one, awaited",
        peers=(
            "aplex-threads-awaited",
            "aplex-threads-awaited-uvloop",
            "asyncio-other-thread",
            "asyncio-other-thread-uvloop",
        ),
        metrics=(RATE, CPU),
        measure=submit_coroutines,
        full=20_000,
        quick=3_000,
    ),
]
