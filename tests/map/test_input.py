"""Logic: an asynchronous input of a ``map``, filling a window of our own. No pool, no process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest

from aplex._map.input import AsyncInput, is_asynchronous, length_of
from tests.support.inputs import Meter


class FakeWindow:
    """Wants chunks of a size until it has so many items."""

    def __init__(self, room: int, size: int = 1, *, grows: bool = False) -> None:
        self.grows = grows  # type: ignore[misc]
        self.room = room
        self.size = size
        self.chunks: list[list[Any]] = []
        self.ended = False
        self.rung = asyncio.Event()

    def wants(self) -> int:
        return min(self.size, self.room)

    def put(self, columns: list[Any]) -> None:
        self.room -= len(columns[0])
        self.chunks.append(columns)

    def end(self) -> None:
        self.ended = True

    def ring(self) -> None:
        self.rung.set()


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, 30))


async def filled(source: AsyncInput, window: Any) -> None:
    """Fill a window; return when that has paused."""
    window.rung.clear()
    source.fill(window)
    await window.rung.wait()


def test_what_is_asynchronous() -> None:
    assert is_asynchronous(Meter().asynchronous())
    assert not any(map(is_asynchronous, ([], iter("a"), Meter().plain(), 3)))
    assert length_of(([1, 2], Meter().asynchronous())) == 2


@pytest.mark.smoke
def test_so_many_items_are_taken_as_there_is_room_and_no_task_is_left() -> None:
    async def main() -> None:
        before = asyncio.all_tasks()
        meter, window = Meter(), FakeWindow(5, 2)
        source = AsyncInput((meter.asynchronous(), "abcdefgh"))
        await filled(source, window)
        assert window.chunks == [[[0, 1], ["a", "b"]], [[2, 3], ["c", "d"]], [[4], ["e"]]]
        assert meter.taken == 5
        assert not source.busy
        window.room = 3
        await filled(source, window)
        assert meter.taken == 8
        await source.aclose()
        assert meter.closed
        assert asyncio.all_tasks() == before

    run(main())


def test_at_its_end_it_is_asked_no_more() -> None:
    async def main() -> None:
        window = FakeWindow(5, 2)
        source = AsyncInput((Meter(3).asynchronous(),))
        await filled(source, window)
        assert window.chunks == [[[0, 1]], [[2]]]
        assert window.ended
        assert not source.open
        source.fill(window)  # type: ignore[arg-type]
        assert not source.busy

    run(main())


@pytest.mark.parametrize("error", [LookupError("no"), asyncio.CancelledError()], ids=repr)
def test_what_it_raises_is_raised_when_it_is_asked_again(error: BaseException) -> None:
    async def broken() -> AsyncIterator[int]:
        yield 0
        raise error

    async def main() -> None:
        window = FakeWindow(5)
        source = AsyncInput((broken(),))
        await filled(source, window)
        assert window.chunks == [[[0]]]
        with pytest.raises(type(error)):
            source.fill(window)  # type: ignore[arg-type]
        assert not source.open

    run(main())


@pytest.mark.parametrize("grows", [False, True])
def test_items_of_a_slow_input_wait_for_no_chunk_that_adapts(grows: bool) -> None:
    async def main() -> None:
        more: asyncio.Queue[int] = asyncio.Queue()

        async def slow() -> AsyncIterator[int]:
            while True:
                yield await more.get()

        window = FakeWindow(9, 3, grows=grows)
        source = AsyncInput((slow(),))
        source.fill(window)  # type: ignore[arg-type]
        for number in range(3):
            more.put_nowait(number)
            while grows and len(window.chunks) <= number:
                await asyncio.sleep(0)
        while window.room > 6:
            await asyncio.sleep(0)
        assert window.chunks == ([[[0]], [[1]], [[2]]] if grows else [[[0, 1, 2]]])
        await source.aclose()

    run(main())


def test_closing_waits_for_the_cleanup_and_raises_what_that_raises() -> None:
    async def main() -> None:
        async def stuck() -> AsyncIterator[int]:
            try:
                await asyncio.Event().wait()
                yield 0
            finally:
                await asyncio.sleep(0)
                raise LookupError("cleanup")

        window = FakeWindow(5)
        source = AsyncInput((stuck(),))
        source.fill(window)  # type: ignore[arg-type]
        await asyncio.sleep(0)
        with pytest.raises(LookupError, match="cleanup"):
            await source.aclose()

    run(main())


def test_closing_before_the_first_item_starts_nothing() -> None:
    async def main() -> None:
        meter, window = Meter(), FakeWindow(5)
        source = AsyncInput((meter.asynchronous(),))
        source.fill(window)  # type: ignore[arg-type]
        await source.aclose()
        assert meter.taken == 0
        source.fill(window)  # type: ignore[arg-type]
        assert not source.open

    run(main())
