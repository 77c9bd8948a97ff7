"""Contract: workers that are replaced although they could go on, and pools that shrink and grow."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aplex import ProcessAsyncPoolExecutor, ThreadAsyncPoolExecutor, current_worker
from aplex._common.resident import resident
from tests.support import works
from tests.support.callers import DEADLINE, ENGINES, Caller, make_pool
from tests.support.lifespans import noted, notes
from tests.support.signals import Gate, Signals
from tests.support.waiting import eventually

pytestmark = pytest.mark.few_engines

EVERY_ENGINE = pytest.mark.parametrize("engine", ENGINES, indirect=True)
QUICK = pytest.mark.parametrize("engine", ["thread", "template"], indirect=True)
"""Engines that start a worker in no time."""
TEMPLATE = pytest.mark.parametrize("engine", ["template"], indirect=True)
BLOCKING = pytest.mark.parametrize("face", ["blocking"], indirect=True)
Pool = ProcessAsyncPoolExecutor[Any] | ThreadAsyncPoolExecutor[Any]

# -- what runs in workers -------------------------------------------------------------------------


def name(*_: Any) -> str:
    return current_worker().name


async def aname(*_: Any) -> str:
    await asyncio.sleep(0)
    return current_worker().name


def names(count: int) -> Iterator[str]:
    for _ in range(count):
        yield current_worker().name


async def anames(count: int) -> AsyncIterator[str]:
    for _ in range(count):
        yield current_worker().name


def hold(size: int) -> int:
    """Have a worker hold so much memory from now on."""
    held.append(b"x" * size)
    return os.getpid()


held: list[bytes] = []


def states(pool: Pool) -> list[str]:
    return sorted(worker.state for worker in pool.stats().workers)


# -- so many works, and no more -------------------------------------------------------------------


@EVERY_ENGINE
@pytest.mark.parametrize("most", [1, 7])
def test_no_worker_takes_more_works_than_it_may(
    new_caller: Callable[..., Caller], most: int
) -> None:
    caller = new_caller(pool_size=2, max_tasks_per_child=most)
    futures = [caller.submit((name, aname)[n % 2]) for n in range(4 * most)]
    taken = Counter(caller.result(future) for future in futures)
    assert max(taken.values()) <= most
    assert len(taken) >= 4


@QUICK
@pytest.mark.parametrize("chunksize", [1, 4, 1000, "auto"])
def test_the_items_of_a_map_count(new_caller: Callable[..., Caller], chunksize: Any) -> None:
    caller = new_caller(pool_size=2, max_tasks_per_child=10)
    for work in name, aname:
        taken = Counter(caller.map(work, range(60), chunksize=chunksize))
        assert max(taken.values()) <= 10
        assert sum(taken.values()) == 60


@QUICK
def test_a_stream_counts_as_one_work(new_caller: Callable[..., Caller]) -> None:
    caller = new_caller(max_tasks_per_child=1)
    seen = [set(caller.stream(work, 40)) for work in (names, anames, names)]
    assert all(len(each) == 1 for each in seen)
    assert len(set().union(*seen)) == 3


@TEMPLATE
@BLOCKING
def test_works_that_are_alone_share_no_process(new_caller: Callable[..., Caller]) -> None:
    caller = new_caller(pool_size=2, max_tasks_per_child=1)
    pids = [caller.call(works.ident) for _ in range(20)]
    assert len(set(pids)) == 20


@TEMPLATE
@BLOCKING
def test_with_one_work_a_worker_the_next_one_is_warm(new_caller: Callable[..., Caller]) -> None:
    """A start takes a second and a half here; no work waits for one."""
    caller = new_caller(max_tasks_per_child=1, initializer=time.sleep, initargs=(1.5,))
    caller.pool.start()
    for n in range(3):
        eventually(lambda: "standby" in states(caller.pool))
        began = time.monotonic()
        assert caller.call((works.add, works.aadd)[n % 2], n) == n
        assert time.monotonic() - began < 1.4


@TEMPLATE
@BLOCKING
def test_as_many_functions_run_at_once_as_there_are_workers(
    new_caller: Callable[..., Caller], signals: Signals, gate: Gate
) -> None:
    caller = new_caller(pool_size=2, max_tasks_per_child=1)
    caller.pool.start()
    futures = [caller.submit(works.held, signals.path, gate.path) for _ in range(4)]
    signals.expect("started None", "started None")
    eventually(lambda: states(caller.pool).count("retiring") == 2)
    stats = caller.pool.stats()
    assert (stats.in_flight, stats.waiting) == (2, 2)
    gate.open()
    for future in futures:
        caller.result(future)


def test_a_work_of_a_thread_may_await_another_one() -> None:
    """Each takes a worker of its own: the one that awaits has taken its last work."""
    with ThreadAsyncPoolExecutor(pool_size=1, max_tasks_per_child=1) as pool:

        async def nested(depth: int) -> list[str]:
            below = await asyncio.wrap_future(pool.submit(nested, depth - 1)) if depth else []
            return [current_worker().name, *below]

        assert len(set(pool.submit(nested, 5).result(DEADLINE))) == 6


def test_a_function_of_a_thread_may_wait_for_a_coroutine_but_not_through_another_function() -> None:
    """The place of a worker that has taken its last work runs one function at a time."""
    with ThreadAsyncPoolExecutor(pool_size=1, max_tasks_per_child=1) as pool:

        async def awaits_a_function() -> int:
            return await asyncio.wrap_future(pool.submit(works.add, 1, 2))

        def waits(work: Callable[[], Any]) -> Any:
            return pool.submit(work).result()  # with a timeout it would be allowed

        assert pool.submit(waits, works.anothing).result(DEADLINE) is None
        with pytest.raises(RuntimeError, match="wait for each other"):
            pool.submit(waits, awaits_a_function).result(DEADLINE)


@TEMPLATE
@BLOCKING
def test_a_work_that_kills_its_worker_runs_again_in_another(
    new_caller: Callable[..., Caller], tmp_path: Path
) -> None:
    caller = new_caller(pool_size=2, max_tasks_per_child=2, retries=1)
    futures = [caller.submit(works.die_at_first, str(tmp_path / str(n))) for n in range(4)]
    futures += [caller.submit(works.add, n) for n in range(20)]
    for future in futures:
        caller.result(future)


@QUICK
@BLOCKING
def test_each_lifespan_is_left_and_slots_are_kept(
    new_caller: Callable[..., Caller], tmp_path: Path
) -> None:
    path = tmp_path / "notes"
    lifespan = functools.partial(noted, str(path))
    caller = new_caller(pool_size=2, lifespan=lifespan, max_tasks_per_child=3)
    list(caller.map(name, range(30)))
    caller.pool.shutdown()
    for index in 0, 1:
        assert notes(path).count(f"enter {index}") >= 3
        left = sum(line.startswith(f"leave {index}") for line in notes(path))
        assert left == notes(path).count(f"enter {index}")


@TEMPLATE
def test_a_pool_ends_at_any_moment_of_a_replacement(engine: str) -> None:
    for count in range(12):
        with make_pool(engine, pool_size=2, max_tasks_per_child=2) as pool:
            futures = [pool.submit(works.add, n) for n in range(count)]
        assert [future.result() for future in futures] == list(range(count))


# -- age and memory -------------------------------------------------------------------------------


@QUICK
@BLOCKING
def test_a_worker_is_replaced_when_it_is_old_also_if_nothing_happens(
    new_caller: Callable[..., Caller],
) -> None:
    caller = new_caller(max_age=0.3)
    first = caller.call(name)
    numbers = {worker.id for worker in caller.pool.stats().workers}
    eventually(lambda: not numbers & {worker.id for worker in caller.pool.stats().workers})
    assert caller.call(name) != first


@TEMPLATE
@BLOCKING
@pytest.mark.skipif(resident(os.getpid()) is None, reason="there is no /proc")
def test_a_worker_that_holds_much_is_replaced_between_works(
    new_caller: Callable[..., Caller],
) -> None:
    own = resident(os.getpid())
    assert own is not None
    caller = new_caller(max_memory_per_worker=own + 50_000_000)
    first = caller.call(os.getpid)
    assert caller.call(hold, own + 60_000_000) == first
    eventually(lambda: caller.call(os.getpid) != first)
    assert caller.call(os.getpid) == caller.call(os.getpid)


@TEMPLATE
@BLOCKING
@pytest.mark.skipif(resident(os.getpid()) is None, reason="there is no /proc")
def test_memory_is_looked_at_once_a_second_while_a_function_runs(
    new_caller: Callable[..., Caller], signals: Signals, gate: Gate
) -> None:
    caller = new_caller(max_memory_per_worker=300_000_000, max_works_per_worker=2)
    first = caller.call(os.getpid)
    long = caller.submit(holding, signals.path, gate.path)
    signals.expect("started")
    eventually(lambda: "retiring" in states(caller.pool))
    assert caller.call(works.apid) != first, "a coroutine does not wait for it"
    gate.open()
    assert caller.result(long) == first


def holding(signals: str, gate: str) -> int:
    held.append(b"x" * 400_000_000)
    works.say(signals, "started")
    works.pass_gate(gate)
    return os.getpid()


@pytest.mark.needs("linux")  # the memory of a worker is known
@TEMPLATE
def test_a_limit_that_a_new_worker_exceeds_is_warned_of(
    engine: str, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.WARNING, "aplex"),
        make_pool(engine, max_memory_per_worker=1) as pool,
    ):
        assert [pool.submit(works.add, n).result() for n in range(10)] == list(range(10))
    assert caplog.text.count("before it has done anything") == 1


def test_threads_share_their_memory(engine: str) -> None:
    if engine == "thread":
        with pytest.raises(TypeError, match="max_memory_per_worker"):
            make_pool(engine, max_memory_per_worker=10**9)


# -- pools that shrink and grow -------------------------------------------------------------------


@QUICK
@BLOCKING
def test_a_pool_grows_with_its_works_and_shrinks_when_they_are_done(
    new_caller: Callable[..., Caller],
) -> None:
    caller = new_caller(pool_size=3, min_pool_size=1, idle_timeout=0.2)
    caller.call(works.add, 1)
    assert len(caller.pool.stats().workers) == 1
    for _ in range(2):
        futures = [caller.submit(time.sleep, 0.05) for _ in range(30)]
        eventually(lambda: states(caller.pool).count("serving") == 3)
        for future in futures:
            caller.result(future)
        eventually(lambda: states(caller.pool) == ["serving"])
    assert caller.pool.stats().size == 3


@TEMPLATE
@BLOCKING
def test_a_start_may_ask_for_more_workers_than_the_least(
    new_caller: Callable[..., Caller],
) -> None:
    pool = new_caller(pool_size=3, min_pool_size=1).pool
    pool.start()
    assert states(pool) == ["serving"]
    pool.start(at_least=2)
    assert states(pool).count("serving") == 2


def test_a_pool_that_is_small_wakes_nobody(engine: str) -> None:
    with make_pool(engine, pool_size=3, min_pool_size=1, idle_timeout=0.1) as pool:
        list(pool.map(works.add, range(30)))
        eventually(lambda: states(pool) == ["serving"])
        listener = next(t for t in threading.enumerate() if t.name.endswith("-listener"))
        timers = pool._manager._listener._timers
        eventually(lambda: all(timer.when - time.monotonic() > 1 for *_, timer in timers.copy()))
        assert listener.is_alive()
