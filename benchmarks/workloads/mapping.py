"""Maps: many items, one function."""

import works
from peers.base import Work
from workloads.base import CPU, RATE, Figures, Task, Workload, timed, warm_up

CHUNKSIZES = (2048, 512, 64)


def map_(task: Task, work: Work) -> Figures:
    items = list(range(task.count))
    with task.pool() as pool:
        warm_up(pool, [(work, item) for item in items[:400]])
        figures, results = timed(lambda: pool.map(work, items, task.chunksize), task.count)
        assert results == items
    return figures


def map_plain(task: Task) -> Figures:
    return map_(task, works.same)


def map_coroutines(task: Task) -> Figures:
    return map_(task, works.same_later)


WORKLOADS = [
    Workload(
        name="map-plain",
        title="map of plain functions, chunksize=1",
        peers=(
            "aplex",
            "aplex-awaited",
            "futures-process",
            "futures-thread",
            "multiprocessing-pool",
            "distex",
            "loky",
            "joblib",
            "pebble",
            "mpire",
        ),
        metrics=(RATE, CPU),
        measure=map_plain,
        full=100_000,
        quick=5_000,
        fewer={"futures-process": 10},
    ),
    Workload(
        name="map-coroutines",
        title="map of coroutines, chunksize=1",
        peers=(
            "aplex",
            "aplex-awaited",
            "aplex-awaited-uvloop",
            "aiomultiprocess",
            "aiomultiprocess-uvloop",
            "distex",
            "distex-uvloop",
        ),
        metrics=(RATE, CPU),
        measure=map_coroutines,
        full=100_000,
        quick=5_000,
    ),
    Workload(
        name="map-plain-chunks",
        title="map of plain functions, each peer at its best chunk size",
        peers=(
            "aplex",
            "aplex-awaited",
            "futures-process",
            "multiprocessing-pool",
            "distex",
            "loky",
            "joblib",
            "pebble",
            "mpire",
        ),
        metrics=(RATE, CPU),
        measure=map_plain,
        full=100_000,
        quick=50_000,
        in_quick=False,  # map-plain-auto has the same peers then
        chunksizes=CHUNKSIZES,
        tries_settings=False,
        fewer=dict.fromkeys(("loky", "joblib", "pebble", "mpire"), 1),
    ),
    Workload(
        name="map-coroutines-chunks",
        title="map of coroutines, each peer at its best chunk size",
        peers=(
            "aplex",
            "aplex-awaited",
            "aplex-awaited-uvloop",
            "distex",
            "distex-uvloop",
            "futures-process-awaited",
        ),
        metrics=(RATE, CPU),
        measure=map_coroutines,
        full=100_000,
        quick=50_000,
        in_quick=False,
        chunksizes=CHUNKSIZES,
        tries_settings=False,
        fewer={"futures-process-awaited": 1},
    ),
    Workload(
        name="map-plain-auto",
        title='map of plain functions, chunksize="auto" against the best chunk size of each',
        peers=(
            "aplex-auto",
            "aplex-awaited-auto",
            "aplex",
            "futures-process",
            "multiprocessing-pool",
            "distex",
        ),
        metrics=(RATE, CPU),
        measure=map_plain,
        full=100_000,
        quick=50_000,
        chunksizes=CHUNKSIZES,
        tries_settings=False,
    ),
    Workload(
        name="map-coroutines-auto",
        title='map of coroutines, chunksize="auto" against the best chunk size of each',
        peers=(
            "aplex-awaited-auto",
            "aplex-awaited-auto-uvloop",
            "aplex-auto",
            "aplex-awaited",
            "distex",
            "futures-process-awaited",
        ),
        metrics=(RATE, CPU),
        measure=map_coroutines,
        full=100_000,
        quick=50_000,
        chunksizes=CHUNKSIZES,
        tries_settings=False,
        in_quick=False,
        fewer={"futures-process-awaited": 1},
    ),
]
