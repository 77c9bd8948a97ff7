"""Contract (faults): workers that do not start, resizing, termination."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from aplex import BrokenPoolError, ProcessAsyncPoolExecutor, WorkerLostError
from aplex._backends.process import starter
from tests.support import works
from tests.support.callers import KILLED, PROCESSES, Awaiting, Caller, make_pool
from tests.support.signals import Gate, Signals

EVERY_PROCESS = pytest.mark.parametrize("engine", PROCESSES, indirect=True)
SPAWN = pytest.mark.parametrize("engine", ["template"], indirect=True)
BLOCKING = pytest.mark.parametrize("face", ["blocking"], indirect=True)


def pids(caller: Caller, count: int) -> set[int]:
    """Call works until so many workers have answered."""
    met: set[int] = set()
    while len(met) < count:
        met.add(caller.call(works.ident))
    return met


# -- workers that do not start ----------------------------------------------------------------


@EVERY_PROCESS
@BLOCKING
@pytest.mark.parametrize(("how", "cause"), [("SIGKILL", KILLED.name), ("exit", "code 7")])
def test_a_pool_whose_workers_never_start_is_broken_and_says_why(
    new_caller: Callable[..., Caller], how: str, cause: str
) -> None:
    caller = new_caller(pool_size=2, initializer=works.die, initargs=(how,), max_restarts=1)
    futures = [caller.submit(works.add, 1) for _ in range(3)]
    for future in futures:
        error = caller.error(future)
        assert isinstance(error, BrokenPoolError)
        assert "3 workers in a row ended before they served" in str(error)
        assert cause in str(error)
        assert isinstance(error.__cause__.__cause__, WorkerLostError)  # type: ignore[union-attr]
    with pytest.raises(BrokenPoolError, match=cause):
        caller.submit(works.add, 1)


@SPAWN
@BLOCKING
def test_the_last_words_of_a_crash_during_the_start(new_caller: Callable[..., Caller]) -> None:
    caller = new_caller(initializer=works.crash, max_restarts=0)
    error = caller.raised(works.add, 1)
    assert "last words" in str(error)
    assert "Fatal Python error: Segmentation fault" in error.__cause__.__notes__[0]  # type: ignore[union-attr]


@pytest.mark.needs("process")  # it hangs in C, where a subinterpreter is left
@EVERY_PROCESS
@BLOCKING
def test_a_worker_that_does_not_become_ready_is_killed(new_caller: Callable[..., Caller]) -> None:
    caller = new_caller(initializer=time.sleep, initargs=(60,), start_timeout=0.3, max_restarts=1)
    began = time.monotonic()
    error = caller.raised(works.add, 1)
    assert isinstance(error, BrokenPoolError)
    assert "did not become ready within 0.3 s" in str(error)
    assert 0.6 < time.monotonic() - began < 10


@SPAWN
@BLOCKING
def test_a_stopped_worker_that_does_not_become_ready_is_killed(
    new_caller: Callable[..., Caller],
) -> None:
    caller = new_caller(initializer=works.stop, start_timeout=1.0, max_restarts=0)
    assert "did not become ready" in str(caller.raised(works.add, 1))


@SPAWN
@BLOCKING
def test_pauses_between_failed_starts(new_caller: Callable[..., Caller], signals: Signals) -> None:
    caller = new_caller(initializer=works.fail_to_start, initargs=(signals.path, 4), max_restarts=5)
    began = time.monotonic()
    assert caller.call(works.add, 1) == 1
    assert time.monotonic() - began > 0.1 + 0.2 + 0.4


@SPAWN
@BLOCKING
def test_a_pool_that_serves_outlives_any_number_of_idle_deaths(
    new_caller: Callable[..., Caller],
) -> None:
    caller = new_caller(pool_size=2)
    for _ in range(6):
        victim = caller.call(works.pid)
        os.kill(victim, signal.SIGKILL)
    assert caller.call(works.add, 1) == 1


# -- resize -------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["thread", *PROCESSES], indirect=True)
def test_a_pool_grows_and_shrinks(new_caller: Callable[..., Caller]) -> None:
    caller = new_caller(pool_size=1)
    (first,) = pids(caller, 1)
    caller.pool.resize(3)
    three = pids(caller, 3)
    assert first in three
    caller.pool.resize(1)
    (last,) = {caller.call(works.ident) for _ in range(20)}
    assert last in three
    assert "1 workers" in repr(caller.pool)


@SPAWN
@BLOCKING
def test_workers_that_are_not_wanted_any_more_are_not_started(
    new_caller: Callable[..., Caller], signals: Signals
) -> None:
    caller = new_caller(pool_size=1, initializer=works.say, initargs=(signals.path, "started"))
    caller.call(works.add, 1)
    with starter._lock:  # as if another pool started a worker meanwhile
        caller.pool.resize(9)
        caller.pool.resize(1)
    assert caller.call(works.add, 1) == 1
    caller.pool.shutdown()
    assert signals.said() == ["started"]


def test_new_workers_are_ready_though_nobody_waits(new_caller: Callable[..., Caller]) -> None:
    """Or they would be taken for late, and killed."""
    caller = new_caller(pool_size=1)
    caller.call(works.add, 1)
    if not caller.awaitable:
        caller.pool.submit(works.add, 1).result()  # who waits reads; afterwards nobody does
    caller.pool.resize(2)
    deadline = time.monotonic() + 20
    while "2 workers (0 starting)" not in repr(caller.pool):
        assert time.monotonic() < deadline, caller.pool
        time.sleep(0.01)


def test_resize_before_the_first_work(new_caller: Callable[..., Caller]) -> None:
    caller = new_caller(pool_size=1)
    caller.pool.resize(2)
    assert len(pids(caller, 2)) == 2


def test_works_of_workers_that_are_let_go_are_finished(
    new_caller: Callable[..., Caller], gate: Gate, signals: Signals
) -> None:
    caller = new_caller(pool_size=3)
    pids(caller, 3)
    futures = [caller.submit(works.aheld, signals.path, gate.path) for _ in range(9)]
    signals.expect(*["started None"] * 9)
    caller.pool.resize(1)
    assert [caller.call(works.aadd, n) for n in range(9)] == list(range(9))
    gate.open()
    assert [caller.result(future) for future in futures] == [None] * 9


def test_resize_from_several_threads_under_load(new_caller: Callable[..., Caller]) -> None:
    caller = new_caller(pool_size=2)
    failures: list[BaseException] = []

    def resize(sizes: tuple[int, ...]) -> None:
        try:
            for size in sizes * 5:
                caller.pool.resize(size)
        except BaseException as error:  # noqa: BLE001 - shown by the test
            failures.append(error)

    threads = [threading.Thread(target=resize, args=(sizes,)) for sizes in ((1, 3), (2, 1))]
    futures = [caller.submit(works.aadd, n) for n in range(300)]
    for thread in threads:
        thread.start()
    futures += [caller.submit(works.add, n) for n in range(300, 600)]
    for thread in threads:
        thread.join()
    assert failures == []
    assert [caller.result(future, timeout=30) for future in futures] == list(range(600))


def test_nonsense_sizes_and_closed_pools_are_refused(engine: str) -> None:
    pool = make_pool(engine)
    with pytest.raises(ValueError, match="pool_size must be at least 1"):
        pool.resize(0)
    with pytest.raises(TypeError, match="pool_size must be an int, not True"):
        pool.resize(True)
    with pytest.raises(TypeError, match="pool_size must be an int"):
        pool.resize(None)  # type: ignore[arg-type]
    pool.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.resize(2)


# -- termination ----------------------------------------------------------------------------------


@EVERY_PROCESS
@pytest.mark.parametrize(
    ("end", "name"), [("terminate_workers", "SIGTERM"), ("kill_workers", KILLED.name)]
)
def test_workers_are_ended_and_the_pool_is_shut(
    new_caller: Callable[..., Caller], end: str, name: str, signals: Signals, gate: Gate
) -> None:
    caller = new_caller(max_works_per_worker=2, retries=2)
    started = [caller.submit(held, signals.path, gate.path) for held in (works.held, works.aheld)]
    waiting = [caller.submit(works.add, n) for n in range(5)]
    signals.expect("started None", "started None")
    began = time.monotonic()
    getattr(caller.pool, end)()
    with pytest.raises(RuntimeError, match="after shutdown"):
        caller.submit(works.add, 1)
    for future in started:
        error = caller.error(future)
        assert isinstance(error, WorkerLostError)
        assert error.signal_name == name
    caller.wait(*waiting)
    assert all(future.cancelled() for future in waiting)
    caller.pool.shutdown()
    assert time.monotonic() - began < 5


@SPAWN
@BLOCKING
@pytest.mark.parametrize("work", [works.hashes, works.keeps_the_interpreter])
def test_workers_in_the_middle_of_c_code_are_terminated(
    new_caller: Callable[..., Caller], work: Callable[[str], object], signals: Signals
) -> None:
    """The first lets other threads run meanwhile, the second does not."""
    caller = new_caller(exit_grace=0.5)
    future = caller.submit(work, signals.path)
    signals.expect("running")
    began = time.monotonic()
    caller.pool.terminate_workers()  # type: ignore[union-attr]
    assert isinstance(caller.error(future), WorkerLostError)
    assert time.monotonic() - began < 3
    caller.pool.shutdown()


def test_workers_that_were_never_started_can_be_ended() -> None:
    for end in ("terminate_workers", "kill_workers"):
        pool = make_pool("spawn")
        assert isinstance(pool, ProcessAsyncPoolExecutor)
        getattr(pool, end)()
        pool.shutdown()
        with pytest.raises(RuntimeError, match="after shutdown"):
            pool.submit(works.add, 1)


@SPAWN
@BLOCKING
def test_workers_that_are_just_starting_can_be_ended(new_caller: Callable[..., Caller]) -> None:
    caller = new_caller(pool_size=2)
    future = caller.submit(works.add, 1)
    caller.pool.kill_workers()  # type: ignore[union-attr]
    caller.pool.shutdown()
    assert future.cancelled()


@SPAWN
@pytest.mark.parametrize("face", ["awaitable"], indirect=True)
def test_termination_in_the_middle_of_a_coroutine(
    new_caller: Callable[..., Awaiting], signals: Signals, gate: Gate
) -> None:
    caller = new_caller()

    async def main() -> Any:
        future = caller.pool.submit(works.aheld, signals.path, gate.path)
        await signals.heard("started None")
        caller.pool.terminate_workers()  # type: ignore[union-attr]
        try:
            await future
        except WorkerLostError as error:
            return error.signal_name

    assert caller.run(main()) == "SIGTERM"
