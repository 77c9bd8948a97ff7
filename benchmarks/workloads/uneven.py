"""Works of very different length: does a worker stand idle while works wait?

The durations are heavy-tailed (Pareto, alpha 1.2), drawn anew above a bound so that one work
cannot be the whole workload, and always the same ones (seeded).

What is ideal follows from the durations that were drawn:

* plain functions compute, one at a time in each worker: the sum of all divided by the number of
  workers, or the longest one if that is more;
* sleeping coroutines do not hinder one another, and no more are submitted than the pools hold
  at once: the longest one;
* mixed: whichever of the two is more.

No pool knows the durations, so the ideal cannot quite be had. The metric `in turn / ideal` says
what one would get that costs nothing and hands each free worker the next function in turn.
"""

import heapq
import random
import time
from collections.abc import Sequence

import works
from peers.base import Call
from workloads.base import Figures, Metric, Task, Workload, warm_up

ALPHA = 1.2
SHORTEST = 0.005  # seconds
LONGEST = 100 * SHORTEST
NAPS_PER_BURN = 3  # in the mixed workload

SHARE = Metric("s in all / ideal")
TOTAL = Metric("s in all")
IN_TURN = Metric("in turn / ideal")


def durations(count: int, seed: int) -> list[float]:
    """Draw seconds."""
    generator = random.Random(seed)
    drawn: list[float] = []
    while len(drawn) < count:
        seconds = SHORTEST * generator.paretovariate(ALPHA)
        if seconds <= LONGEST:
            drawn.append(seconds)
    return drawn


def ideal(burns: Sequence[float], naps: Sequence[float], workers: int) -> float:
    """The least time in which all can be over."""
    return max(sum(burns) / workers, max(burns, default=0), max(naps, default=0))


def in_turn(burns: Sequence[float], naps: Sequence[float], workers: int) -> float:
    """The time when each worker that is free takes the next function of the line."""
    free_at = [0.0] * workers
    for seconds in burns:
        heapq.heappush(free_at, heapq.heappop(free_at) + seconds)
    return max(*free_at, *naps, 0.0)


def run(task: Task, burns: Sequence[float], naps: Sequence[float]) -> Figures:
    burn = works.burn_later if task.entry.coroutines_only else works.burn
    calls: list[Call] = [(burn, seconds) for seconds in burns]
    calls += [(works.nap, seconds) for seconds in naps]
    if burns and naps:
        random.Random(1).shuffle(calls)
    in_line = [value for work, value in calls if work is burn]
    best = ideal(burns, naps, task.workers)
    with task.pool() as pool:
        warm_up(pool, [(calls[0][0], 0.0)] * 200)
        before = time.monotonic()
        pool.submit_all(calls)
        total = time.monotonic() - before
    return {
        SHARE.name: total / best,
        TOTAL.name: total,
        IN_TURN.name: in_turn(in_line, naps, task.workers) / best,
    }


def plain(task: Task) -> Figures:
    return run(task, durations(task.count, 1), [])


def coroutine(task: Task) -> Figures:
    return run(task, [], durations(task.count, 2))


def mixed(task: Task) -> Figures:
    return run(task, durations(task.count, 1), durations(task.count * NAPS_PER_BURN, 2))


AWAITING = (
    "aplex-awaited",
    "aplex-awaited-uvloop",
    "aiomultiprocess",
    "aiomultiprocess-uvloop",
    "distex",
    "futures-process-awaited",
)
METRICS = (SHARE, TOTAL, IN_TURN)
WORKLOADS = [
    Workload(
        name="uneven-plain",
        title="Plain functions of 5 to 500 ms of CPU, heavy-tailed",
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
        metrics=METRICS,
        measure=plain,
        full=200,
        quick=40,
        in_quick=False,
        tries_settings=False,
    ),
    Workload(
        name="uneven-coroutines",
        title="Coroutines that sleep 5 to 500 ms, heavy-tailed, all at once",
        peers=(*AWAITING[:2], "asyncio-alone", *AWAITING[2:]),
        metrics=METRICS,
        measure=coroutine,
        full=500,
        quick=100,
        in_quick=False,
        fewer={"futures-process-awaited": 10, "distex": 10},
    ),
    Workload(
        name="uneven-mixed",
        title="Plain functions of 5 to 500 ms of CPU and coroutines that sleep as long, shuffled",
        peers=AWAITING,
        metrics=METRICS,
        measure=mixed,
        full=150,
        quick=30,
        in_quick=False,
        fewer={"futures-process-awaited": 5, "distex": 5},
    ),
]
