"""Contract: works that submit to their own pool are served, or told; they never wait in silence."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from aplex import SerializationError, ThreadAsyncPoolExecutor
from tests.support import works
from tests.support.callers import Caller


@pytest.mark.parametrize("engine", ["spawn", "fork"])
def test_an_executor_does_not_travel_to_a_process(new_caller: Callable[..., Caller]) -> None:
    caller = new_caller()
    for pool in (caller.pool, caller.pool.options(retries=1)):
        error = caller.raised(works.echo, pool)
        assert type(error) is SerializationError
        assert "a ProcessAsyncPoolExecutor stays in its process" in str(error)
    assert caller.call(works.add, 1, 1) == 2


@pytest.mark.parametrize("face", ["blocking"])
@pytest.mark.parametrize("engine", ["fork"])
def test_a_forked_worker_has_a_dead_copy(new_caller: Callable[..., Caller]) -> None:
    caller = new_caller()
    works.POOLS["here"] = caller.pool
    try:
        error = caller.raised(works.submits_to_global, "here")
    finally:
        works.POOLS.clear()
    assert type(error) is RuntimeError
    assert "belongs to the parent process" in str(error)


def wait_for_all(futures: Any) -> Any:
    return concurrent.futures.wait(futures)


def wait_as_completed(futures: Any) -> Any:
    return list(concurrent.futures.as_completed(futures))


def wait_for_results(futures: Any) -> Any:
    return [future.result() for future in futures]


def wait_for_exceptions(futures: Any) -> Any:
    return [future.exception() for future in futures]


WAITS = [wait_for_all, wait_as_completed, wait_for_results, wait_for_exceptions]


@pytest.fixture
def pool() -> Any:
    with ThreadAsyncPoolExecutor(pool_size=1) as pool:
        yield pool


@pytest.mark.parametrize("outer_is_coroutine", [False, True])
@pytest.mark.parametrize("inner_is_coroutine", [False, True])
@pytest.mark.parametrize("wait", WAITS)
def test_a_work_that_blocks_for_its_own_pool_is_told(
    pool: Any, wait: Callable[[Any], Any], inner_is_coroutine: bool, outer_is_coroutine: bool
) -> None:
    submitted = []
    told = threading.Event()  # until then the other work is not done

    def inner() -> int:
        told.wait(10)
        return 2

    async def ainner() -> int:
        while not told.is_set():
            await asyncio.sleep(0)
        return 2

    def outer() -> None:
        submitted.append(pool.submit(ainner if inner_is_coroutine else inner))
        wait(submitted)

    async def aouter() -> None:
        outer()

    future = pool.submit(aouter if outer_is_coroutine else outer)
    error = future.exception(10)
    told.set()
    assert type(error) is RuntimeError
    assert "must not block until another work of its own pool" in str(error)
    assert submitted[0].result(10) == 2  # it was not harmed


@pytest.mark.parametrize("name", ["map", "stream"])
def test_a_map_and_a_stream_are_no_way_round(pool: Any, name: str) -> None:
    def outer() -> None:
        if name == "map":
            list(pool.map(works.add, [1]))
        else:
            list(pool.stream(works.count_to, 3))

    error = pool.submit(outer).exception(10)
    assert type(error) is RuntimeError
    assert "must not block until another work of its own pool" in str(error)


def test_who_limits_its_wait_and_who_looks_only_is_not_told(pool: Any) -> None:
    def outer() -> str:
        future = pool.submit(works.add, 1, 1)
        for timeout in (0, 0.01):
            with pytest.raises(TimeoutError):
                future.result(timeout)
        return f"{future.done()} {future.running()}"

    assert pool.submit(outer).result(10) == "False False"


def test_what_is_done_may_be_asked_for(pool: Any) -> None:
    done = pool.submit(works.add, 1, 1)
    done.result(10)
    assert pool.submit(done.result).result(10) == 2
    assert pool.submit(wait_for_all, [done]).result(10).done == {done}


def test_works_may_submit_and_coroutines_await(pool: Any) -> None:
    async def factorial(n: int) -> int:
        if n == 0:
            return 1
        rest: int = await asyncio.wrap_future(pool.submit(factorial, n - 1))
        product: int = await asyncio.wrap_future(pool.submit(works.add, n * rest))
        return product

    assert pool.submit(factorial, 10).result(10) == 3628800

    left = []

    def crawl(depth: int) -> None:
        if depth:
            left.extend(pool.submit(crawl, depth - 1) for _ in range(2))

    crawl(5)
    while left:
        left.pop().result(10)


def test_an_awaitable_pool_is_awaited() -> None:
    async def main() -> Any:
        async with ThreadAsyncPoolExecutor(pool_size=1, awaitable=True) as pool:

            async def factorial(n: int) -> int:
                return 1 if n == 0 else n * await pool.submit(factorial, n - 1)

            return await pool.submit(factorial, 10)

    assert asyncio.run(asyncio.wait_for(main(), 10)) == 3628800


def test_two_pools_may_wait_for_each_others_works(pool: Any) -> None:
    with ThreadAsyncPoolExecutor(pool_size=1) as second:
        assert pool.submit(lambda: second.submit(works.add, 1, 1).result()).result(10) == 2


@pytest.mark.parametrize("limit", ["max_works_per_worker", "max_concurrency"])
def test_a_limit_that_nested_works_count_for_is_warned_of(limit: str) -> None:
    executor: dict[str, Any] = (
        {"max_works_per_worker": 1} if limit == "max_works_per_worker" else {}
    )
    with ThreadAsyncPoolExecutor(pool_size=1, **executor) as pool:
        view: Any = pool.options(**({} if executor else {"max_concurrency": 2, "limit_key": "k"}))

        def outer() -> list[str]:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                view.submit(works.add, 1, 1)
            return [f"{warning.category.__name__} {warning.filename}" for warning in caught]

        assert view.submit(outer).result(10) == [f"RuntimeWarning {__file__}"]
