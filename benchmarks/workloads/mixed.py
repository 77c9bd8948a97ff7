"""Functions that compute and coroutines that wait, together in the same workers."""

import random
import time
from typing import Any

import works
from peers.base import Call
from workloads.base import Figures, Metric, Task, Workload, percentile, warm_up

BURN = 0.05
NAP = 0.01
NAPS_PER_BURN = 31
TOTAL = Metric("s in all")
SHARE = Metric("s in all / ideal")
NAPS_OVER = Metric("s to last coroutine")
LATE = Metric("p99 ms late")


def mixed(task: Task) -> Figures:
    """`late` is how much longer a sleep took inside its coroutine than it should have.

    Ideal is when every worker computes all the time, on a core of its own.
    """
    calls = make_calls(task)
    with task.pool() as pool:
        warm_up(pool, [(task.free_work, number) for number in range(200)])
        before = time.monotonic()
        results = pool.submit_all(calls)
        total = time.monotonic() - before
    naps: list[Any] = [result for result in results if isinstance(result, tuple)]
    return {
        TOTAL.name: total,
        SHARE.name: total / (task.count * BURN / task.workers),
        NAPS_OVER.name: max(end for _, end in naps) - before,
        LATE.name: percentile([late for late, _ in naps], 99) * 1e3,
    }


def make_calls(task: Task) -> list[Call]:
    burn = works.burn_later if task.entry.coroutines_only else works.burn
    calls: list[Call] = []
    for _ in range(task.count):
        calls.append((burn, BURN))
        calls += [(works.late_nap, NAP)] * NAPS_PER_BURN
    random.Random(1).shuffle(calls)
    return calls


WORKLOADS = [
    Workload(
        name="mixed",
        title="64 functions of 50 ms CPU and 1,984 coroutines of sleep(0.01), shuffled (1.6 s is"
        " ideal on 2 cores; --quick: 8 and 248, 0.2 s)",
        peers=(
            "aplex-awaited",
            "aplex-awaited-uvloop",
            "aiomultiprocess",
            "aiomultiprocess-uvloop",
            "distex",
            "futures-process-awaited",
            "ray-awaited",
        ),
        metrics=(TOTAL, SHARE, NAPS_OVER, LATE),
        measure=mixed,
        full=64,
        quick=8,
    ),
]
