"""Contract: a map is part of the structure it is used in, as a single work is."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support import works
from tests.support.callers import Awaiting, everywhere
from tests.support.inputs import Meter
from tests.support.signals import Signals

pytestmark = pytest.mark.few_engines


async def _consume(pool: Any, meter: Meter, signals: Signals) -> None:
    async for _ in pool.map(_endless, meter.asynchronous(), [signals.path] * 2):
        raise AssertionError


async def _endless(n: int, signals: str) -> None:
    await works.endless(signals, n)


@everywhere
def test_a_failure_in_a_task_group_stops_its_maps(
    awaitable_caller: Awaiting, signals: Signals
) -> None:
    meter = Meter()

    async def fail() -> None:
        await signals.heard("started 0", "started 1")
        await awaitable_caller.pool.submit(works.afail, LookupError())

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                group.create_task(_consume(awaitable_caller.pool, meter, signals))
                group.create_task(fail())
        assert caught.group_contains(LookupError)
        assert meter.closed
        await signals.heard("finally 0", "finally 1")

    awaitable_caller.run(main())


def test_a_wait_for_around_a_map_stops_it(awaitable_caller: Awaiting, signals: Signals) -> None:
    meter = Meter()

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(_consume(awaitable_caller.pool, meter, signals), 0.5)
        assert meter.closed
        await signals.heard("finally 0", "finally 1")

    awaitable_caller.run(main())


def test_maps_that_are_gathered_run_beside_each_other(awaitable_caller: Awaiting) -> None:
    async def squares(numbers: range) -> list[int]:
        return [n async for n in awaitable_caller.pool.map(works.aadd, numbers, buffersize=3)]

    async def main() -> None:
        both = await asyncio.gather(squares(range(20)), squares(range(50, 70)))
        assert both == [list(range(20)), list(range(50, 70))]

    awaitable_caller.run(main())


def test_a_map_of_a_work_of_a_map(awaitable_caller: Awaiting) -> None:
    """Results of one are the input of the next: the second stops the first."""
    meter = Meter()

    async def main() -> None:
        pool: Any = awaitable_caller.pool
        first = pool.map(works.aadd, meter.asynchronous(), buffersize=4)
        second = pool.map(works.add, first, buffersize=4)
        async for n in second:
            assert meter.taken <= n + 1 + 2 * 4
            if n == 50:
                break
        await second.aclose()
        assert meter.closed

    awaitable_caller.run(asyncio.wait_for(main(), 30))
