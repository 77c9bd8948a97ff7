"""The building blocks: what the interpreter and the machine charge for them."""

import asyncio
import concurrent.futures
import os
import pickle
import threading
import time
from collections.abc import Callable
from typing import Any

import works
from peers import ENTRIES
from workloads.base import Figures, Metric, Task, Workload, percentile

PIPE = Metric("two processes over a pipe, round trip, µs")
PICKLE = Metric("pickle.dumps of one call, µs")
UNPICKLE = Metric("pickle.loads of one call, µs")
TASK = Metric("one task of a loop, gathered by hundreds, µs")
TURN = Metric("one turn of a loop, µs")
THREAD = Metric("thread to loop and back, µs")
FUTURE = Metric("one asyncio.Future made and set, µs")
BLOCKING_FUTURE = Metric("one concurrent.futures.Future made and set, µs")
MEMCPY = Metric("memcpy of 64 MB, GB/s", more_is_better=True)


def limits(task: Task) -> Figures:
    count = task.count
    call: tuple[Any, ...] = (works.same, (7,), {})
    data = pickle.dumps(call)
    return {
        PIPE.name: pipe_round_trip(count),
        PICKLE.name: each(lambda: pickle.dumps(call), count),
        UNPICKLE.name: each(lambda: pickle.loads(data), count),
        TASK.name: asyncio.run(tasks(count)),
        TURN.name: asyncio.run(turns(count)),
        THREAD.name: asyncio.run(thread_and_back(count // 10)),
        FUTURE.name: asyncio.run(futures(count)),
        BLOCKING_FUTURE.name: each(settle_blocking_future, count),
        MEMCPY.name: memcpy(64_000_000),
    }


def each(action: Callable[[], Any], count: int) -> float:
    """The microseconds of one call, in a plain loop."""
    before = time.perf_counter()
    for _ in range(count):
        action()
    return (time.perf_counter() - before) / count * 1e6


def pipe_round_trip(count: int) -> float:
    with Task(ENTRIES["pipe"], 1, count, {}).pool() as pipe:
        return percentile(pipe.time_each([(works.same, 0)] * count), 50) * 1e6


async def tasks(count: int) -> float:
    before = time.perf_counter()
    for _ in range(count // 100):
        await asyncio.gather(*[asyncio.create_task(works.same_later(0)) for _ in range(100)])
    return (time.perf_counter() - before) / count * 1e6


async def turns(count: int) -> float:
    before = time.perf_counter()
    for _ in range(count):
        await asyncio.sleep(0)
    return (time.perf_counter() - before) / count * 1e6


async def futures(count: int) -> float:
    loop = asyncio.get_running_loop()
    return each(lambda: loop.create_future().set_result(None), count)


def settle_blocking_future() -> None:
    future: concurrent.futures.Future[None] = concurrent.futures.Future()
    future.set_result(None)


async def thread_and_back(count: int) -> float:
    """Median time from a thread's `call_soon_threadsafe` until it hears of it."""
    loop = asyncio.get_running_loop()
    heard = threading.Semaphore(0)
    times = []

    def ping() -> None:
        for _ in range(count):
            before = time.perf_counter()
            loop.call_soon_threadsafe(heard.release)
            heard.acquire()
            times.append(time.perf_counter() - before)

    await asyncio.to_thread(ping)
    return percentile(times, 50) * 1e6


def memcpy(size: int) -> float:
    source, target = bytearray(os.urandom(4096)) * (size // 4096), bytearray(size)
    source.extend(bytes(size - len(source)))
    memoryview(target)[:] = source  # its pages are there now
    before = time.perf_counter()
    for _ in range(5):
        memoryview(target)[:] = source
    return 5 * size / (time.perf_counter() - before) / 1e9


WORKLOADS = [
    Workload(
        name="limits",
        title="Building blocks, everything on one core",
        peers=("python",),
        metrics=(
            PIPE,
            PICKLE,
            UNPICKLE,
            TASK,
            TURN,
            THREAD,
            FUTURE,
            BLOCKING_FUTURE,
            MEMCPY,
        ),
        measure=limits,
        full=20_000,
        quick=5_000,
        pinned=True,
    ),
]
