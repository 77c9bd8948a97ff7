"""Contract: ``pool.blocking`` and ``pool.awaitable``, both faces of one pool at a time."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from typing import Any

import pytest

from aplex import AsyncioFuture, ConcurrentFuture, PoolFullError
from tests.support import works
from tests.support.callers import make_pool
from tests.support.signals import Gate, Signals


def count(stop: int) -> Any:
    yield from range(stop)


@pytest.mark.smoke
def test_plain_threads_use_an_awaitable_pool(engine: str) -> None:
    """The endpoints of a web service that are plain functions run in threads."""

    def endpoint(pool: Any) -> tuple[int, list[int], list[int]]:
        view = pool.blocking
        future = view.submit(works.aadd, 1)
        assert isinstance(future, ConcurrentFuture)
        return future.result(10), list(view.map(works.add, range(3))), list(view.stream(count, 3))

    async def main() -> None:
        async with make_pool(engine, awaitable=True) as pool:
            assert await pool.submit(works.add, 1) == 1  # the loop reads the reports now
            expected = 1, [0, 1, 2], [0, 1, 2]
            for _ in range(20):
                answers = asyncio.to_thread(endpoint, pool), asyncio.to_thread(endpoint, pool)
                mine = pool.submit(works.aadd, 2)
                assert await asyncio.gather(*answers) == [expected] * 2
                assert await mine == 2

    asyncio.run(asyncio.wait_for(main(), 60))


@pytest.mark.smoke
def test_a_loop_awaits_a_blocking_pool(engine: str) -> None:
    async def main(pool: Any) -> None:
        view = pool.awaitable
        for number in range(20):
            future = view.submit(works.aadd, number)
            assert isinstance(future, AsyncioFuture)
            assert await future == number
        assert [item async for item in view.map(works.add, range(3))] == [0, 1, 2]
        assert [item async for item in view.stream(count, 3)] == [0, 1, 2]

    with make_pool(engine) as pool:
        assert pool.submit(works.add, 1).result(10) == 1
        for _ in range(2):
            asyncio.run(asyncio.wait_for(main(pool), 60))
            assert pool.submit(works.add, 1).result(10) == 1


def test_a_thread_that_leaves_leaves_nobody_waiting(engine: str) -> None:
    """Whoever awaits alone has its result read, though a thread that blocked was the reader."""

    async def main(pool: Any) -> None:
        for number in range(200):
            assert pool.submit(works.add, number).result(10) == number
            assert await pool.awaitable.submit(works.add, number) == number

    with make_pool(engine, pool_size=1) as pool:
        asyncio.run(asyncio.wait_for(main(pool), 60))


def test_a_loop_that_is_blocked_keeps_no_thread_waiting(engine: str) -> None:
    """The loop does not read then; another thread does."""

    async def main() -> None:
        async with make_pool(engine, awaitable=True) as pool:
            await pool.submit(works.add, 1)
            view = pool.blocking
            results: list[int] = []
            thread = threading.Thread(
                target=lambda: results.append(view.submit(works.aadd, 1).result(10))
            )
            thread.start()
            thread.join(20)  # in the loop's thread
            assert results == [1]
            assert view.submit(works.add, 2).result(10) == 2

    asyncio.run(main())


def test_both_faces_count_in_the_same_pool(engine: str, signals: Signals, gate: Gate) -> None:
    async def main() -> None:
        async with make_pool(engine, awaitable=True, max_pending=1) as pool:
            held = pool.blocking.submit(works.aheld, signals.path, gate.path)
            with pytest.raises(PoolFullError):
                pool.submit(works.add, 1)
            with pytest.raises(PoolFullError):
                pool.awaitable.submit(works.add, 1)
            thread = asyncio.to_thread(lambda: pool.blocking.submit(works.add, 1).result(10))
            waiting = asyncio.ensure_future(thread)
            await asyncio.sleep(0)
            gate.open()
            assert await waiting == 1
            assert held.done()

    asyncio.run(asyncio.wait_for(main(), 60))


def test_a_view_of_a_view_keeps_its_options() -> None:
    with make_pool("thread", awaitable=True) as pool:
        view = pool.options(retries=2).blocking
        assert "retries=2" in repr(view)
        assert view.options(priority=1).submit(works.add, 1).result(10) == 1
        assert view.blocking._gateway is view._gateway
        assert view.awaitable._gateway is pool._gateway


def test_a_face_keeps_its_pool_alive_and_leaves_no_circle() -> None:
    view = make_pool("thread").awaitable
    gc.disable()
    try:

        async def main(view: Any) -> int:
            result: int = await view.submit(works.add, 1)
            return result

        assert asyncio.run(main(view)) == 1
        origin = weakref.ref(view._gateway._origin)
        manager = view._gateway.manager
        del view
        assert origin() is None
        assert manager.gone.result(10) is None
    finally:
        gc.enable()


def test_a_blocking_map_of_an_awaitable_pool_is_read_out_without_a_loop() -> None:
    seen: list[int] = []
    with make_pool("thread", pool_size=1, max_works_per_worker=2, awaitable=True) as pool:
        pool.blocking.map(seen.append, range(50))
    assert seen == list(range(50))


def test_an_end_is_awaited_by_a_blocking_pool_with_an_unread_map() -> None:
    seen: list[int] = []

    async def main() -> None:
        async with make_pool("thread", pool_size=1, max_works_per_worker=2) as pool:
            pool.map(seen.append, range(50))

    asyncio.run(main())
    assert seen == list(range(50))
