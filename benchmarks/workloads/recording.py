"""What a recording costs: works by the second with it and without, memory, and what is made of it.

With and without take turns in one pool, so that noise of the machine meets both alike.
"""

import gc
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import works
from peers.base import Peer
from workloads.base import Figures, Metric, Task, Workload, warm_up

TURNS = 15
MILLION = 1_000_000
RATIO = Metric("rate, recorded / not", more_is_better=True)
MEMORY = Metric("MB, a million works")
FILE = Metric("MB, their file")
TRACE = Metric("CPU s, their trace")
REPORT = Metric("CPU s, their report")
PAGE = Metric("MB, report of 100,000 works")
BURST = 10_000  # works in flight at a time


def turns(task: Task, act: Callable[[Peer], object]) -> Figures:
    """Return the rate with a recording, divided by that without: the median of pairs."""
    ratios: list[float] = []
    with task.pool() as peer:
        pool: Any = peer.pool
        warm_up(peer, [(works.same, 1)] * 400)
        act(peer)
        for turn in range(TURNS if not task.quick else 7):
            seconds: dict[bool, float] = {}
            for recorded in (True, False) if turn % 2 else (False, True):
                gc.collect()
                with pool.record() if recorded else nullcontext():
                    peer.submit_all([(works.same, 1), (works.same_later, 1)] * 2)
                    began = time.perf_counter()
                    act(peer)
                    seconds[recorded] = time.perf_counter() - began
            ratios.append(seconds[False] / seconds[True])
    return {RATIO.name: statistics.median(ratios)}


def submit(task: Task) -> Figures:
    calls = [(works.same, number) for number in range(task.count)]
    return turns(task, lambda peer: peer.submit_all(calls))


def submit_coroutines(task: Task) -> Figures:
    calls = [(works.same_later, number) for number in range(task.count)]
    return turns(task, lambda peer: peer.submit_all(calls))


def map_plain(task: Task) -> Figures:
    items = list(range(task.count))
    return turns(task, lambda peer: peer.map(works.same, items, task.chunksize))


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def record(peer: Peer, count: int) -> tuple[Any, int]:
    """Record so many works; return the recording, and by how much the parent has grown."""
    pool: Any = peer.pool
    calls = [(works.same, number) for number in range(BURST)]
    peer.submit_all(calls)
    gc.collect()
    before = resident()
    with pool.record() as run:
        for _ in range(count // BURST):
            peer.submit_all(calls)
        gc.collect()
        grown = resident() - before
    # What is kept may lie where memory was free before.
    kept = sum(8 * len(block.log) for block in run._source.tape().blocks)  # noqa: SLF001
    return run, max(grown, kept)


def million(task: Task) -> Figures:
    """Record many works; figures are those of a million."""
    scale = MILLION / task.count
    with task.pool() as peer, tempfile.TemporaryDirectory() as folder:
        run, grown = record(peer, task.count)
        assert len(run.works()["id"]) == task.count
        figures = {MEMORY.name: grown * scale / 1e6}
        path = Path(folder) / "made"
        run.save(path)
        figures[FILE.name] = path.stat().st_size * scale / 1e6
        for metric, make in ((TRACE, run.trace), (REPORT, run.report)):
            began = time.process_time()
            make(path)
            figures[metric.name] = (time.process_time() - began) * scale
    return figures


def page(task: Task) -> Figures:
    """The size of a report of 100,000 works, in either form of the benchmark."""
    with task.pool() as peer, tempfile.TemporaryDirectory() as folder:
        run, _ = record(peer, 100_000)
        path = Path(folder) / "report.html"
        run.report(path)
        return {PAGE.name: path.stat().st_size / 1e6}


WORKLOADS = [
    Workload(
        name="recorded-submit",
        title="Plain functions submitted one by one, recorded and not",
        peers=("aplex", "aplex-awaited", "aplex-threads"),
        metrics=(RATIO,),
        measure=submit,
        full=20_000,
        quick=5_000,
    ),
    Workload(
        name="recorded-coroutines",
        title="Coroutines submitted one by one, recorded and not",
        peers=("aplex", "aplex-awaited"),
        metrics=(RATIO,),
        measure=submit_coroutines,
        full=20_000,
        quick=5_000,
    ),
    Workload(
        name="recorded-map",
        title="map of plain functions, chunksize=1, recorded and not",
        peers=("aplex", "aplex-awaited"),
        metrics=(RATIO,),
        measure=map_plain,
        full=50_000,
        quick=5_000,
    ),
    Workload(
        name="recorded-million",
        title="A recording of a million works, and what is made of it",
        peers=("aplex",),
        metrics=(MEMORY, FILE, TRACE, REPORT),
        measure=million,
        full=MILLION,
        quick=50_000,
    ),
    Workload(
        name="recorded-page",
        title="The report of 100,000 works",
        peers=("aplex",),
        metrics=(PAGE,),
        measure=page,
        full=100_000,
        quick=100_000,
    ),
]
