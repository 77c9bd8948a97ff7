"""Streams: what a generator yields in a worker, read while it runs."""

import time

import works
from peers.base import Work
from workloads.base import CPU, Figures, Metric, Task, Workload, percentile, timed, warm_up

ITEMS = Metric("items/s", more_is_better=True)
FIRST = Metric("first item µs")
BUFFERSIZES = (16, 256)
PEERS = ("aplex", "aplex-awaited", "aplex-threads", "aplex-threads-awaited")


def read(task: Task, work: Work, buffersize: int) -> Figures:
    """Read one long stream, then the first items of short ones."""
    firsts: list[float] = []
    with task.pool() as pool:
        warm_up(pool, [(task.free_work, number) for number in range(400)])
        pool.read_stream(work, 100, buffersize)
        figures, results = timed(lambda: pool.read_stream(work, task.count, buffersize), task.count)
        assert results == list(range(task.count))
        for _ in range(200):
            before = time.perf_counter()
            firsts.append(pool.first_of_stream(work, 1, buffersize) - before)
    rate = next(iter(figures.values()))
    return {ITEMS.name: rate, FIRST.name: percentile(firsts, 50) * 1e6, CPU.name: figures[CPU.name]}


def workload(kind: str, work: Work, buffersize: int) -> Workload:
    return Workload(
        name=f"streams-{kind}-{buffersize}",
        title=f"Stream of a {kind} generator that does nothing, buffersize={buffersize}",
        peers=PEERS,
        metrics=(ITEMS, FIRST, CPU),
        measure=lambda task: read(task, work, buffersize),
        full=100_000,
        quick=3_000,
        in_quick=buffersize == BUFFERSIZES[0],
        tries_settings=False,
    )


WORKLOADS = [
    workload(kind, work, buffersize)
    for kind, work in (("plain", works.count_to), ("asynchronous", works.count_to_later))
    for buffersize in BUFFERSIZES
]
