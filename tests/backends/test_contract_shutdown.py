"""Contract: ``shutdown``, ``with``, ``async with``, and being dropped."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from aplex import ThreadAsyncPoolExecutor
from aplex._backends.thread.worker import ThreadWorker
from aplex._worker.loop_thread import LoopThread
from tests.support import works
from tests.support.callers import DEADLINE, ENGINES, LOOPS, Caller, loop_factory, make_pool
from tests.support.signals import Gate, Signals

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork.. may lead:DeprecationWarning")


@pytest.fixture(params=ENGINES)
def every_engine(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.parametrize("loop", LOOPS)
def test_with_waits_for_what_was_submitted(every_engine: str, loop: str) -> None:
    with make_pool(every_engine, loop=loop, pool_size=2) as pool:
        futures = [pool.submit((works.span, works.aspan)[n % 2], 0.05) for n in range(8)]
    assert all(future.done() and future.exception() is None for future in futures)


@pytest.mark.parametrize("loop", LOOPS)
def test_async_with_waits_for_what_was_submitted(every_engine: str, loop: str) -> None:
    """And the loop goes on meanwhile."""

    async def main() -> None:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.005)
                ticks += 1

        ticking = asyncio.create_task(tick())
        async with make_pool(every_engine, loop=loop, awaitable=True, pool_size=2) as pool:
            futures = [pool.submit((works.span, works.aspan)[n % 2], 0.05) for n in range(8)]
        assert all(future.done() and future.exception() is None for future in futures)
        assert ticks >= 5
        ticking.cancel()

    with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
        runner.run(main())


def test_async_with_takes_a_blocking_executor_too(engine: str) -> None:
    async def main() -> None:
        async with make_pool(engine) as pool:
            future = pool.submit(works.aadd, 1)
        assert future.result(0) == 1

    asyncio.run(main())


def test_shutdown_without_wait_returns_at_once_and_finishes_the_works(
    new_caller: Callable[..., Caller], signals: Signals, gate: Gate
) -> None:
    caller = new_caller(pool_size=2)
    futures = [
        caller.submit(held, signals.path, gate.path, n)
        for n, held in enumerate((works.held, works.aheld) * 4)
    ]
    caller.pool.shutdown(wait=False)
    assert not any(future.done() for future in futures)
    with pytest.raises(RuntimeError, match="after shutdown"):
        caller.submit(works.add, 1)
    gate.open()
    assert [caller.result(future) for future in futures] == list(range(8))


def test_cancel_futures_cancels_what_waits_and_nothing_else(
    new_caller: Callable[..., Caller], signals: Signals, gate: Gate
) -> None:
    caller = new_caller(max_works_per_worker=2)
    running = [caller.submit(held, signals.path, gate.path) for held in (works.held, works.aheld)]
    signals.expect("started None", "started None")
    waiting = [caller.submit(work, 1) for work in (works.add, works.aadd) * 5]
    caller.pool.shutdown(wait=False, cancel_futures=True)
    caller.wait(*waiting)
    assert all(future.cancelled() for future in waiting)
    assert not any(future.done() for future in running)
    gate.open()
    for future in running:
        assert caller.result(future) is None
    caller.pool.shutdown(cancel_futures=True)


def test_shutdown_twice_and_from_any_thread(
    new_caller: Callable[..., Caller], signals: Signals, gate: Gate
) -> None:
    caller = new_caller(pool_size=2)
    future = caller.submit(works.held, signals.path, gate.path)
    signals.expect("started None")
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        ends = [threads.submit(caller.pool.shutdown) for _ in range(4)]
        caller.pool.shutdown(wait=False)
        assert not any(end.done() for end in ends)
        gate.open()
        for end in ends:
            end.result(DEADLINE)
    assert caller.result(future) is None
    caller.pool.shutdown()
    with caller.pool:
        pass


@pytest.mark.parametrize("wait", [True, False])
def test_shutdown_from_inside_a_callback(new_caller: Callable[..., Caller], wait: bool) -> None:
    """It does not wait for itself; what was submitted is finished."""
    caller = new_caller()
    shut = threading.Event()

    def callback(_: Any) -> None:
        caller.pool.shutdown(wait)
        shut.set()

    async def submit() -> None:
        caller.pool.submit(works.aspan, 0.1).add_done_callback(callback)

    if caller.awaitable:
        caller.run(submit())  # type: ignore[attr-defined]
    else:
        caller.submit(works.aspan, 0.1).add_done_callback(callback)
    late = caller.submit(works.aspan, 0.2)
    assert shut.wait(DEADLINE)
    caller.wait(late)
    assert late.exception() is None
    with pytest.raises(RuntimeError, match="after shutdown"):
        caller.submit(works.add, 1)


def test_shutdown_of_a_pool_that_is_just_starting(every_engine: str) -> None:
    for _ in range(2):
        pool = make_pool(every_engine)
        future = pool.submit(works.add, 1)
        pool.shutdown(wait=True, cancel_futures=True)
        assert future.done()


def test_shutdown_while_a_late_recall_starts_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread worker that ran functions only is asked to end while its loop is being made."""
    making, ending = threading.Event(), threading.Event()
    make = asyncio.events.new_event_loop
    start, stop_loop = ThreadWorker.start, LoopThread.stop
    workers: list[ThreadWorker] = []

    def begin(worker: ThreadWorker) -> None:
        workers.append(worker)
        start(worker)

    def slow() -> asyncio.AbstractEventLoop:
        making.set()
        assert ending.wait(DEADLINE)
        time.sleep(0.05)  # past whatever the worker looks at
        return make()

    def stop(thread: LoopThread, timeout: float | None = None) -> None:
        ending.set()
        stop_loop(thread, timeout)

    def run() -> None:
        running.set()
        assert making.wait(DEADLINE)

    monkeypatch.setattr(asyncio.events, "new_event_loop", slow)
    monkeypatch.setattr(ThreadWorker, "start", begin)
    monkeypatch.setattr(LoopThread, "stop", stop)
    running = threading.Event()
    pool = ThreadAsyncPoolExecutor(pool_size=1)
    pool.submit(run)
    assert running.wait(DEADLINE)
    workers[0].wake(plain=False, loop=True)  # as a cancel, or the end of a map, does
    pool.shutdown(wait=False)
    assert pool._manager.wait(DEADLINE), "the worker waits for its loop for ever"
    assert ending.is_set()


@pytest.mark.parametrize("loop", LOOPS)
def test_an_exception_that_leaves_with_cancels_coroutines_first(
    every_engine: str, loop: str, signals: Signals
) -> None:
    """Their cleanup runs; then the pool goes. Running functions are finished."""
    with pytest.raises(LookupError, match="left"):
        with make_pool(every_engine, loop=loop, max_works_per_worker=3) as pool:
            endless = pool.submit(works.endless, signals.path, cleanup=0.1)
            span = pool.submit(works.span, 0.3)
            signals.expect("started work")
            waiting = [pool.submit((works.add, works.aspan)[n % 2], 60) for n in range(6)]
            raise LookupError("left")
    assert endless.cancelled()
    assert all(future.cancelled() for future in waiting)
    assert span.done()
    signals.expect("finally work", within=0.1)


@pytest.mark.parametrize("loop", LOOPS)
def test_an_exception_that_leaves_async_with_cancels_coroutines_first(
    every_engine: str, loop: str, signals: Signals
) -> None:
    async def main() -> None:
        with pytest.raises(LookupError, match="left"):
            async with make_pool(every_engine, loop=loop, awaitable=True) as pool:
                endless = pool.submit(works.endless, signals.path, cleanup=0.1)
                await signals.heard("started work")
                raise LookupError("left")
        assert endless.cancelled()

    with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
        runner.run(main())
    signals.expect("finally work", within=0.1)


def test_a_timeout_around_async_with_cancels_coroutines(engine: str, signals: Signals) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(None) as timeout:
                async with make_pool(engine, awaitable=True) as pool:
                    future = pool.submit(works.endless, signals.path, cleanup=0.1)
                    await asyncio.to_thread(signals.expect, "started work")
                    timeout.reschedule(asyncio.get_running_loop().time())
                    await future

    asyncio.run(main())
    signals.expect("finally work", within=0.1)


def test_keyboard_interrupt_leaves_with_within_two_seconds(engine: str, signals: Signals) -> None:
    with pytest.raises(KeyboardInterrupt), make_pool(engine) as pool:
        future = pool.submit(works.endless, signals.path)
        signals.expect("started work")
        began = time.monotonic()
        raise KeyboardInterrupt
    assert time.monotonic() - began < 2
    assert future.cancelled()
    signals.expect("finally work", within=0.1)


@pytest.mark.parametrize("loop", LOOPS)
def test_the_end_cancels_tasks_and_closes_generators_that_works_left_behind(
    every_engine: str, loop: str, signals: Signals
) -> None:
    with make_pool(every_engine, loop=loop) as pool:
        pool.submit(works.leave_task, signals.path).result(DEADLINE)
        assert signals.said() == []
    signals.expect("task cancelled", "generator closed", within=0.1)
    works.STATE.clear()


@pytest.mark.parametrize("face", ["blocking"], indirect=True)
def test_a_dropped_executor_finishes_its_works(
    every_engine: str, face: str, signals: Signals, gate: Gate
) -> None:
    """And leaves nothing behind; see the fixture ``leaks``."""
    pool = make_pool(every_engine, pool_size=2)
    futures = [
        pool.submit(held, signals.path, gate.path, n)
        for n, held in enumerate((works.held, works.aheld) * 2)
    ]
    del pool
    gc.collect()
    gate.open()
    assert [future.result(DEADLINE) for future in futures] == [0, 1, 2, 3]


def test_a_dropped_awaitable_executor_finishes_its_works(every_engine: str) -> None:
    async def main() -> None:
        pool = make_pool(every_engine, awaitable=True, pool_size=2)
        futures = [pool.submit((works.span, works.aspan)[n % 2], 0.05) for n in range(4)]
        del pool
        gc.collect()
        await asyncio.wait_for(asyncio.gather(*futures), DEADLINE)

    asyncio.run(main())


def test_opening_and_closing_many_times_leaves_nothing_behind(every_engine: str) -> None:
    for n in range(5):
        with make_pool(every_engine) as pool:
            assert pool.submit(works.aadd, n).result(DEADLINE) == n
