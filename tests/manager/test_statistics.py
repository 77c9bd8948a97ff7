"""The cost of a look, and looks at what is about to go, with workers on paper."""

from __future__ import annotations

import time

import pytest

from aplex._backends.memory import MemoryBackend
from aplex._common.messages import PLAIN
from aplex._common.resident import resident
from aplex._manager.manager import Manager
from aplex._manager.statistics import workers_of
from aplex._pool.pool import Pool
from aplex._pool.state import PoolWorker, Work
from aplex.futures import ConcurrentFuture
from aplex.load_balancers import RoundRobin


class Gone(MemoryBackend):
    """Has freed the memory of its workers."""

    def running(self, worker: PoolWorker) -> tuple[int, float]:
        """Fail as a memory view does that was released."""
        raise ValueError(worker)


def busy_pool(backend: MemoryBackend, workers: int, works: int) -> Pool:
    """Return a pool whose workers have so many works each."""
    pool = Pool(workers, 300, RoundRobin)
    pool.open()
    backend.started = list(pool.workers)
    for worker in pool.workers:
        worker.pid = 1
        for number in range(works):
            work = Work(PLAIN, print, (), None, ConcurrentFuture())
            work.id, work.seq, work.target = number, number + 1, print
            worker.works[number] = work
    return pool


def test_a_worker_whose_memory_was_freed_just_now_runs_nothing() -> None:
    backend = Gone()
    pool = busy_pool(backend, 1, 1)
    [stats] = workers_of(pool, backend, 0.0)
    assert stats.running is None


def test_a_function_whose_report_was_taken_in_just_now_does_not_run() -> None:
    backend = MemoryBackend()
    pool = busy_pool(backend, 1, 1)
    backend.runs[pool.workers[0]] = (7, 1.0)
    [stats] = workers_of(pool, backend, 2.0)
    assert stats.running is None


def test_a_look_at_64_busy_workers_takes_a_few_milliseconds_at_most() -> None:
    """It is one millisecond on a quiet machine; a busy one must not fail the test."""
    backend = MemoryBackend()
    pool = busy_pool(backend, 64, 300)
    manager = Manager(pool, backend, "desk", exit_grace=0.2)
    took = []
    for _ in range(20):
        began = time.perf_counter()
        stats = manager.stats()
        took.append(time.perf_counter() - began)
    assert len(stats.workers) == 64
    assert min(took) < 0.01


@pytest.mark.parametrize("pid", [2**22 + 1, 0])
def test_a_process_that_is_not_there_holds_no_known_memory(pid: int) -> None:
    assert resident(pid) is None
