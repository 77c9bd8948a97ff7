"""`aplex.testing.InlineAsyncPoolExecutor`: works have run when `submit` returns."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from aplex.testing import InlineAsyncPoolExecutor


def thread() -> int:
    return threading.get_ident()


async def doubled(number: int) -> int:
    await asyncio.sleep(0.001)
    return 2 * number


def refuse() -> None:
    raise ValueError("no")


def numbers(count: int) -> Iterator[int]:
    yield from range(count)


async def async_numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        await asyncio.sleep(0)
        yield number


def test_a_function_has_run_in_this_thread_when_submit_returns() -> None:
    with InlineAsyncPoolExecutor() as pool:
        future = pool.submit(thread)
        assert future.done()
        assert future.result() == threading.get_ident()


def test_a_coroutine_has_run_when_submit_returns() -> None:
    with InlineAsyncPoolExecutor() as pool:
        future = pool.submit(doubled, 21)
        assert future.done()
        assert future.result() == 42


def test_an_error_is_in_the_future() -> None:
    with InlineAsyncPoolExecutor() as pool:
        future = pool.submit(refuse)
        assert future.done()
        with pytest.raises(ValueError, match="no"):
            future.result()


def test_works_have_run_in_the_order_of_their_submits() -> None:
    order: list[int] = []

    async def note(number: int) -> None:
        await asyncio.sleep(0.01 * (3 - number))
        order.append(number)

    with InlineAsyncPoolExecutor() as pool:
        for number in range(4):
            pool.submit(note if number % 2 else order.append, number)
    assert order == [0, 1, 2, 3]


def test_a_map_runs_in_this_thread() -> None:
    with InlineAsyncPoolExecutor() as pool:
        assert set(pool.map(lambda _: thread(), range(3000))) == {threading.get_ident()}
        assert list(pool.map(doubled, range(5))) == [0, 2, 4, 6, 8]


def test_a_view_has_run_its_work_too() -> None:
    with InlineAsyncPoolExecutor() as pool:
        assert pool.options(priority=3).submit(thread).result() == threading.get_ident()


def test_streams_run_beside_their_reader() -> None:
    with InlineAsyncPoolExecutor() as pool:
        assert list(pool.stream(numbers, 100)) == list(range(100))
        assert list(pool.stream(async_numbers, 100)) == list(range(100))


def test_what_a_rate_holds_back_has_run_too() -> None:
    with InlineAsyncPoolExecutor() as pool:
        paced = pool.options(rate=20, limit_key="one")
        began = time.monotonic()
        assert all(paced.submit(thread).done() for _ in range(3))
        assert time.monotonic() - began >= 0.09


def test_awaited_works_have_run_when_submit_returns() -> None:
    async def main() -> None:
        ran: list[int] = []
        async with InlineAsyncPoolExecutor(awaitable=True) as pool:
            future = pool.submit(ran.append, 1)
            assert ran == [1]
            await future
            assert await pool.submit(doubled, 4) == 8
            assert await pool.submit(thread) == threading.get_ident()
            assert [x async for x in pool.map(doubled, range(4))] == [0, 2, 4, 6]
            assert [x async for x in pool.stream(numbers, 40)] == list(range(40))

    asyncio.run(main())


def test_a_work_that_submits_gets_its_answer_by_await() -> None:
    async def main() -> None:
        async with InlineAsyncPoolExecutor(awaitable=True) as pool:

            async def outer() -> int:
                return await pool.submit(doubled, 5) + await pool.submit(int, 1)

            assert await pool.submit(outer) == 11

    asyncio.run(main())


def test_what_a_function_submits_runs_when_it_has_ended() -> None:
    with InlineAsyncPoolExecutor() as pool:

        def outer() -> object:
            inner = pool.submit(thread)
            assert not inner.done()
            return inner

        assert pool.submit(outer).result().result() == threading.get_ident()


def test_a_function_that_waits_for_one_of_its_own_pool_is_told() -> None:
    with InlineAsyncPoolExecutor() as pool:
        future = pool.submit(lambda: pool.submit(thread).result())
        with pytest.raises(RuntimeError, match="own pool"):
            future.result()


def test_threads_that_submit_at_once_all_get_theirs() -> None:
    with InlineAsyncPoolExecutor() as pool:
        wrong: list[object] = []

        def submit() -> None:
            wrong.extend(x for n in range(200) if (x := pool.submit(abs, -n).result()) != n)

        threads = [threading.Thread(target=submit) for _ in range(4)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
    assert wrong == []


def test_the_initializer_and_the_lifespan_are_those_of_threads() -> None:
    seen: list[str] = []
    with InlineAsyncPoolExecutor(initializer=seen.append, initargs=("begun",)) as pool:
        pool.submit(seen.append, "work")
    assert seen == ["begun", "work"]


def test_wrong_options_are_refused() -> None:
    with pytest.raises(ValueError, match="pool_size"):
        InlineAsyncPoolExecutor(0)
    with pytest.raises(TypeError):
        InlineAsyncPoolExecutor(nonsense=1)  # type: ignore[call-overload]
