"""Contract: one awaitable executor and many loops: several at once, in turn, given ones."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import works
from tests.support.callers import (
    DEADLINE,
    ENGINES,
    LOOPS,
    PROCESSES,
    loop_factory,
    make_pool,
)
from tests.support.signals import Gate, Signals

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork.. may lead:DeprecationWarning")


@pytest.fixture(params=ENGINES)
def every_engine(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def loop_elsewhere(loop: str) -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that runs in another thread."""
    elsewhere = loop_factory(loop)()
    thread = threading.Thread(target=elsewhere.run_forever)
    thread.start()
    yield elsewhere
    elsewhere.call_soon_threadsafe(elsewhere.stop)
    thread.join()
    elsewhere.close()


async def use(pool: Any, n: int, count: int = 40) -> None:
    """Use an executor in several ways."""
    futures = [pool.submit((works.add, works.aadd)[i % 2], n, i) for i in range(count)]
    assert await asyncio.gather(*futures) == [n + i for i in range(count)]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await pool.submit(asyncio.sleep, 60)
    assert [x async for x in pool.map(works.aadd, [n] * 5)] == [n] * 5


def run(loop: str, coroutine: Any) -> Any:
    with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
        return runner.run(coroutine)


def test_an_executor_made_before_any_loop(every_engine: str, loop: str) -> None:
    """And used from one ``asyncio.run`` after another."""
    with make_pool(every_engine, awaitable=True, pool_size=2) as pool:
        for n in range(4):
            run(loop, use(pool, n))


def test_several_loops_in_several_threads_at_once(every_engine: str, loop: str) -> None:
    with make_pool(every_engine, awaitable=True, pool_size=2) as pool:
        with concurrent.futures.ThreadPoolExecutor(4) as threads:
            for _ in range(2):
                list(threads.map(lambda n: run(loop, use(pool, n)), range(8)))
        run(loop, use(pool, 1))


def test_a_loop_that_is_held_up_holds_up_no_other(engine: str) -> None:
    """Also if it was the first to use the executor."""
    with make_pool(engine, awaitable=True) as pool:
        resume = threading.Event()

        async def hold_up(used: threading.Event) -> int:
            await pool.submit(works.aadd, 0)
            used.set()
            future = pool.submit(works.aadd, 5)
            resume.wait(DEADLINE)
            return await future

        with concurrent.futures.ThreadPoolExecutor(1) as threads:
            used = threading.Event()
            held_up = threads.submit(asyncio.run, hold_up(used))
            assert used.wait(DEADLINE)
            asyncio.run(use(pool, 3))
            assert not held_up.done()
            resume.set()
            assert held_up.result(DEADLINE) == 5


def test_works_of_a_loop_that_has_ended(
    every_engine: str, loop: str, signals: Signals, gate: Gate
) -> None:
    """They finish; nobody is told; the executor goes on, with other loops and without."""

    async def leave(n: int) -> None:
        pool.submit(works.aheld, signals.path, gate.path, n)
        pool.submit(works.held, signals.path, gate.path, n)

    with make_pool(every_engine, awaitable=True, pool_size=2) as pool:
        run(loop, leave(1))
        signals.expect("started 1", "started 1", within=5)
        run(loop, leave(2))
        gate.open()
        run(loop, use(pool, 4))
        signals.expect("passed 1", "passed 1", "passed 2", "passed 2")


def test_leaving_a_loop_right_after_a_shutdown(every_engine: str, loop: str) -> None:
    """What the loop watched is closed all the same; see the fixture ``leaks``."""

    async def main(wait: bool) -> None:
        pool = make_pool(every_engine, awaitable=True)
        await pool.submit(works.aadd, 1)
        pool.shutdown(wait=wait)

    for wait in (False, True):
        run(loop, main(wait))


def test_shutdown_on_the_thread_of_the_loop_finishes_the_works(
    every_engine: str, loop: str
) -> None:
    """It blocks the very loop that read the reports until then."""

    async def main() -> None:
        pool = make_pool(every_engine, awaitable=True, pool_size=2)
        assert await pool.submit(works.add, 1) == 1
        futures = [pool.submit((works.span, works.aspan)[n % 2], 0.02) for n in range(8)]
        with pool:
            futures += [pool.submit((works.add, works.aadd)[n % 2], n) for n in range(100)]
        results = await asyncio.wait_for(asyncio.gather(*futures), DEADLINE)
        assert results[8:] == list(range(100))

    run(loop, main())


# -- future_loop --------------------------------------------------------------


def test_future_loop_takes_the_futures_of_any_thread(
    every_engine: str, loop_elsewhere: asyncio.AbstractEventLoop
) -> None:
    async def gather(futures: list[Any]) -> list[Any]:
        return await asyncio.gather(*futures)

    with make_pool(every_engine, awaitable=True, future_loop=loop_elsewhere) as pool:
        futures = [pool.submit((works.add, works.aadd)[n % 2], n) for n in range(100)]
        assert all(future.get_loop() is loop_elsewhere for future in futures)
        done = asyncio.run_coroutine_threadsafe(gather(futures), loop_elsewhere)
        assert done.result(DEADLINE) == list(range(100))


def test_set_future_loop(
    engine: str, loop_elsewhere: asyncio.AbstractEventLoop, signals: Signals
) -> None:
    async def wait(future: Any) -> Any:
        return await future

    async def main() -> None:
        pool.set_future_loop(loop_elsewhere)
        future = pool.submit(works.aadd, 1)
        assert future.get_loop() is loop_elsewhere
        done = asyncio.run_coroutine_threadsafe(wait(future), loop_elsewhere)
        assert await asyncio.wrap_future(done) == 1
        pool.set_future_loop(None)
        future = pool.submit(works.aadd, 2)
        assert future.get_loop() is asyncio.get_running_loop()
        assert await future == 2

    with make_pool(engine, awaitable=True) as pool:
        asyncio.run(main())


def test_after_shutdown_no_future_loop_can_be_set(engine: str) -> None:
    pool = make_pool(engine, awaitable=True)
    pool.shutdown(wait=False)
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.set_future_loop(None)


def test_a_future_of_another_loop_is_cancelled_from_any_thread(
    engine: str, loop_elsewhere: asyncio.AbstractEventLoop, signals: Signals
) -> None:
    async def wait(future: Any) -> bool:
        await asyncio.wait([future])
        return future.cancelled()

    with make_pool(engine, awaitable=True, future_loop=loop_elsewhere) as pool:
        future = pool.submit(works.endless, signals.path)
        signals.expect("started work")
        assert future.cancel()
        done = asyncio.run_coroutine_threadsafe(wait(future), loop_elsewhere)
        assert done.result(DEADLINE) is True


@pytest.mark.parent_only
def test_future_loop_without_awaitable_is_refused(engine: str) -> None:
    loop = asyncio.new_event_loop()
    with pytest.raises(ValueError, match="future_loop needs awaitable=True"):
        make_pool(engine, future_loop=loop)
    with make_pool(engine) as pool, pytest.raises(ValueError, match="awaitable=True"):
        pool.set_future_loop(loop)
    loop.close()


@pytest.mark.needs("process")  # it knows the name of its thread
@pytest.mark.parametrize("engine", PROCESSES)
def test_a_worker_process_has_no_loop_before_its_first_coroutine(engine: str) -> None:
    with make_pool(engine, pool_size=1) as pool:
        assert "aplex-loop" not in pool.submit(works.thread_names).result()
        assert pool.submit(works.aadd, 1).result() == 1
        assert "aplex-loop" in pool.submit(works.thread_names).result()
