"""Contract: what ``stats()`` tells, while works wait, run, fail, and workers die."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from aplex import PoolStats, WorkerLostError
from tests.support import works
from tests.support.callers import DEADLINE, ENGINES, Caller, caller_of, everywhere, make_pool
from tests.support.emulation.start import emulated
from tests.support.only import only_engine
from tests.support.signals import Gate, Signals

pytestmark = pytest.mark.few_engines


def settled(pool: Any, wanted: Callable[[PoolStats], bool]) -> PoolStats:
    """Return the statistics as soon as they are as wanted: futures are settled before the rest."""
    end = time.monotonic() + DEADLINE
    while not wanted(stats := pool.stats()):
        assert time.monotonic() < end, stats
        time.sleep(0.001)
    return stats


@pytest.fixture(params=ENGINES)
def fresh(request: pytest.FixtureRequest, face: str) -> Iterator[Caller]:
    """A caller of every engine, with one worker of its own."""
    caller = caller_of(face, request.param, pool_size=1, retries=1)
    yield caller
    caller.close()


def test_works_are_counted_by_what_became_of_them(fresh: Caller, signals: Signals) -> None:
    pool = fresh.pool
    assert pool.stats().state == "new"
    fresh.call(works.add, 1)
    fresh.call(works.aadd, 1)
    fresh.raised(works.fail, ValueError())
    fresh.raised(works.afail, ValueError())
    endless = fresh.submit(works.endless, signals.path)
    signals.expect("started work")
    fresh.cancel(endless)
    fresh.wait(endless)
    stats = settled(pool, lambda stats: not stats.pending)
    assert (stats.done, stats.failed, stats.cancelled) == (2, 2, 1)
    assert (stats.submitted, stats.finished, stats.pending) == (5, 5, 0)
    assert (stats.state, stats.size, stats.retried, stats.restarts) == ("open", 1, 0, 0)
    assert stats.workers[0].done == 5


@everywhere
def test_the_function_that_runs_is_named_with_its_work_and_since_when(
    caller: Caller, signals: Signals, gate: Gate
) -> None:
    before = time.monotonic()
    future = caller.submit(works.held, signals.path, gate.path)
    signals.expect("started None")
    stats = caller.pool.stats()
    gate.open()
    caller.wait(future)
    [running] = [worker.running for worker in stats.workers if worker.running]
    assert running.name == "tests.support.works.held"
    assert before <= running.since <= time.monotonic()
    assert 0 <= running.seconds <= time.monotonic() - before
    assert stats.in_flight == 1


def test_a_worker_is_described(fresh: Caller) -> None:
    pid = fresh.call(works.pid)
    [worker] = settled(fresh.pool, lambda stats: not stats.pending).workers
    threads = pid == os.getpid()
    plain_threads = threads and only_engine() is None
    assert (worker.slot, worker.id, worker.state, worker.done) == (0, 1, "serving", 1)
    assert worker.pid == (None if plain_threads else pid)
    if threads or emulated():  # what a process holds is only known where there is /proc
        assert worker.rss is None
    else:
        assert worker.rss is not None
        assert worker.rss > 2**20
    assert 0 < worker.uptime < DEADLINE
    assert worker.running is None


def test_coroutines_and_functions_in_flight_are_told_apart(
    fresh: Caller, signals: Signals, gate: Gate
) -> None:
    held = [fresh.submit(works.aheld, signals.path, gate.path) for _ in range(2)]
    held.append(fresh.submit(works.held, signals.path, gate.path))
    signals.expect(*["started None"] * 3)
    [worker] = fresh.pool.stats().workers
    assert (worker.in_flight, worker.coroutines) == (3, 2)
    gate.open()
    fresh.wait(*held)


def test_waiting_works_are_counted(fresh: Caller, signals: Signals, gate: Gate) -> None:
    view = fresh.through(fresh.pool.options(max_concurrency=1))
    held = [view.submit(works.aheld, signals.path, gate.path) for _ in range(3)]
    signals.expect("started None")
    stats = settled(fresh.pool, lambda stats: stats.in_flight == 1)
    assert stats.waiting == 2
    gate.open()
    fresh.wait(*held)
    assert settled(fresh.pool, lambda stats: not stats.pending).done == 3


@pytest.mark.parametrize("engine", [engine for engine in ENGINES if engine != "thread"])
def test_a_death_a_restart_and_a_retry_are_counted(engine: str) -> None:
    with make_pool(engine, retries=1) as pool:
        assert pool.submit(works.add, 1).result() == 1
        [first] = pool.stats().workers
        with pytest.raises(WorkerLostError):
            pool.submit(works.die, "SIGKILL").result()
        assert pool.submit(works.add, 1).result() == 1
        stats = settled(pool, lambda stats: not stats.pending)
    [last] = stats.workers
    assert (stats.retried, stats.restarts) == (1, 2)
    assert (stats.done, stats.failed) == (2, 1)
    assert (first.slot, last.slot) == (0, 0)
    assert last.id > first.id
    assert last.pid != first.pid


def test_nobody_is_waited_for(engine: str) -> None:
    """A load balancer that hangs has the lock of the pool; a signal handler may be in a step."""
    from aplex.load_balancers import LoadBalancer

    entered, go_on = threading.Event(), threading.Event()
    seen = []

    class Hanging(LoadBalancer):
        def get_proper_worker(self, meta: Any) -> Any:
            seen.append(pool.stats())  # in the thread that has the lock
            entered.set()
            assert go_on.wait(DEADLINE)
            return self.workers[0]

    with make_pool(engine, load_balancer=Hanging) as pool:
        future = pool.submit(works.add, 1)
        caller = threading.Thread(target=future.result)
        caller.start()
        assert entered.wait(DEADLINE)
        began = time.monotonic()
        stats = pool.stats()
        took = time.monotonic() - began
        go_on.set()
        caller.join()
    assert stats.pending == seen[0].pending == 1
    assert took < 1


def test_a_work_out_of_time_that_goes_on_has_failed_and_is_in_flight(
    signals: Signals, gate: Gate
) -> None:
    with make_pool("thread") as pool:
        future = pool.options(time_limit=0.01).submit(works.held, signals.path, gate.path)
        with pytest.raises(TimeoutError):
            future.result()
        stats = pool.stats()
        assert (stats.in_flight, stats.failed, stats.done) == (1, 1, 0)
        gate.open()
        stats = settled(pool, lambda stats: not stats.pending)
        assert (stats.failed, stats.cancelled, stats.done) == (1, 0, 0)


def test_a_work_of_a_key_that_cannot_be_hashed_is_not_counted(engine: str) -> None:
    with make_pool(engine) as pool:
        pool.submit(works.add, 1).result()
        with pytest.raises(TypeError):
            pool.options(limit_key=[], max_concurrency=1).submit(works.add, 1)
        assert settled(pool, lambda stats: not stats.pending).submitted == 1


def test_the_states_of_a_pool(engine: str, signals: Signals, gate: Gate) -> None:
    pool = make_pool(engine)
    assert pool.stats() == PoolStats("new", 1, 0, 0, 0, 0, 0, 0, 0, ())
    held = pool.submit(works.held, signals.path, gate.path)
    signals.expect("started None")
    assert pool.stats().state == "open"
    pool.shutdown(wait=False)
    assert pool.stats().state == "closing"
    gate.open()
    held.result()
    pool.shutdown()
    stats = pool.stats()
    assert (stats.state, stats.done, stats.workers) == ("closed", 1, ())


def test_a_snapshot_is_frozen(engine: str) -> None:
    with make_pool(engine) as pool, pytest.raises(FrozenInstanceError):
        pool.stats().done = 1  # type: ignore[misc]


def test_a_broken_pool_says_so() -> None:
    with make_pool("thread", initializer=works.fail, initargs=(ValueError(),)) as pool:
        future = pool.submit(works.add, 1)
        assert future.exception() is not None
        stats = settled(pool, lambda stats: stats.state == "broken")
        assert (stats.failed, stats.pending) == (1, 0)


def served(stats: PoolStats) -> list[int]:
    """The slots of workers that serve; each may have its heir beside it."""
    return [worker.slot for worker in stats.workers if worker.state == "serving"]


def test_workers_that_are_recycled_keep_their_slots_and_are_no_restarts(engine: str) -> None:
    with make_pool(engine, pool_size=2, max_tasks_per_child=3) as pool:
        for _ in range(20):
            pool.submit(works.add, 1).result()
        stats = settled(pool, lambda s: not s.pending and served(s) == [0, 1])
    assert max(worker.id for worker in stats.workers) > 2
    assert (stats.restarts, stats.done) == (0, 20)


def test_the_order_of_many_looks_while_works_run(engine: str) -> None:
    """Counts never run backwards, in a thread of its own."""
    over = threading.Event()
    seen: list[PoolStats] = []

    def look(pool: Any) -> None:
        while not over.is_set():
            seen.append(pool.stats())

    with make_pool(engine, pool_size=2) as pool:
        watcher = threading.Thread(target=look, args=(pool,))
        watcher.start()
        assert list(pool.map(works.add, range(500))) == list(range(500))
        over.set()
        watcher.join()
        assert settled(pool, lambda stats: not stats.pending).done == 500
    done = [stats.done for stats in seen]
    assert done == sorted(done)
    assert all(stats.submitted <= 500 for stats in seen)


def test_a_future_knows_the_number_of_its_work_before_and_after(
    fresh: Caller, signals: Signals, gate: Gate
) -> None:
    first = fresh.submit(works.add, 1)
    fresh.wait(first)
    held = fresh.submit(works.held, signals.path, gate.path)
    signals.expect("started None")
    [worker] = fresh.pool.stats().workers
    assert worker.running is not None
    assert (first.id, held.id) == (1, 2)
    assert worker.running.id == held.id
    gate.open()
    fresh.wait(held)
    failed = fresh.submit(works.fail, ValueError())
    fresh.wait(failed)
    assert (held.id, failed.id) == (2, 3)


def test_a_work_that_cannot_be_pickled_has_no_number() -> None:
    with make_pool("template") as pool:
        assert pool.submit(works.add, threading.Lock()).id is None


# -- how long works wait and run --------------------------------------------------------------


@everywhere
def test_times_are_told_in_all_and_by_name(caller: Caller) -> None:
    before = caller.pool.stats().by_name
    name = "tests.support.works.measured_sleep"
    known = before[name].running_time if name in before else None
    caller.wait(*[caller.submit(works.measured_sleep, 0.02) for _ in range(3)])
    stats = settled(caller.pool, lambda stats: not stats.pending)
    times = stats.by_name[name]
    assert times.name == name
    assert times.running_time is not None
    assert times.waiting_time is not None
    assert times.running_time.count == 3 + (known.count if known else 0)
    ran = times.running_time
    assert 0.019 < ran.p50 <= ran.p90 <= ran.p99 <= ran.max < DEADLINE
    assert 0.019 < ran.mean < DEADLINE
    assert stats.running_time is not None
    assert stats.waiting_time is not None
    assert stats.running_time.count >= 3


def test_coroutines_are_timed_with_what_they_wait(fresh: Caller) -> None:
    fresh.wait(*[fresh.submit(works.measured_asleep, 0.05) for _ in range(5)])
    stats = settled(fresh.pool, lambda stats: not stats.pending)
    times = stats.by_name["tests.support.works.measured_asleep"].running_time
    assert times is not None
    assert times.count == 5
    assert times.p50 > 0.048


def test_every_work_is_counted_whatever_becomes_of_it(fresh: Caller) -> None:
    futures = [fresh.submit(works.add, number) for number in range(300)]
    futures += [fresh.submit(works.fail, ValueError()) for _ in range(5)]
    fresh.wait(*futures)
    fresh.call(works.pid)
    stats = settled(fresh.pool, lambda stats: not stats.pending)
    assert stats.running_time is not None
    assert stats.running_time.count == 306
    counts = {name: t.running_time.count for name, t in stats.by_name.items() if t.running_time}
    assert sum(counts.values()) == 306
    # In a frame with works of several functions one stands for those before it.
    assert 306 - 5 - 16 <= counts["tests.support.works.add"] <= 306


def test_waiting_is_told_apart_from_running(fresh: Caller, signals: Signals, gate: Gate) -> None:
    held = fresh.submit(works.held, signals.path, gate.path)
    signals.expect("started None")
    behind = fresh.submit(works.pid)
    time.sleep(0.1)
    gate.open()
    fresh.wait(held, behind)
    stats = settled(fresh.pool, lambda stats: not stats.pending)
    times = stats.by_name["tests.support.works.pid"]
    assert times.waiting_time is not None
    assert times.running_time is not None
    assert times.waiting_time.p50 >= 0.095
    assert times.running_time.p50 < 0.095


def test_chunks_have_the_name_of_the_function(fresh: Caller) -> None:
    if fresh.awaitable:
        return
    assert len(list(fresh.map(works.add, range(100), chunksize=10))) == 100
    stats = settled(fresh.pool, lambda stats: not stats.pending)
    times = stats.by_name["tests.support.works.add"].running_time
    assert times is not None
    assert times.count == 10


def test_what_lost_workers_have_measured_stays(engine: str) -> None:
    with make_pool(engine, max_tasks_per_child=2) as pool:
        for _ in range(6):
            pool.submit(works.measured_sleep, 0.002).result()
        stats = settled(pool, lambda stats: not stats.pending)
    after = pool.stats()
    for told in (stats, after):
        times = told.by_name["tests.support.works.measured_sleep"].running_time
        assert times is not None
        assert times.count == 6


def test_without_a_page_that_others_see_times_are_told_too(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = shown_pages()
    for name in ("APLEX_PAGE", "memfd_create"):
        with monkeypatch.context() as patch:
            if name == "APLEX_PAGE":
                patch.setenv(name, "0")
            else:
                patch.delattr(os, name)
            with make_pool("spawn" if engine == "template" else engine) as pool:
                assert pool.submit(works.add, 1).result() == 1
                stats = settled(pool, lambda stats: not stats.pending)
                assert shown_pages() <= before  # others of this process
        assert stats.running_time is not None
        assert stats.running_time.count == 1


def test_replaced_workers_leave_no_page_behind() -> None:
    with make_pool("thread", max_tasks_per_child=1) as pool:
        pool.submit(works.add, 1).result()
        settled(pool, is_at_rest)
        before = len(descriptors())
        for _ in range(50):
            pool.submit(works.add, 1).result()
        settled(pool, is_at_rest)
        assert len(descriptors()) <= before + 3


def is_at_rest(stats: PoolStats) -> bool:
    """Whether nothing is left but a worker and the one that will replace it."""
    return not stats.pending and len(stats.workers) <= 2


def descriptors() -> list[str]:
    listing = f"/proc/{os.getpid()}/fd"
    return [fd for fd in os.listdir(listing) if os.path.exists(f"{listing}/{fd}")]


def shown_pages() -> set[tuple[int, int]]:
    """Which pages of this process others see."""
    pages = set()
    for fd in descriptors():
        if "aplex-page" in os.readlink(f"/proc/self/fd/{fd}"):
            status = os.stat(f"/proc/self/fd/{fd}")
            pages.add((status.st_dev, status.st_ino))
    return pages
