"""Contract: ``max_pending``, how many works an executor takes before they are done."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

from aplex import PoolFullError
from tests.support import works
from tests.support.callers import Pool, make_pool
from tests.support.signals import Gate, Signals


@pytest.fixture
def new_pool(engine: str) -> Any:
    pools: list[Pool] = []

    def make(**options: Any) -> Pool:
        pools.append(make_pool(engine, **options))
        return pools[-1]

    yield make
    for pool in pools:
        pool.shutdown(cancel_futures=True)


def in_thread(call: Callable[..., Any], *args: Any) -> tuple[threading.Thread, list[Any]]:
    """Begin a call; return its thread, and a list that gets what it returns or raises."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(call(*args))
        except BaseException as error:  # noqa: BLE001 - it is looked at
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, outcome


# -- the blocking face ----------------------------------------------------------------------


def test_submit_waits_for_room(new_pool: Callable[..., Pool], signals: Signals, gate: Gate) -> None:
    pool = new_pool(max_pending=2)
    held = [pool.submit(works.aheld, signals.path, gate.path, number) for number in range(2)]
    signals.expect("started 0", "started 1")
    thread, outcome = in_thread(pool.submit, works.add, 1)
    thread.join(0.05)
    assert thread.is_alive()
    gate.open()
    thread.join(10)
    assert outcome[0].result(10) == 1
    assert [future.result(10) for future in held] == [0, 1]


def test_the_bound_is_exact_with_many_producers(new_pool: Callable[..., Pool]) -> None:
    pool = new_pool(pool_size=2, max_pending=3)
    inner = pool._manager.pool
    most = []

    def produce() -> list[Any]:
        futures = []
        for number in range(100):
            futures.append(pool.submit(works.aadd, number))
            most.append(inner.pending)
        return [future.result(10) for future in futures]

    threads = [in_thread(produce) for _ in range(4)]
    for thread, _ in threads:
        thread.join(60)
    assert [outcome for _, outcome in threads] == [[list(range(100))]] * 4
    assert max(most) <= 3


def test_a_shutdown_wakes_who_waits(
    new_pool: Callable[..., Pool], signals: Signals, gate: Gate
) -> None:
    pool = new_pool(max_pending=1)
    pool.submit(works.aheld, signals.path, gate.path)
    signals.expect("started None")
    thread, outcome = in_thread(pool.submit, works.add, 1)
    pool.shutdown(wait=False)
    thread.join(10)
    assert isinstance(outcome[0], RuntimeError)
    assert "after shutdown" in str(outcome[0])
    gate.open()


def test_ctrl_c_wakes_who_waits(
    new_pool: Callable[..., Pool], signals: Signals, gate: Gate
) -> None:
    pool = new_pool(max_pending=1)
    held = pool.submit(works.aheld, signals.path, gate.path)
    signals.expect("started None")
    main = threading.main_thread().ident
    assert main is not None
    timer = threading.Timer(0.1, signal.pthread_kill, (main, signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        pool.submit(works.add, 1)
    timer.join()
    gate.open()
    held.result(10)
    assert pool.submit(works.add, 1).result(10) == 1


def test_a_callback_must_not_wait(
    new_pool: Callable[..., Pool], signals: Signals, gate: Gate
) -> None:
    """It may run on the only thread that can make room."""
    pool = new_pool(max_pending=2)
    held = pool.submit(works.aheld, signals.path, gate.path, 1)
    signals.expect("started 1")
    errors: list[Any] = []
    told = threading.Event()

    def submit_two(_: Any) -> None:
        try:
            for _ in range(2):
                pool.submit(works.aheld, signals.path, gate.path, 2)
        except PoolFullError as error:
            errors.append(str(error))
        told.set()

    first = pool.submit(works.aadd, 1)
    first.add_done_callback(submit_two)
    first.result(10)
    assert told.wait(10)
    if errors:
        assert "must not wait for room" in errors[0]
    gate.open()
    held.result(10)


def test_a_work_must_not_wait_for_room_in_its_own_pool() -> None:
    with make_pool("thread", max_pending=1) as pool:
        future = pool.submit(lambda: pool.submit(works.add, 1))
        with pytest.raises(PoolFullError, match="must not wait for room"):
            future.result(10)


def test_a_map_does_not_wait(new_pool: Callable[..., Pool]) -> None:
    pool = new_pool(max_pending=1)
    assert list(pool.map(works.add, range(20))) == list(range(20))
    assert list(pool.options(retries=1).map(works.add, range(20))) == list(range(20))


# -- the awaitable face ---------------------------------------------------------------------


def test_awaitable_submit_tells_to_await_room(engine: str, signals: Signals, gate: Gate) -> None:
    async def main() -> None:
        async with make_pool(engine, awaitable=True, max_pending=1) as pool:
            held = pool.submit(works.aheld, signals.path, gate.path)
            with pytest.raises(PoolFullError, match=r"await pool\.submit_when_free"):
                pool.submit(works.add, 1)
            assert [item async for item in pool.map(works.aadd, range(5))] == list(range(5))
            waiting = asyncio.ensure_future(pool.submit_when_free(works.add, 1))
            done, _ = await asyncio.wait([waiting], timeout=0.05)
            assert not done
            gate.open()
            assert await (await waiting) == 1
            await held
            assert await (await pool.options(retries=1).submit_when_free(works.add, 2)) == 2

    asyncio.run(main())


def test_many_tasks_wait_for_room_and_the_bound_is_exact(engine: str) -> None:
    async def main() -> None:
        async with make_pool(engine, awaitable=True, max_pending=3) as pool:
            most = 0

            async def produce(number: int) -> int:
                nonlocal most
                if number % 7 == 0:  # nothing is submitted: the room is left to the others
                    with pytest.raises(TypeError, match="must be callable"):
                        await pool.submit_when_free(None)  # type: ignore[arg-type]
                    return number
                future = await pool.submit_when_free(works.aadd, number)
                most = max(most, pool._manager.pool.pending)
                return await future

            tasks = [asyncio.ensure_future(produce(number)) for number in range(200)]
            await asyncio.sleep(0)
            asked = [task.cancel() for task in tasks[5::10]]  # not of those that are done
            results = await asyncio.gather(*tasks, return_exceptions=True)
            cancelled = [r for r in results if isinstance(r, asyncio.CancelledError)]
            assert len(cancelled) == sum(asked) > 0
            assert [r for r in results if isinstance(r, Exception)] == []
            assert most == 3

    asyncio.run(asyncio.wait_for(main(), 60))


def test_a_shutdown_wakes_who_awaits_room(engine: str, signals: Signals, gate: Gate) -> None:
    async def main() -> None:
        async with make_pool(engine, awaitable=True, max_pending=1) as pool:
            pool.submit(works.aheld, signals.path, gate.path)
            tasks = [asyncio.ensure_future(pool.submit_when_free(works.add, n)) for n in range(3)]
            await asyncio.sleep(0)
            pool.shutdown(wait=False)
            for task in tasks:
                with pytest.raises(RuntimeError, match="after shutdown"):
                    await asyncio.wait_for(task, 10)
            gate.open()

    asyncio.run(main())


def test_without_a_bound_there_is_always_room(engine: str) -> None:
    async def main() -> None:
        async with make_pool(engine, awaitable=True) as pool:
            futures = [await pool.submit_when_free(works.aadd, number) for number in range(9)]
            assert await asyncio.gather(*futures) == list(range(9))

    asyncio.run(main())


def test_several_loops_and_threads_fill_a_pool_and_none_finds_it_full() -> None:
    """Those of other threads may be faster between the look and the submit."""
    with make_pool("thread", awaitable=True, max_pending=2) as pool:
        most: list[int] = []

        async def produce() -> int:
            total = 0
            for number in range(100):
                future = await pool.submit_when_free(works.aadd, number)
                most.append(pool._manager.pool.pending)
                total += await future
            return total

        async def several() -> list[int]:
            return await asyncio.gather(*(produce() for _ in range(3)))

        threads = [in_thread(asyncio.run, several()) for _ in range(3)]
        for thread, _ in threads:
            thread.join(60)
        assert [outcome for _, outcome in threads] == [[[4950] * 3]] * 3
        assert max(most) <= 2


def test_a_cancel_while_it_waits_loses_nothing(engine: str, signals: Signals, gate: Gate) -> None:
    async def main() -> None:
        async with make_pool(engine, awaitable=True, max_pending=1) as pool:
            held = pool.submit(works.aheld, signals.path, gate.path)
            tasks = [asyncio.ensure_future(pool.submit_when_free(works.add, n)) for n in range(4)]
            await asyncio.sleep(0)
            tasks[0].cancel()
            tasks[2].cancel()
            gate.open()
            await held
            assert await (await tasks[1]) == 1
            assert await (await tasks[3]) == 3
            assert pool._manager.pool.pending == 0

    asyncio.run(asyncio.wait_for(main(), 30))


def test_a_blocking_executor_says_that_submit_waits_itself() -> None:
    with make_pool("thread") as pool, pytest.raises(ValueError, match=r"pool\.awaitable"):
        asyncio.run(pool.submit_when_free(works.add, 1))  # type: ignore[misc]


@pytest.mark.parametrize(("value", "error"), [(0, ValueError), ("1", TypeError)])
def test_nonsense_is_refused(value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="max_pending must be"):
        make_pool("thread", max_pending=value)
