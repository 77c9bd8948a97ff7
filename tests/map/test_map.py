"""Logic: ``map``'s window and iterators, over a made-up ``submit``. No pool, no process."""

from __future__ import annotations

import asyncio
import gc
import itertools
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from aplex._map.input import taker
from aplex._map.results import (
    AwaitableChunks,
    AwaitableResults,
    BlockingChunks,
    BlockingResults,
    FlatResults,
)
from aplex._map.window import Window
from aplex._worker.chunks import Chunk
from aplex.futures import ConcurrentFuture


class FakePool:
    """Its ``submit`` makes futures, which it settles at once, or when told."""

    def __init__(self, *, at_once: bool = True) -> None:
        self.at_once = at_once
        self.submitted: list[Any] = []
        self.futures: list[Any] = []

    def submit(self, call: tuple[Any]) -> Any:
        (item,) = call
        self.submitted.append(item)
        future = self.make()
        self.futures.append(future)
        if self.at_once:
            self.settle(len(self.futures) - 1)
        return future

    def make(self) -> Any:
        return ConcurrentFuture[Any]()

    def settle(self, index: int) -> None:
        item = self.submitted[index]
        if isinstance(item, BaseException):
            self.futures[index].set_exception(item)
        else:
            self.futures[index].set_result(item)

    def window(self, items: Any, size: int = 3) -> Window:
        return Window(self.submit, zip(items, strict=True), size)

    def results(self, items: Any, size: int = 3, timeout: float | None = None) -> BlockingResults:
        return BlockingResults(lambda: self.window(items, size), deadline_in(timeout))

    def aresults(self, items: Any, size: int = 3, timeout: float | None = None) -> AwaitableResults:
        return AwaitableResults(lambda: self.window(items, size), deadline_in(timeout))

    def chunks(self, items: Any) -> FlatResults:
        return FlatResults.of(BlockingChunks(lambda: self.window(items), None))

    def achunks(self, items: Any) -> AwaitableChunks:
        return AwaitableChunks(lambda: self.window(items), None)

    def cancelled(self) -> list[Any]:
        pairs = zip(self.submitted, self.futures, strict=True)
        return [item for item, future in pairs if future.cancelled()]


class FakeAwaitablePool(FakePool):
    """The same with futures of the running loop."""

    def make(self) -> Any:
        return asyncio.get_running_loop().create_future()


def deadline_in(timeout: float | None) -> float | None:
    return None if timeout is None else time.monotonic() + timeout


def run(main: Any) -> Any:
    return asyncio.run(asyncio.wait_for(main, 30))


# -- the window -----------------------------------------------------------------------------


def test_as_many_works_are_submitted_as_the_window_holds() -> None:
    pool = FakePool()
    pool.window(itertools.count(), 5).fill()
    assert pool.submitted == [0, 1, 2, 3, 4]


def test_a_short_input_is_submitted_whole_and_not_asked_again() -> None:
    pool = FakePool()
    asked = 0

    def items() -> Iterator[int]:
        nonlocal asked
        for number in range(2):
            asked += 1
            yield number
        asked += 1

    window = pool.window(items(), 5)
    window.fill()
    window.fill()
    assert pool.submitted == [0, 1]
    assert asked == 3


def test_an_input_that_raises_cancels_what_was_submitted() -> None:
    pool = FakePool(at_once=False)

    def items() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        pool.results(items())
    assert pool.cancelled() == [1]


def test_a_submit_that_raises_cancels_what_was_submitted() -> None:
    pool = FakePool(at_once=False)

    def submit(call: Any) -> Any:
        if call == (2,):
            raise RuntimeError("closed")
        return pool.submit(call)

    with pytest.raises(RuntimeError, match="closed"):
        BlockingResults(lambda: Window(submit, zip([0, 1, 2], strict=True), 5), None)
    assert pool.cancelled() == [0, 1]


def test_a_cancelled_window_takes_no_more_input() -> None:
    pool = FakePool(at_once=False)
    window = pool.window(itertools.count())
    window.fill()
    window.cancel()
    window.fill()
    assert pool.cancelled() == pool.submitted == [0, 1, 2]
    assert window.first() is None


# -- blocking -------------------------------------------------------------------------------


@pytest.mark.smoke
def test_results_come_in_the_order_of_the_input() -> None:
    pool = FakePool(at_once=False)
    results = pool.results("abc")
    for index in (2, 0, 1):
        pool.settle(index)
    assert list(results) == ["a", "b", "c"]


def test_one_input_is_pulled_for_each_result_taken() -> None:
    pool = FakePool()
    results = pool.results(itertools.count(), 3)
    assert next(results) == 0
    assert pool.submitted == [0, 1, 2]
    assert next(results) == 1
    assert pool.submitted == [0, 1, 2, 3]
    assert [next(results) for _ in range(100)] == list(range(2, 102))
    assert len(pool.submitted) == 104


def test_no_result_is_kept_after_it_was_taken() -> None:
    pool = FakePool()
    results = pool.results([object() for _ in range(3)])
    before = {id(value) for value in pool.submitted}
    taken = [id(value) for value in results]
    assert set(taken) == before
    pool.submitted.clear()
    pool.futures.clear()
    assert not [
        thing for thing in gc.get_referents(results, *vars(results).values()) if id(thing) in before
    ]


def test_an_empty_input_gives_nothing() -> None:
    assert list(FakePool().results([])) == []


def test_a_work_that_raises_raises_there_and_cancels_the_rest() -> None:
    pool = FakePool(at_once=False)
    results = pool.results(["a", KeyError("b"), "c", "d"], 4)
    pool.settle(0)
    pool.settle(1)
    assert next(results) == "a"
    with pytest.raises(KeyError, match="b"):
        next(results)
    assert pool.cancelled() == ["c", "d"]
    with pytest.raises(StopIteration):
        next(results)


def test_an_input_that_raises_later_raises_there_and_cancels_the_rest() -> None:
    pool = FakePool(at_once=False)

    def items() -> Iterator[str]:
        yield from "ab"
        raise LookupError("no more")

    results = pool.results(items(), 2)
    pool.settle(0)
    assert next(results) == "a"
    with pytest.raises(LookupError, match="no more"):
        next(results)
    assert pool.cancelled() == ["b"]


def test_leaving_the_loop_cancels_what_is_left() -> None:
    pool = FakePool(at_once=False)
    pool_results = pool.results("abc")
    pool.settle(0)
    for _ in pool_results:
        break
    del pool_results, _
    gc.collect()
    assert pool.cancelled() == ["b", "c"]


def test_closing_cancels_what_is_left_and_may_be_done_twice() -> None:
    pool = FakePool(at_once=False)
    results = pool.results("abc")
    pool.settle(0)
    next(results)
    results.close()
    results.close()
    assert pool.cancelled() == ["b", "c"]
    assert list(results) == []


def test_closing_before_the_first_result_cancels_all() -> None:
    pool = FakePool(at_once=False)
    pool.results("abc").close()
    assert pool.cancelled() == ["a", "b", "c"]


def test_a_map_that_nobody_iterates_runs_on() -> None:
    """``pool.map(print, items)`` is a way to run things; so it is in the standard library."""
    pool = FakePool(at_once=False)
    pool.results("abc")
    gc.collect()
    assert pool.cancelled() == []


def test_a_timeout_counts_from_the_call_and_cancels_the_rest() -> None:
    pool = FakePool(at_once=False)
    results = pool.results("abc", timeout=0.02)
    pool.settle(0)
    assert next(results) == "a"
    with pytest.raises(TimeoutError):
        next(results)
    assert pool.cancelled() == ["b", "c"]


def test_what_is_there_is_given_out_even_after_the_timeout() -> None:
    assert list(FakePool().results("abc", timeout=0.0)) == ["a", "b", "c"]


def test_a_result_that_comes_in_time_is_waited_for() -> None:
    pool = FakePool(at_once=False)
    results = pool.results("a", timeout=30)
    timer = threading.Timer(0.02, pool.settle, (0,))
    timer.start()
    assert next(results) == "a"
    timer.join()


# -- awaitable ------------------------------------------------------------------------------


@pytest.mark.smoke
def test_awaited_results_come_in_the_order_of_the_input() -> None:
    async def main() -> list[str]:
        pool = FakeAwaitablePool(at_once=False)
        results = pool.aresults("abc")
        for delay, index in enumerate((2, 0, 1)):
            asyncio.get_running_loop().call_later(delay / 100, pool.settle, index)
        return [value async for value in results]

    assert run(main()) == ["a", "b", "c"]


def test_one_input_is_pulled_for_each_result_awaited() -> None:
    async def main() -> None:
        pool = FakeAwaitablePool()
        results = pool.aresults(itertools.count(), 3)
        assert [await anext(results) for _ in range(50)] == list(range(50))
        assert len(pool.submitted) == 52
        await results.aclose()

    run(main())


def test_a_window_that_needs_a_loop_is_opened_with_the_first_result() -> None:
    pool = FakeAwaitablePool()
    results = AwaitableResults(lambda: pool.window("abc"), None, at_once=False)
    assert pool.submitted == []

    async def main() -> list[str]:
        return [value async for value in results]

    assert run(main()) == ["a", "b", "c"]


def test_closing_a_map_that_was_never_opened_opens_nothing() -> None:
    pool = FakeAwaitablePool()
    results = AwaitableResults(lambda: pool.window("abc"), None, at_once=False)

    async def main() -> list[str]:
        await results.aclose()
        return [value async for value in results]

    assert run(main()) == []
    assert pool.submitted == []


def test_an_awaited_work_that_raises_raises_there_and_cancels_the_rest() -> None:
    async def main() -> None:
        pool = FakeAwaitablePool(at_once=False)
        results = pool.aresults(["a", KeyError("b"), "c", "d"], 4)
        pool.settle(0)
        pool.settle(1)
        assert await anext(results) == "a"
        with pytest.raises(KeyError, match="b"):
            await anext(results)
        assert pool.cancelled() == ["c", "d"]
        with pytest.raises(StopAsyncIteration):
            await anext(results)

    run(main())


@pytest.mark.parametrize("begun", [False, True])
def test_aclose_cancels_what_is_left(begun: bool) -> None:
    async def main() -> None:
        pool = FakeAwaitablePool(at_once=False)
        results = pool.aresults("abc")
        pool.settle(0)
        if begun:
            await anext(results)
        await results.aclose()
        await results.aclose()
        assert pool.cancelled() == ["b", "c"]

    run(main())


def test_leaving_an_async_loop_cancels_what_is_left() -> None:
    async def main() -> None:
        pool = FakeAwaitablePool(at_once=False)
        pool.settle_first = None  # type: ignore[attr-defined]
        results = pool.aresults("abc")
        pool.settle(0)
        async for _ in results:
            break
        del results
        gc.collect()
        assert pool.cancelled() == ["b", "c"]

    run(main())


def test_cancelling_the_task_that_iterates_cancels_what_is_left() -> None:
    async def main() -> None:
        pool = FakeAwaitablePool(at_once=False)
        results = pool.aresults("abc")
        waiting = asyncio.ensure_future(anext(results))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert pool.cancelled() == ["a", "b", "c"]

    run(main())


def test_an_awaited_timeout_cancels_the_rest_and_waits_for_no_cleanup() -> None:
    async def main() -> None:
        pool = FakeAwaitablePool(at_once=False)
        results = pool.aresults("abc", timeout=0.02)
        pool.settle(0)
        assert await anext(results) == "a"
        with pytest.raises(TimeoutError):
            await anext(results)
        assert pool.cancelled() == ["b", "c"]

    run(main())


def test_an_awaited_result_that_comes_in_time_is_waited_for() -> None:
    async def main() -> None:
        pool = FakeAwaitablePool(at_once=False)
        results = pool.aresults("a", timeout=30)
        asyncio.get_running_loop().call_later(0.02, pool.settle, 0)
        assert await anext(results) == "a"

    run(main())


# -- works that raise what ends loops -------------------------------------------------------


@pytest.mark.parametrize("in_chunks", [False, True], ids=["single", "chunked"])
@pytest.mark.parametrize("error", [StopIteration("x"), StopAsyncIteration("x")], ids=repr)
def test_a_work_that_raises_stop_is_an_error_and_no_end(
    error: BaseException, in_chunks: bool
) -> None:
    """The loop must not end as if all were well."""
    pool = FakePool()
    results = pool.chunks([Chunk([], error)]) if in_chunks else pool.results([error])
    with pytest.raises((RuntimeError, StopAsyncIteration)):
        next(results)


@pytest.mark.parametrize("in_chunks", [False, True], ids=["single", "chunked"])
def test_an_awaited_work_that_raises_stop_is_an_error_and_no_end(in_chunks: bool) -> None:
    async def main() -> None:
        error = StopAsyncIteration("x")
        pool = FakeAwaitablePool()
        results = pool.achunks([Chunk([], error)]) if in_chunks else pool.aresults([error])
        with pytest.raises(RuntimeError, match="the work raised StopAsyncIteration"):
            await anext(results)

    run(main())


# -- chunks ---------------------------------------------------------------------------------


def test_items_are_taken_as_columns() -> None:
    take = taker(("abcde",))
    assert [take(2), take(2), take(2), take(2)] == [[["a", "b"]], [["c", "d"]], [["e"]], []]
    take = taker(("abc", itertools.count()))
    assert [take(2), take(2), take(2)] == [[("a", "b"), (0, 1)], [("c",), (2,)], []]
    assert taker(((), "abc"))(2) == taker(())(2) == []


def test_taking_pulls_no_more_than_it_gives() -> None:
    source = itertools.count()
    taker((source,))(3)
    assert next(source) == 3


def test_chunks_are_flattened() -> None:
    chunks = [Chunk([1, 2], None), Chunk([], None), Chunk([3], None)]
    assert list(FakePool().chunks(chunks)) == [1, 2, 3]


def test_awaited_chunks_are_flattened() -> None:
    async def main() -> list[int]:
        chunks = [Chunk([1, 2], None), Chunk([], None), Chunk([3], None)]
        return [value async for value in FakeAwaitablePool().achunks(chunks)]

    assert run(main()) == [1, 2, 3]


def test_what_a_chunk_holds_before_its_failure_is_given_out() -> None:
    pool = FakePool(at_once=False)
    results = pool.chunks([Chunk([1, 2], KeyError("x")), Chunk([3], None)])
    pool.settle(0)
    assert [next(results), next(results)] == [1, 2]
    assert pool.cancelled() == []
    with pytest.raises(KeyError, match="x"):
        next(results)
    assert len(pool.cancelled()) == 1
    assert list(results) == []


def test_what_an_awaited_chunk_holds_before_its_failure_is_given_out() -> None:
    async def main() -> None:
        pool = FakeAwaitablePool(at_once=False)
        results = pool.achunks([Chunk([1, 2], KeyError("x")), Chunk([3], None)])
        pool.settle(0)
        assert [await anext(results), await anext(results)] == [1, 2]
        with pytest.raises(KeyError, match="x"):
            await anext(results)
        assert len(pool.cancelled()) == 1
        assert [value async for value in results] == []

    run(main())


def test_closing_in_the_middle_of_a_chunk_gives_nothing_more() -> None:
    pool = FakePool(at_once=False)
    results = pool.chunks([Chunk([1, 2, 3], None), Chunk([4], None)])
    pool.settle(0)
    assert next(results) == 1
    results.close()
    assert list(results) == []
    assert len(pool.cancelled()) == 1


def test_closing_in_the_middle_of_an_awaited_chunk_gives_nothing_more() -> None:
    async def main() -> None:
        pool = FakeAwaitablePool(at_once=False)
        results = pool.achunks([Chunk([1, 2, 3], None), Chunk([4], None)])
        pool.settle(0)
        assert await anext(results) == 1
        await results.aclose()
        assert [value async for value in results] == []
        assert len(pool.cancelled()) == 1

    run(main())


def test_leaving_a_loop_over_chunks_cancels_what_is_left() -> None:
    pool = FakePool(at_once=False)
    results = pool.chunks([Chunk([1, 2], None), Chunk([3], None)])
    pool.settle(0)
    for _ in results:
        break
    del results, _
    gc.collect()
    assert len(pool.cancelled()) == 1


def test_chunks_that_nobody_iterates_run_on() -> None:
    pool = FakePool(at_once=False)
    pool.chunks([Chunk([1, 2], None)])
    gc.collect()
    assert pool.cancelled() == []
