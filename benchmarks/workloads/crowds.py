"""Many works waiting, many workers: does the cost of one work stay the same?"""

import gc
import os
import statistics
import time
from dataclasses import replace

import processes
import works
from gates import Gate, closed_gate
from peers.base import Call, Peer, Work
from workloads.base import RATE, Figures, Metric, Task, Workload, timed, warm_up

SIZES = (1_000, 10_000, 100_000, 1_000_000)
AT_LEAST = 20_000  # works; fewer are measured several times
GROWTH = Metric("µs/work, most / fewest waiting")
MEMORY = Metric("bytes/work, most waiting")
MANY = 64

SERVING = Metric("ms until all serve")
SHARE = Metric("works/s, share of that with 2 workers", more_is_better=True)


def cost(size: int) -> Metric:
    return Metric(f"µs/work, {size:,} waiting")


def waiting(task: Task) -> Figures:
    """Hold up all workers, submit, let the workers go, wait for every result.

    The cost is the time of submitting plus the time from the release to the last result, by
    work. The memory is by how much the resident memory of the parent has grown from before the
    first submit until all works wait: their futures, and all that the pool keeps of them.
    """
    sizes = [size for size in SIZES if size <= task.count]
    with task.pool() as pool:
        warm_up(pool, [(task_work(task), number) for number in range(400)])
        gc.collect()
        before = processes.memory(os.getpid())
        costs, grown = {}, 0
        for size in sizes:
            times = []
            for _ in range(max(1, AT_LEAST // size)):
                seconds, memory = one_crowd(pool, task, size)
                times.append(seconds / size * 1e6)
                grown = memory - before
            costs[size] = statistics.median(times)
    return {
        GROWTH.name: costs[sizes[-1]] / costs[sizes[0]],
        MEMORY.name: grown / sizes[-1],
        **{cost(size).name: value for size, value in costs.items()},
    }


def task_work(task: Task) -> Work:
    return works.same_later if "awaited" in task.entry.name else works.same


def one_crowd(pool: Peer, task: Task, size: int) -> tuple[float, int]:
    """Return the seconds it took, and the resident memory while all were waiting."""
    work = task_work(task)
    stand = works.stand if work is works.same else works.stand_later
    with closed_gate() as gate:
        standing = pool.hand_in([(stand, str(gate.path))] * task.workers)
        wait_at(gate, pool, task.workers)
        start = time.perf_counter()
        handles = pool.hand_in((work, number) for number in range(size))
        submitted = time.perf_counter()
        memory = processes.memory(os.getpid())
        released = time.perf_counter()
        gate.open()
        results = pool.collect(handles)
        end = time.perf_counter()
        pool.collect(standing)
        assert results == list(range(size))
    return submitted - start + end - released, memory


def wait_at(gate: Gate, pool: Peer, count: int) -> None:
    """Wait for the workers; what was handed in must be able to go, so let a loop turn."""
    pool.rest(0.01)
    gate.wait_for(count)


def many_workers(task: Task) -> Figures:
    """Start many workers, each of which must take a work; then compare the throughput."""
    calls: list[Call] = [(works.same, number) for number in range(task.count)]
    peer = task.entry.make(MANY, task.settings)
    with closed_gate() as gate:
        before = time.perf_counter()
        peer.open()
        # More than there are workers: some may be lined up behind others.
        standing = peer.hand_in([(works.stand, str(gate.path))] * (4 * MANY))
        wait_at(gate, peer, MANY)
        serving = time.perf_counter() - before
        gate.open()
        peer.collect(standing)
    rate = throughput(peer, calls)
    peer.close()
    with replace(task, workers=2).pool() as few:
        share = rate / throughput(few, calls)
    return {SERVING.name: serving * 1e3, RATE.name: rate, SHARE.name: share}


def throughput(pool: Peer, calls: list[Call]) -> float:
    warm_up(pool, calls)
    figures, results = timed(lambda: pool.submit_all(calls), len(calls))
    assert results == list(range(len(calls)))
    return figures[RATE.name]


WORKLOADS = [
    Workload(
        name="waiting",
        title="Works waiting for workers that are held up, then let go (--quick: up to 10,000)",
        peers=("aplex", "aplex-awaited"),
        metrics=(GROWTH, MEMORY, *map(cost, SIZES)),
        measure=waiting,
        full=SIZES[-1],
        quick=SIZES[1],
        in_quick=False,
    ),
    Workload(
        name="many-workers",
        title=f"{MANY} workers: constructor until all serve, and plain works/s, blocking",
        peers=("aplex", "futures-process", "multiprocessing-pool"),
        metrics=(SERVING, RATE, SHARE),
        measure=many_workers,
        full=20_000,
        quick=3_000,
        in_quick=False,
        tries_settings=False,
        settings={"mp_context": "spawn"},
    ),
]
