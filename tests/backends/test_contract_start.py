"""Contract: ``start``, which has workers serve before the first work comes."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from aplex import BrokenPoolError
from tests.support import works
from tests.support.callers import make_pool


def fails() -> None:
    raise ValueError("no license")


def serving(pool: Any) -> int:
    return sum(worker.state.value == "serving" for worker in pool._manager.pool.workers)


def started(pool: Any, **options: Any) -> None:
    """Call, or await, ``start``."""

    async def main() -> None:
        await pool.start(**options)

    if pool._gateway.awaitable:
        asyncio.run(asyncio.wait_for(main(), 60))
    else:
        pool.start(**options)


@pytest.mark.smoke
@pytest.mark.parametrize("awaitable", [False, True])
def test_all_workers_serve_and_more_calls_do_nothing(engine: str, awaitable: bool) -> None:
    pool = make_pool(engine, pool_size=2, awaitable=awaitable)
    with pool:
        for _ in range(2):
            started(pool)
            assert serving(pool) == 2
            assert len(pool._manager.pool.workers) == 2
        pool.resize(3)
        started(pool, at_least=2)
        started(pool)
        assert serving(pool) == 3
        assert pool.blocking.submit(works.add, 1).result(10) == 1


@pytest.mark.parametrize("awaitable", [False, True])
def test_why_they_do_not_serve(engine: str, awaitable: bool) -> None:
    pool = make_pool(engine, awaitable=awaitable, initializer=fails, max_restarts=1)
    with pool:
        for _ in range(2):
            with pytest.raises(BrokenPoolError, match="ValueError: no license"):
                started(pool)


def test_some_serve_and_the_others_fail_again_and_again() -> None:
    served: list[int] = []
    lock = threading.Lock()

    def once() -> None:
        with lock:
            served.append(1)
            if len(served) > 1:
                raise ValueError("one license only")

    with make_pool("thread", pool_size=2, initializer=once, max_restarts=2) as pool:
        pool.start(at_least=1)
        with pytest.raises(BrokenPoolError, match=r"1 of 2 workers serve.*one license only"):
            pool.start()
        assert pool.submit(works.add, 1).result(10) == 1


@pytest.mark.parametrize("awaitable", [False, True])
def test_after_a_shutdown(awaitable: bool) -> None:
    pool = make_pool("thread", awaitable=awaitable)
    pool.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        started(pool)


def test_a_shutdown_wakes_who_waits(engine: str) -> None:
    stop = threading.Event()
    pool = make_pool("thread", awaitable=True, initializer=stop.wait)

    async def main() -> None:
        start = asyncio.ensure_future(pool.start())
        await asyncio.sleep(0)
        pool.shutdown(wait=False)
        with pytest.raises(RuntimeError, match="after shutdown"):
            await asyncio.wait_for(start, 10)
        assert pool._manager.rings == []
        stop.set()
        await pool.aclose()
        await pool.aclose()

    asyncio.run(main())


def test_a_start_that_is_cancelled_goes_on(engine: str) -> None:
    async def main() -> None:
        async with make_pool(engine, pool_size=1, awaitable=True) as pool:
            start = asyncio.ensure_future(pool.start())
            await asyncio.sleep(0)
            start.cancel()
            await asyncio.wait([start])
            await pool.start()
            assert serving(pool) == 1

    asyncio.run(asyncio.wait_for(main(), 60))


def test_a_work_must_not_wait_for_the_start_of_its_own_pool() -> None:
    first, gate = threading.Lock(), threading.Event()

    def hold() -> None:
        if not first.acquire(blocking=False):
            gate.wait(10)

    with make_pool("thread", pool_size=1, initializer=hold) as pool:

        def nested() -> None:
            pool.resize(2)
            try:
                pool.start()
            finally:
                gate.set()

        with pytest.raises(RuntimeError, match="must not wait"):
            pool.submit(nested).result(10)


@pytest.mark.parametrize(("value", "error"), [(0, ValueError), (9, ValueError), ("1", TypeError)])
def test_nonsense_is_refused(value: Any, error: type[Exception]) -> None:
    with make_pool("thread", pool_size=2) as pool, pytest.raises(error, match="at_least must be"):
        pool.start(at_least=value)


def test_aclose_ends_a_pool_in_order(engine: str) -> None:
    async def main() -> None:
        pool = make_pool(engine, awaitable=True)
        futures = [pool.submit(works.aadd, number) for number in range(5)]
        pool.map(works.aadd, range(3))
        await pool.aclose()
        assert [future.result() for future in futures] == list(range(5))
        assert pool._manager.gone.done()
        with pytest.raises(RuntimeError, match="after shutdown"):
            pool.submit(works.add, 1)

    asyncio.run(asyncio.wait_for(main(), 60))
