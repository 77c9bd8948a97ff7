"""Logic: what runs in a worker for a chunk of a ``map``. No pool, no process."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import pytest

from aplex._worker import chunks_coroutine
from aplex._worker.chunks import Chunk
from aplex._worker.chunks_coroutine import run_coroutine_chunk
from aplex._worker.chunks_plain import run_plain_chunk
from aplex.exceptions import RemoteTraceback


def run(main: Any) -> Any:
    return asyncio.run(asyncio.wait_for(main, 30))


def test_a_chunk_travels_with_its_failure() -> None:
    chunk = pickle.loads(pickle.dumps(Chunk([1, "two"], ValueError("three"), 0.5, 0.25)))
    assert (chunk.values, chunk.seconds, chunk.waited) == ([1, "two"], 0.5, 0.25)
    assert type(chunk.error) is ValueError
    assert chunk.error.args == ("three",)
    assert isinstance(chunk.error.__cause__, RemoteTraceback)
    assert pickle.loads(pickle.dumps(Chunk([1], None))).error is None


def test_the_functions_of_chunks_can_be_sent_to_workers() -> None:
    for function in (run_plain_chunk, run_coroutine_chunk):
        assert pickle.loads(pickle.dumps(function)) is function


# -- plain functions ------------------------------------------------------------------------


def test_a_plain_chunk_runs_until_one_fails() -> None:
    seen: list[int] = []

    def work(x: int) -> float:
        seen.append(x)
        return 6 / x

    chunk = run_plain_chunk(work, [[1, 2, 0, 3]])
    assert isinstance(chunk, Chunk)
    assert chunk.values == [6, 3]
    assert seen == [1, 2, 0]
    assert type(chunk.error) is ZeroDivisionError
    assert chunk.seconds > 0
    assert chunk.waited is None


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), StopIteration("x")])
def test_what_ends_other_things_ends_only_the_chunk(error: BaseException) -> None:
    def work(x: int) -> int:
        if x == 2:
            raise error
        return x

    for columns in ([[1, 2, 3]], [[1, 2, 3], [0, 0, 0]]):
        chunk = run_plain_chunk(work if len(columns) == 1 else lambda x, _: work(x), columns)
        assert isinstance(chunk, Chunk)
        assert chunk.values == [1]
        assert chunk.error is error


async def doubled(x: int) -> int:
    await asyncio.sleep(0)
    return 2 * x


def test_a_plain_chunk_that_makes_coroutines_runs_them() -> None:
    made = run_plain_chunk(lambda x: doubled(x) if x else "plain", [[0, 1, 0, 2]])
    assert not isinstance(made, Chunk)
    assert run(made).values == ["plain", 2, "plain", 4]


def test_a_plain_chunk_that_makes_coroutines_and_fails_runs_those_before() -> None:
    def work(x: int) -> Any:
        if x == 3:
            raise LookupError(x)
        return doubled(x)

    made = run_plain_chunk(work, [[1, 2, 3, 4]])
    assert not isinstance(made, Chunk)
    chunk = run(made)
    assert chunk.values == [2, 4]
    assert type(chunk.error) is LookupError


def test_a_coroutine_of_a_plain_chunk_that_fails_leaves_none_unawaited() -> None:
    async def fail() -> None:
        raise LookupError

    made = run_plain_chunk(lambda x: fail() if x == 1 else doubled(x), [[0, 1, 2, 3]])
    assert not isinstance(made, Chunk)
    chunk = run(made)
    assert chunk.values == [0]
    assert type(chunk.error) is LookupError


def test_a_plain_chunk_of_several_columns() -> None:
    chunk = run_plain_chunk(max, [(1, 4), (2, 3)])
    assert isinstance(chunk, Chunk)
    assert chunk.values == [2, 4]
    assert chunk.error is None


# -- coroutines -----------------------------------------------------------------------------


def test_the_coroutines_of_a_chunk_run_concurrently() -> None:
    async def main() -> Chunk:
        barrier = asyncio.Barrier(3)

        async def work(x: int) -> int:
            await barrier.wait()
            return x

        return await run_coroutine_chunk(work, [[1, 2, 3]])

    assert run(main()).values == [1, 2, 3]


def test_each_coroutine_of_a_chunk_is_a_task_of_its_own() -> None:
    async def work(_: int) -> object:
        return asyncio.current_task()

    async def main() -> None:
        chunk = await run_coroutine_chunk(work, [[1, 2, 3]])
        assert len({*chunk.values, asyncio.current_task()}) == 4

    run(main())


def test_a_chunk_says_whether_its_coroutines_waited() -> None:
    async def at_once(x: int) -> int:
        return x

    async def later(x: int) -> int:
        await asyncio.sleep(0.02)
        return x

    assert run(run_coroutine_chunk(at_once, [[1, 2]])).waited is None
    chunk = run(run_coroutine_chunk(later, [[1, 2]]))
    assert 0.005 < chunk.waited <= chunk.seconds


class Running:
    """Counts how many coroutines run at a time."""

    def __init__(self) -> None:
        self.now = self.most = 0

    async def work(self, seconds: float) -> float:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(seconds)
        finally:
            self.now -= 1
        return seconds


def test_all_chunks_of_a_loop_respect_the_limit_together() -> None:
    async def main() -> None:
        running = Running()
        columns = [[0.001 * (n % 3) for n in range(30)]]
        chunks = await asyncio.gather(
            *[run_coroutine_chunk(running.work, columns, 7) for _ in range(4)]
        )
        assert [chunk.values for chunk in chunks] == 4 * columns
        assert running.most == 7
        failed = await run_coroutine_chunk(fails_at(20), [list(range(30))], 7)
        assert failed.values == list(range(20))
        assert (await run_coroutine_chunk(running.work, columns, 7)).values == columns[0]

    run(main())


def fails_at(bad: int) -> Any:
    async def work(x: int) -> int:
        await asyncio.sleep(0)
        if x == bad:
            raise LookupError(x)
        return x

    return work


def test_a_chunk_that_is_cancelled_while_it_waits_for_a_place_gives_back_what_it_has() -> None:
    async def main() -> None:
        running = Running()
        task = asyncio.create_task(run_coroutine_chunk(running.work, [[60.0] * 5], 3))
        while running.now < 3:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert running.now == 0
        chunk = await run_coroutine_chunk(running.work, [[0.0] * 5], 3)
        assert chunk.values == [0.0] * 5
        assert running.most == 3

    run(main())


@pytest.mark.parametrize("limit", [None, 3])
def test_a_coroutine_that_fails_cancels_the_rest_of_its_chunk_and_waits_for_their_cleanup(
    limit: int | None,
) -> None:
    cleaned: list[str] = []

    async def work(x: str) -> str:
        if x == "bad":
            await asyncio.sleep(0)
            raise ValueError(x)
        if x == "good":
            return x
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append(x)
        return x

    chunk = run(run_coroutine_chunk(work, [["good", "bad", "rest"]], limit))
    assert chunk.values == ["good"]
    assert cleaned == ["rest"]
    assert type(chunk.error) is ValueError


def test_of_two_failures_the_first_in_the_order_of_the_items_counts() -> None:
    async def work(x: str) -> str:
        if x == "late":
            await asyncio.sleep(0.01)
        if x != "good":
            raise LookupError(x)
        return x

    chunk = run(run_coroutine_chunk(work, [["good", "late", "early", "good"]]))
    assert chunk.values == ["good"]
    assert chunk.error.args == ("late",)


def test_a_cancelled_chunk_cancels_its_coroutines() -> None:
    cleaned: list[int] = []

    async def work(x: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append(x)

    async def main() -> None:
        task = asyncio.create_task(run_coroutine_chunk(work, [[1, 2]]))
        for _ in range(3):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())
    assert sorted(cleaned) == [1, 2]


@pytest.mark.parametrize("turns", [0, 1])
@pytest.mark.parametrize("items", [1, 2])
def test_a_coroutine_that_cancels_itself_is_no_cancel_of_the_chunk(turns: int, items: int) -> None:
    async def work(turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        raise asyncio.CancelledError

    chunk = run(run_coroutine_chunk(work, [[turns] * items]))
    assert type(chunk.error) is asyncio.CancelledError


def test_a_call_that_makes_no_coroutine_counts_as_its_value() -> None:
    chunk = run(run_coroutine_chunk(abs, [[-1, 2]]))
    assert chunk.values == [1, 2]
    assert run(run_coroutine_chunk(abs, [[-1]])).values == [1]


def test_a_chunk_of_one_item() -> None:
    async def main() -> None:
        running = Running()
        chunks = await asyncio.gather(
            *[run_coroutine_chunk(running.work, [[0.01]], 3) for _ in range(9)]
        )
        assert [chunk.values for chunk in chunks] == [[0.01]] * 9
        assert running.most == 3
        assert all(chunk.waited is not None for chunk in chunks)
        failed = await run_coroutine_chunk(fails_at(7), [[7]], 3)
        assert type(failed.error) is LookupError
        assert failed.values == []
        stuck = asyncio.create_task(run_coroutine_chunk(running.work, [[60.0]], 3))
        await asyncio.sleep(0)
        stuck.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stuck
        assert running.now == 0

    run(main())


def test_the_module_knows_its_loops_only_as_long_as_they_live() -> None:
    others = set(chunks_coroutine._places)  # loops of threads, of executors that tests share
    run(run_coroutine_chunk(doubled, [[1]], 1))
    assert not {loop for loop in chunks_coroutine._places if not loop.is_closed()} - others
