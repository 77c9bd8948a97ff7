"""A pool's life besides its works: import, start, and doing nothing."""

import statistics
import subprocess
import sys
import time

import processes
from workloads.base import Figures, Metric, Task, Workload

MS = Metric("ms")
READY = Metric("ms to first result")
CLOSE = Metric("ms to close")
IDLE = Metric("CPU ms/s")
WAKEUPS = Metric("wake-ups/s")
CLOCK = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"


def import_(task: Task) -> Figures:
    """Import what a user of the peer imports, in a fresh interpreter, several times."""
    command = [sys.executable, "-c", CLOCK.format(task.entry.imports)]
    times = [float(subprocess.check_output(command)) for _ in range(task.count)]
    return {MS.name: statistics.median(times) * 1e3}


def start(task: Task) -> Figures:
    peer = task.entry.make(task.workers, task.settings)
    before = time.perf_counter()
    peer.open()
    peer.submit_all([(task.free_work, 1)])
    ready = time.perf_counter()
    peer.close()
    closed = time.perf_counter()
    return {READY.name: (ready - before) * 1e3, CLOSE.name: (closed - ready) * 1e3}


def idle(task: Task) -> Figures:
    """Let the pool serve some works, then leave it alone."""
    with task.pool() as pool:
        pool.submit_all([(task.free_work, number) for number in range(100)])
        time.sleep(0.3)
        pids = processes.family()
        slept = processes.wakeups(pids)
        cpu = processes.cpu_seconds(pids)
        pool.rest(task.count)
        used = processes.grown(cpu, processes.cpu_seconds(pids))
        woken = processes.grown(slept, processes.wakeups(pids))
    return {IDLE.name: used / task.count * 1e3, WAKEUPS.name: woken / task.count}


def starting(method: str) -> Workload:
    return Workload(
        name=f"start-{method}",
        title=f"Constructor to first result, start method {method}",
        peers=(
            "aplex",
            "futures-process",
            "multiprocessing-pool",
            "aiomultiprocess",
            "pebble",
            "mpire",
        ),
        metrics=(READY, CLOSE),
        measure=start,
        full=1,
        quick=1,
        tries_settings=False,
        in_quick=method == "spawn",
        settings={"mp_context": method},
    )


WORKLOADS = [
    Workload(
        name="import",
        title="Import",
        peers=(
            "aplex",
            "aplex-loaded",
            "python",
            "multiprocessing-pool",
            "aiomultiprocess",
            "distex",
            "loky",
            "joblib",
            "pebble",
            "mpire",
            "anyio",
            "trio-parallel",
            "dask",
            "ray",
        ),
        metrics=(MS,),
        measure=import_,
        full=9,
        quick=3,
        tries_settings=False,
    ),
    Workload(
        name="start-template",
        title="Constructor to first result, aplex by its template, the other by spawn",
        peers=("aplex", "futures-process"),
        metrics=(READY, CLOSE),
        measure=start,
        full=1,
        quick=1,
        tries_settings=False,
        in_quick=False,
        settings={"mp_context": "template"},
    ),
    starting("spawn"),
    starting("forkserver"),
    starting("fork"),
    Workload(
        name="start-own-way",
        title="Constructor to first result, for those that start workers their own way",
        peers=("aplex", "aplex-threads", "distex", "loky", "joblib", "dask", "ray"),
        metrics=(READY, CLOSE),
        measure=start,
        full=1,
        quick=1,
        in_quick=False,
        tries_settings=False,
    ),
    Workload(
        name="idle",
        title="Doing nothing: parent and workers together",
        peers=(
            "aplex",
            "aplex-awaited",
            "aplex-threads",
            "futures-process",
            "multiprocessing-pool",
            "aiomultiprocess",
            "distex",
            "loky",
            "joblib",
            "pebble",
            "mpire",
            "dask",
            "ray",
        ),
        metrics=(IDLE, WAKEUPS),
        measure=idle,
        full=20,
        quick=1,
        in_quick=False,
        tries_settings=False,
    ),
]
