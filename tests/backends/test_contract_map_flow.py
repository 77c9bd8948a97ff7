"""Contract: how ``map`` flows: bounded by ``buffersize``, in any order, from any input."""

from __future__ import annotations

import asyncio
import gc
import itertools
import operator
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Literal

import pytest

from tests.support import works
from tests.support.callers import Awaiting, Caller, everywhere
from tests.support.inputs import Meter
from tests.support.signals import Gate, Signals

pytestmark = pytest.mark.few_engines

ChunkSize = int | Literal["auto"]
INPUTS = ("plain", "quick", "slow")


# -- buffersize -----------------------------------------------------------------------------


@pytest.mark.parametrize("chunksize", [1, 3, 50, "auto"])
@pytest.mark.parametrize("ordered", [True, False])
def test_never_more_items_are_taken_and_not_handed_over_than_buffersize(
    caller: Caller, chunksize: ChunkSize, ordered: bool
) -> None:
    kinds = INPUTS if caller.awaitable else INPUTS[:1]
    for kind, (work, size) in itertools.product(
        kinds, [(works.add, 1), (works.aadd, 10), (works.add, 50)]
    ):
        count = 4 * size + 10
        meter = Meter(count)
        options = {"buffersize": size, "chunksize": chunksize, "ordered": ordered}
        seen = []
        for value in caller.map(work, meter.made(kind), **options):
            meter.hand()
            seen.append(value)
        assert (seen if ordered else sorted(seen)) == list(range(count))
        assert meter.most <= size
        if chunksize == 1 and kind == "plain":  # of the others, some come while results do
            assert meter.most == size


@pytest.mark.parametrize("chunksize", [1, 2])
def test_no_worker_idles_while_the_buffer_has_room(
    caller: Caller, signals: Signals, gate: Gate, chunksize: int
) -> None:
    """A chunk never takes what the other workers could run."""
    results = caller.map(
        works.aheld, itertools.repeat(signals.path), itertools.repeat(gate.path), range(9),
        buffersize=4, chunksize=chunksize,
    )  # fmt: skip
    signals.expect(*[f"started {n}" for n in range(4)])
    assert signals.said() == []
    gate.open()
    assert list(results) == list(range(9))


def test_a_buffer_may_hold_more_than_the_workers_can(caller: Caller) -> None:
    meter = Meter()
    results = caller.map(works.aadd, meter.plain(), buffersize=1000)
    assert next(results) == 0
    assert meter.taken == 1000
    results.close()


@pytest.mark.parametrize("chunksize", [1, 7, "auto"])
def test_a_consumer_that_stops_stops_the_input(caller: Caller, chunksize: ChunkSize) -> None:
    meter = Meter()
    results = caller.map(works.add, meter.plain(), buffersize=20, chunksize=chunksize)
    assert next(results) == 0
    caller.assert_idle()
    assert meter.taken <= 20
    results.close()


@pytest.mark.parent_only
@pytest.mark.parametrize("size", [0, -1])
def test_a_buffersize_less_than_one_is_refused(caller: Caller, size: int) -> None:
    with pytest.raises(ValueError, match="buffersize must be at least 1"):
        caller.map(works.add, [1], buffersize=size)


@pytest.mark.parent_only
def test_a_buffersize_of_another_kind_is_refused(caller: Caller) -> None:
    with pytest.raises(TypeError, match="buffersize must be an int or None"):
        caller.map(works.add, [1], buffersize=1.5)


def test_a_view_maps_in_the_same_ways(caller: Caller) -> None:
    view = caller.through(caller.pool.options(retries=1))
    meter = Meter(50)
    for outcome in view.map(
        works.add, meter.plain(), buffersize=5, ordered=False, return_outcomes=True
    ):
        meter.hand()
        assert outcome.value == outcome.input
    assert (meter.handed, meter.most) == (50, 5)


# -- order ----------------------------------------------------------------------------------


@everywhere
def test_unordered_results_come_as_works_complete(
    caller: Caller, signals: Signals, new_gate: Callable[[], Gate]
) -> None:
    gates = [new_gate() for _ in range(3)]
    paths = [gate.path for gate in gates]
    results = caller.map(works.aheld, [signals.path] * 3, paths, range(3), ordered=False)
    for n in (2, 0, 1):
        gates[n].open()
        assert next(results) == n
    assert list(results) == []


@pytest.mark.parametrize("chunksize", [1, 3, "auto"])
def test_unordered_maps_miss_nothing(caller: Caller, chunksize: ChunkSize) -> None:
    for work in (works.add, works.aadd):
        results = list(caller.map(work, range(500), ordered=False, chunksize=chunksize))
        assert sorted(results) == list(range(500))
    assert list(caller.map(works.add, [], ordered=False, chunksize=chunksize)) == []


def test_an_unordered_work_that_raises_raises_at_once_and_cancels_the_rest(
    caller: Caller, signals: Signals, gate: Gate
) -> None:
    columns = [signals.path] * 3, [gate.path] * 3, range(3)
    results = caller.map(_fail_last, *columns, ordered=False)
    signals.expect("started 0", "started 1")
    gate.open()
    with pytest.raises(LookupError):
        next(results)
    signals.expect("finally 0", "finally 1")
    assert list(results) == []


async def _fail_last(signals: str, gate: str, n: int) -> None:
    if n == 2:
        await works.apass_gate(gate)
        raise LookupError
    await works.endless(signals, n)


def test_an_unordered_map_that_is_left_cancels_the_rest(caller: Caller, signals: Signals) -> None:
    results = caller.map(_end_last, [signals.path] * 3, range(3), ordered=False)
    assert next(results) == 2
    signals.expect("started 0", "started 1")
    results.close()
    signals.expect("finally 0", "finally 1")
    assert list(results) == []


async def _end_last(signals: str, n: int) -> int:
    if n < 2:
        await works.endless(signals, n)
    return n


def test_an_unordered_timeout_counts_from_the_call(caller: Caller, signals: Signals) -> None:
    results = caller.map(_end_last, [signals.path] * 3, range(3), ordered=False, timeout=0.5)
    assert next(results) == 2
    with pytest.raises(TimeoutError):
        next(results)
    signals.expect("finally 0", "finally 1")


def test_an_item_that_cannot_travel_raises_in_an_unordered_map(
    caller: Caller, processes: bool
) -> None:
    results = caller.map(works.echo, [works.Unpicklable()] * 2, ordered=False)
    if processes:
        with pytest.raises(Exception, match=r"argument 0 .*glued to its place"):
            next(results)
    else:
        assert len(list(results)) == 2


# -- asynchronous input ---------------------------------------------------------------------


async def _numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        await asyncio.sleep(0)
        yield number


@everywhere
@pytest.mark.parametrize("chunksize", [1, 3, "auto"])
def test_an_asynchronous_input(awaitable_caller: Awaiting, chunksize: ChunkSize) -> None:
    mapped = awaitable_caller.map
    assert list(mapped(works.add, _numbers(0), chunksize=chunksize)) == []
    assert list(mapped(works.aadd, _numbers(500), chunksize=chunksize)) == list(range(500))
    several = mapped(operator.add, _numbers(9), itertools.count(), chunksize=chunksize)
    assert list(several) == list(range(0, 18, 2))
    assert list(mapped(operator.add, [1, 2], _numbers(9), chunksize=chunksize)) == [1, 3]


@pytest.mark.parent_only
def test_an_asynchronous_input_of_a_blocking_executor_is_refused(blocking_caller: Caller) -> None:
    with pytest.raises(TypeError, match=r"async_generator, which only .*awaitable=True"):
        blocking_caller.map(works.add, _numbers(1))


@pytest.mark.parametrize("chunksize", [1, "auto"])
def test_results_come_while_an_asynchronous_input_waits(
    awaitable_caller: Awaiting, chunksize: ChunkSize
) -> None:
    async def main() -> None:
        queue: asyncio.Queue[int] = asyncio.Queue()

        async def fed() -> AsyncIterator[int]:
            while True:
                yield await queue.get()

        results = awaitable_caller.pool.map(works.add, fed(), chunksize=chunksize)
        for number in range(100):
            queue.put_nowait(number)
            assert await anext(results) == number
        await results.aclose()

    awaitable_caller.run(asyncio.wait_for(main(), 10))


def test_an_asynchronous_input_that_raises_cancels_what_was_submitted(
    awaitable_caller: Awaiting, signals: Signals
) -> None:
    async def broken() -> AsyncIterator[int]:
        yield 0
        yield 1
        await signals.heard("started 0", "started 1")
        raise LookupError("no more input")

    with pytest.raises(LookupError, match="no more input"):
        list(awaitable_caller.map(works.endless, itertools.repeat(signals.path), broken()))
    signals.expect("finally 0", "finally 1")


@everywhere
@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("chunksize", [1, 2])
def test_leaving_early_closes_an_asynchronous_input(
    awaitable_caller: Awaiting, ordered: bool, chunksize: int
) -> None:
    """By ``aclose``, a cancel or a failure: its cleanup has run when that is over."""

    async def main(kind: str) -> None:
        meter = Meter()
        source = meter.made(kind)
        options = {"ordered": ordered, "chunksize": chunksize, "buffersize": 8}
        results = awaitable_caller.pool.map(works.add, source, **options)
        await anext(results)
        await results.aclose()
        assert meter.closed
        assert [value async for value in results] == []
        meter = Meter()
        with pytest.raises(LookupError):
            async for _ in awaitable_caller.pool.map(
                works.fail_if, Meter(30).plain(), meter.made(kind), **options
            ):
                pass
        assert meter.closed

    for kind in ("quick", "slow"):
        awaitable_caller.run(main(kind))


def test_a_cancelled_task_closes_the_input_that_its_map_waits_for(
    awaitable_caller: Awaiting,
) -> None:
    async def main() -> None:
        waiting, closed = asyncio.Event(), asyncio.Event()

        async def silent() -> AsyncIterator[int]:
            try:
                waiting.set()
                await asyncio.Event().wait()
                yield 0
            finally:
                closed.set()

        async def consume() -> None:
            async for _ in awaitable_caller.pool.map(works.add, silent()):
                pass

        task = asyncio.ensure_future(consume())
        await waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert closed.is_set()
        with pytest.raises(TimeoutError):
            async for _ in awaitable_caller.pool.map(works.add, silent(), timeout=0.05):
                pass

    awaitable_caller.run(asyncio.wait_for(main(), 10))


def test_a_loop_that_was_left_closes_its_asynchronous_input_soon(
    awaitable_caller: Awaiting,
) -> None:
    async def main() -> None:
        meter = Meter()
        async for _ in awaitable_caller.pool.map(works.add, meter.asynchronous(slow=True)):
            break
        gc.collect()
        while not meter.closed:
            await asyncio.sleep(0)

    awaitable_caller.run(asyncio.wait_for(main(), 10))


def test_an_asynchronous_input_of_a_map_that_nobody_iterates_is_submitted(
    awaitable_caller: Awaiting, signals: Signals, gate: Gate
) -> None:
    async def main() -> None:
        awaitable_caller.pool.map(_held, _numbers(3), [signals.path] * 3, [gate.path] * 3)
        await signals.heard("started 0", "started 1", "started 2")

    awaitable_caller.run(main())
    gate.open()
    signals.expect("passed 0", "passed 1", "passed 2")


async def _held(n: int, signals: str, gate: str) -> None:
    await works.aheld(signals, gate, n)


@pytest.mark.parametrize("chunksize", [1, 2, "auto"])
@pytest.mark.parametrize("ordered", [True, False])
def test_a_generator_only_the_map_knows_is_closed_with_it(
    caller: Caller, chunksize: ChunkSize, ordered: bool
) -> None:
    meter = Meter()
    results = caller.map(
        works.add, meter.plain(), chunksize=chunksize, ordered=ordered, buffersize=8
    )
    next(results)
    assert not meter.closed
    results.close()
    assert meter.closed


def test_a_generator_somebody_else_holds_can_go_on(caller: Caller) -> None:
    numbers: Iterator[int] = Meter().plain()
    results = caller.map(works.add, numbers, buffersize=3)
    assert next(results) == 0
    results.close()
    assert next(numbers) == 3
