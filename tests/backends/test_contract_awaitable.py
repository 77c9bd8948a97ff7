"""Contract: awaitable futures with the tools of ``asyncio``; the caller's loop is never blocked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from aplex import AsyncioFuture
from tests.support import works
from tests.support.callers import (
    DEADLINE,
    ENGINES,
    LOOPS,
    Awaiting,
    everywhere,
    loop_factory,
    make_pool,
)
from tests.support.processors import waits_for_a_processor
from tests.support.signals import Gate, Signals

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork.. may lead:DeprecationWarning")


@pytest.fixture
def run(awaitable_caller: Awaiting) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    return awaitable_caller.run


@pytest.fixture
def pool(awaitable_caller: Awaiting) -> Any:
    return awaitable_caller.pool


async def soon(condition: Callable[[], bool]) -> None:
    """Wait until something is true."""
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0.001)


@everywhere
def test_a_timeout_stops_the_remote_coroutine(run: Any, pool: Any, signals: Signals) -> None:
    """Its cleanup has run when the timeout is raised."""

    async def main() -> None:
        future = pool.submit(works.endless, signals.path)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await future
        assert future.cancelled()

    run(main())
    signals.expect("started work", "finally work", within=0.1)


@everywhere
def test_wait_for_stops_the_remote_coroutine(run: Any, pool: Any, signals: Signals) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(pool.submit(works.endless, signals.path), 0.1)
        assert await asyncio.wait_for(pool.submit(works.aadd, 1), DEADLINE) == 1

    run(main())
    signals.expect("started work", "finally work", within=0.1)


@everywhere
def test_a_task_group_stops_its_remote_coroutines(run: Any, pool: Any, signals: Signals) -> None:
    async def wait_for(future: Any) -> None:
        await future

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                for n in range(2):
                    group.create_task(wait_for(pool.submit(works.endless, signals.path, n)))
                await signals.heard("started 0", "started 1")
                group.create_task(wait_for(pool.submit(works.afail, LookupError("x"))))
        assert [type(error) for error in caught.value.exceptions] == [LookupError]

    run(main())
    signals.expect("finally 0", "finally 1", within=0.1)


def test_cancelling_a_task_stops_the_remote_coroutine(
    run: Any, pool: Any, signals: Signals
) -> None:
    """The task ends as the coroutine does, and passes the message on."""

    async def main() -> None:
        future = pool.submit(works.endless, signals.path)

        awaiting = asyncio.Event()

        async def wait() -> None:
            awaiting.set()
            await future

        task = asyncio.create_task(wait())
        await signals.heard("started work")
        await awaiting.wait()  # a task cancelled before its first step awaits nothing
        task.cancel("enough")
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert caught.value.args == ("enough",)
        assert future.cancelled()
        assert task.cancelled()

    run(main())
    signals.expect("finally work", within=0.1)


def test_a_shielded_work_goes_on(run: Any, pool: Any, signals: Signals, gate: Gate) -> None:
    async def main() -> int:
        future = pool.submit(works.aheld, signals.path, gate.path, 3)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await asyncio.shield(future)
        gate.open()
        return await future

    assert run(main()) == 3


@everywhere
def test_gather_wait_and_as_completed(run: Any, pool: Any, signals: Signals, gate: Gate) -> None:
    async def main() -> None:
        futures = [pool.submit((works.add, works.aadd)[n % 2], n) for n in range(100)]
        assert await asyncio.gather(*futures) == list(range(100))
        held = pool.submit(works.aheld, signals.path, gate.path, 9)
        quick = pool.submit(works.add, 1)
        done, late = await asyncio.wait([held, quick], return_when=asyncio.FIRST_COMPLETED)
        assert (done, late) == ({quick}, {held})
        first, second = asyncio.as_completed([held, quick])
        assert await first == 1
        gate.open()
        assert await second == 9

    run(main())


def test_gather_returns_exceptions(run: Any, pool: Any) -> None:
    async def main() -> None:
        one, error, other = await asyncio.gather(
            pool.submit(works.add, 1),
            pool.submit(works.fail, LookupError("x")),
            pool.submit(works.aadd, 2),
            return_exceptions=True,
        )
        assert (one, type(error), error.args, other) == (1, LookupError, ("x",), 2)

    run(main())


def test_a_future_belongs_to_the_running_loop(run: Any, pool: Any) -> None:
    async def main() -> None:
        future = pool.submit(works.aadd, 1)
        assert isinstance(future, asyncio.Future)
        assert isinstance(future, AsyncioFuture)
        assert future.get_loop() is asyncio.get_running_loop()
        assert not future.done()
        called: list[Any] = []
        future.add_done_callback(called.append)
        assert await future == 1
        await soon(lambda: bool(called))
        assert called == [future]

    run(main())


@everywhere
def test_run_in_executor(run: Any, pool: Any) -> None:
    """(The loop of uvloop refuses coroutine functions there, and that of asyncio in debug mode.)"""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(pool, works.decorated, 1) == 1
        assert await loop.run_in_executor(pool, works.add, 2) == 2

    run(main())


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("loop", LOOPS)
def test_no_call_blocks_the_loop(engine: str, loop: str) -> None:
    """Not the start of the workers, nor a flood of works, nor the end of the pool.

    What a busy machine adds, as threads of ours wait for a processor, does not count.
    """

    async def main() -> float:
        gap, last, waited = 0.0, time.perf_counter(), waits_for_a_processor()

        async def tick() -> None:
            nonlocal gap, last, waited
            while True:
                await asyncio.sleep(0.001)
                now, later = time.perf_counter(), waits_for_a_processor()
                busy = sum(later[task] - waited.get(task, 0.0) for task in later)
                gap = max(gap, now - last - busy)
                last, waited = now, later

        ticking = asyncio.create_task(tick())
        await asyncio.sleep(0)
        async with make_pool(engine, loop=loop, awaitable=True, pool_size=2) as pool:
            await pool.submit(works.add, 1)
            for _ in range(10):
                big = [pool.submit(works.aadd, bytes(300_000), b"x") for _ in range(10)]
                await asyncio.gather(*big)
            endless = pool.submit(asyncio.sleep, 60)
            await pool.submit(works.aadd, 1)
            endless.cancel()
        ticking.cancel()
        return gap

    gaps = []
    for _ in range(3):  # other programs need the machine too
        with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
            gaps.append(runner.run(main()))
        if gaps[-1] < 0.05:
            break
    assert min(gaps) < 0.05


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("loop", LOOPS)
def test_asyncio_has_nothing_to_complain_about_in_debug_mode(
    engine: str, loop: str, signals: Signals, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        asyncio.get_running_loop().slow_callback_duration = 5.0  # a busy machine is no mistake
        async with make_pool(engine, loop=loop, awaitable=True, pool_size=2) as pool:
            futures = [pool.submit((works.add, works.aadd)[n % 2], n) for n in range(400)]
            assert await asyncio.gather(*futures) == list(range(400))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await pool.submit(works.endless, signals.path)
            with pytest.raises(LookupError):
                await pool.submit(works.afail, LookupError())
            assert [n async for n in pool.map(works.aadd, range(10))] == list(range(10))
            async for _ in pool.map(works.aadd, range(10)):
                break

    with asyncio.Runner(debug=True, loop_factory=loop_factory(loop)) as runner:
        runner.run(main())
    told = [r.getMessage() for r in caplog.records if "Using selector" not in r.getMessage()]
    assert told == []
