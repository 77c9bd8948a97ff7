"""Does a work stay as cheap when there is more of everything: of works, keys, workers …?

Each workload measures the CPU time of the parent alone, by work: where pools are big, workers have
CPUs of their own. The sizes take turns, the smallest first, again and again; the figure of a size
is the median of its turns. What a small size costs is measured over several runs at a time, so
that a turn of each has about as many works.
"""

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import works
from gates import closed_gate
from peers.base import AwaitingPeer, Call, Peer, Work
from workloads.base import Figures, Metric, Task, Workload, warm_up
from workloads.crowds import task_work

TURNS = 3
AWAITED, BLOCKING = "aplex-awaited", "aplex"
Turn = Callable[[], float]
"""Does works of one size; returns the CPU microseconds that one has cost the parent."""

WAITING = (1_000, 10_000, 100_000, 1_000_000)
OPTIONS = (1_000, 10_000, 100_000)
STREAMS = (100, 1_000, 10_000)
ARGUMENTS = (50, 500, 5_000)
WORKERS = (2, 64, 128, 256)
BURST = 20_000  # works for pools of many workers
AT_LEAST = 3_000  # works of a turn
BIG = bytes(70_000)
FAR = 3600.0  # seconds; a deadline that does not pass


def times(few: int, many: int) -> Metric:
    return Metric(f"times the cost, {many:,} / {few:,}")


def cost(size: int) -> Metric:
    return Metric(f"µs/work, {size:,}")


def metrics(sizes: tuple[int, ...]) -> tuple[Metric, ...]:
    """By how much the cost grows, up to the biggest size first; then the costs."""
    few, *more = sizes
    return (*(times(few, many) for many in reversed(more)), *map(cost, sizes))


def in_turn(turns: dict[int, Turn]) -> Figures:
    costs: dict[int, list[float]] = {size: [] for size in turns}
    for _ in range(TURNS):
        for size, turn in turns.items():
            gc.collect()
            costs[size].append(turn())
    medians = {size: statistics.median(found) for size, found in costs.items()}
    few, *more = medians
    return {
        **{times(few, many).name: medians[many] / medians[few] for many in more},
        **{cost(size).name: median for size, median in medians.items()},
    }


@contextmanager
def held_up(pool: Peer, work: Work, workers: int) -> Iterator[Callable[[], Any]]:
    """Have all workers stand at a gate; what is yielded lets them go, and waits until they have."""
    stand = works.stand if work is works.same else works.stand_later
    with closed_gate() as gate:
        standing = pool.hand_in([(stand, str(gate.path))] * workers)
        while gate.standing() < workers:
            pool.rest(0.01)  # who awaits reads reports only while its loop turns

        def let_go() -> None:
            gate.open()
            pool.collect(standing)

        yield let_go


def spend(action: Callable[[], Any], count: int) -> float:
    before = time.process_time()
    action()
    return (time.process_time() - before) / count * 1e6


def sizes_of(task: Task, sizes: tuple[int, ...]) -> list[int]:
    return [size for size in sizes if size <= task.count]


# -- works that wait ----------------------------------------------------------

Submit = Callable[[Peer, int], Any]
"""Submits a work, of that number, and returns what to wait for."""


def waiting(task: Task, sizes: tuple[int, ...], submit: Submit) -> Figures:
    """Hold up all workers, submit so many works, let the workers go, wait for every result."""

    def turn_of(pool: Peer, size: int) -> Turn:
        return lambda: statistics.median(
            one_crowd(pool, task, size, submit) for _ in range(max(1, AT_LEAST // size))
        )

    with task.pool() as pool:
        warm_up(pool, [(task_work(task), number) for number in range(20_000)])
        return in_turn({size: turn_of(pool, size) for size in sizes_of(task, sizes)})


def one_crowd(pool: Peer, task: Task, size: int, submit: Submit) -> float:
    async def submit_in_loop() -> list[Any]:
        return [submit(pool, number) for number in range(size)]

    def all_of_it() -> None:
        if isinstance(pool, AwaitingPeer):
            handles = pool.run(submit_in_loop())
        else:
            handles = [submit(pool, number) for number in range(size)]
        let_go()
        assert len(pool.collect(handles)) == size

    with held_up(pool, task_work(task), task.workers) as let_go:
        return spend(all_of_it, size)


def executor(pool: Peer) -> Any:
    """The executor itself: what is asked of it here, no other pool has."""
    return vars(pool)["pool"]


def just_waiting(task: Task) -> Figures:
    work = task_work(task)
    return waiting(task, WAITING, lambda pool, number: executor(pool).submit(work, number))


def keys(task: Task) -> Figures:
    """Each work has a key of its own, of which one at a time may run."""

    def submit(pool: Peer, number: int) -> Any:
        view = executor(pool).options(limit_key=number, max_concurrency=1)
        return view.submit(task_work(task), number)

    return waiting(task, OPTIONS, submit)


def deadlines(task: Task) -> Figures:
    """Each work has a deadline, an hour away."""

    def submit(pool: Peer, number: int) -> Any:
        return executor(pool).options(time_limit=FAR).submit(task_work(task), number)

    return waiting(task, OPTIONS, submit)


def arguments(task: Task) -> Figures:
    """Each work has an argument that travels in shared memory."""
    return waiting(task, ARGUMENTS, lambda pool, _: executor(pool).submit(works.who_later, BIG))


# -- streams ------------------------------------------------------------------

ITEMS = 10


def streams(task: Task) -> Figures:
    """Open so many streams, then read an item of each in turn, until all have ended."""
    with task.pool() as pool:
        turns = {size: stream_turn(pool, size) for size in sizes_of(task, STREAMS)}
        for turn in turns.values():
            turn()
        return in_turn(turns)


def stream_turn(pool: Any, size: int) -> Turn:
    async def read_all() -> int:
        open_ = [executor(pool).stream(works.count_to_later, ITEMS) for _ in range(size)]
        items = [await anext(stream) for _ in range(ITEMS) for stream in open_]
        for stream in open_:
            assert await anext(stream, None) is None
        return len(items)

    def read_often() -> None:
        for _ in range(max(1, AT_LEAST // ITEMS // size)):
            assert pool.run(read_all()) == ITEMS * size

    return lambda: spend(read_often, ITEMS * size * max(1, AT_LEAST // ITEMS // size))


# -- workers ------------------------------------------------------------------


def functions_for_many(task: Task) -> Figures:
    return many_workers(task, works.same)


def coroutines_for_many(task: Task) -> Figures:
    return many_workers(task, works.same_later)


def many_workers(task: Task, work: Any) -> Figures:
    """Submit a burst to pools of several sizes, all of which are up."""
    calls: list[Call] = [(work, number) for number in range(BURST)]
    with ExitStack() as stack:
        turns: dict[int, Turn] = {}
        for size in sizes_of(task, WORKERS):
            pool = task.entry.make(size, task.settings)
            pool.open()
            stack.callback(pool.close)
            with held_up(pool, works.same, size) as let_go:
                let_go()  # all have come: they are up
            for _ in range(3):
                assert pool.submit_all(calls) == list(range(BURST))
            turns[size] = burst_turn(pool, calls)
        return in_turn(turns)


def burst_turn(pool: Peer, calls: list[Call]) -> Turn:
    return lambda: spend(lambda: pool.submit_all(calls), len(calls))


def workload(
    name: str,
    title: str,
    sizes: tuple[int, ...],
    measure: Callable[[Task], Figures],
    *,
    peer: str = AWAITED,
    quick: int,
    **settings: Any,
) -> Workload:
    return Workload(
        name=f"growth-{name}",
        title=f"{title}: the parent's CPU time",
        peers=(peer,),
        metrics=metrics(sizes),
        measure=measure,
        full=sizes[-1],
        quick=quick,
        in_quick=False,
        apart=True,
        settings=settings,
    )


WORKLOADS = [
    workload("waiting", "Coroutines waiting, awaited", WAITING, just_waiting, quick=10_000),
    workload(
        "waiting-blocking",
        "Functions waiting, blocking",
        WAITING,
        just_waiting,
        peer=BLOCKING,
        quick=10_000,
    ),
    workload("keys", "Works waiting, each with a key and a limit", OPTIONS, keys, quick=10_000),
    workload("deadlines", "Works waiting, each with a timeout", OPTIONS, deadlines, quick=10_000),
    workload("arguments", "Works waiting with 70 kB", ARGUMENTS, arguments, quick=500),
    workload(
        "streams",
        "Open streams, by item",
        STREAMS,
        streams,
        quick=1_000,
        max_works_per_worker=STREAMS[-1],
    ),
    workload(
        "workers", f"{BURST:,} functions, awaited, workers", WORKERS, functions_for_many, quick=64
    ),
    workload(
        "workers-coroutines",
        f"{BURST:,} coroutines, awaited, workers",
        WORKERS,
        coroutines_for_many,
        quick=64,
    ),
    workload(
        "workers-blocking",
        f"{BURST:,} functions, blocking, workers",
        WORKERS,
        functions_for_many,
        peer=BLOCKING,
        quick=64,
    ),
]
