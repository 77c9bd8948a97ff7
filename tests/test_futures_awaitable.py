"""Logic: the futures of asyncio, settled by hand. No pool, no process."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aplex._common.messages import CANCELLED, ERROR, RAISED, TOO_LATE, VALUE
from aplex._futures import awaitable
from aplex._wire.exceptions import encode_exception
from aplex.futures import AsyncioFuture
from tests.support.futures import KEY, OUTCOMES, FakeManager, with_loop, with_work


@pytest.mark.parametrize(("kind", "data", "expected"), OUTCOMES)
def test_an_awaitable_future_takes_its_outcome(kind: int, data: Any, expected: Any) -> None:
    async def main() -> None:
        future: AsyncioFuture[Any] = AsyncioFuture()
        with_work(future, FakeManager())
        future._settle(kind, data)
        assert future.done()
        assert not future.cancelled()
        if isinstance(expected, type):
            assert type(future.exception()) is expected
        elif isinstance(expected, BaseException):
            assert future.exception() is expected
        else:
            assert await future == expected
        assert future._work is None

    with_loop(main())


@pytest.mark.parametrize(
    ("kind", "data"),
    [(RAISED, StopIteration(7)), (ERROR, encode_exception(StopIteration(7)))],
)
def test_stop_iteration_which_asyncio_refuses_is_wrapped(kind: int, data: Any) -> None:
    async def main() -> None:
        future: AsyncioFuture[Any] = AsyncioFuture()
        future._settle(kind, data)
        with pytest.raises(RuntimeError, match="the work raised StopIteration") as caught:
            await future
        assert isinstance(caught.value.__cause__, StopIteration)
        assert caught.value.__cause__.value == 7

    with_loop(main())


def test_cancelling_an_awaitable_future_asks_and_tells_why() -> None:
    async def main() -> None:
        future: AsyncioFuture[Any] = AsyncioFuture()
        manager = FakeManager()
        work = with_work(future, manager)
        assert future.cancel("because") is True
        assert manager.asked == [work]
        assert not future.done()
        assert future.cancel("because I insist") is True
        assert manager.asked == [work], "it is asked once"
        future._settle(CANCELLED, None)
        with pytest.raises(asyncio.CancelledError, match="because I insist"):
            await future

    with_loop(main())


def test_an_awaitable_future_may_end_well_after_its_cancel() -> None:
    async def main() -> None:
        future: AsyncioFuture[Any] = AsyncioFuture()
        work = with_work(future, FakeManager())
        future.cancel()
        work.cancel_delivered = True
        future._settle(VALUE, "finished all the same")
        assert await future == "finished all the same"

    with_loop(main())


def test_an_outcome_that_was_under_way_before_its_cancel_is_dropped() -> None:
    """A task that awaits the future was told that a CancelledError comes."""

    async def main() -> None:
        future: AsyncioFuture[Any] = AsyncioFuture()
        with_work(future, FakeManager())
        assert future.cancel("too late")
        future._settle(VALUE, "finished before")
        with pytest.raises(asyncio.CancelledError, match="too late"):
            await future

    with_loop(main())


def test_what_is_too_late_for_a_cancel_by_the_pool_is_no_outcome() -> None:
    """The work's time is over; the error of that comes by another thread, perhaps later."""

    async def main() -> None:
        future: AsyncioFuture[Any] = AsyncioFuture()
        with_work(future, FakeManager())
        future._settle(TOO_LATE, None)
        assert not future.done()
        future._settle(RAISED, TimeoutError())
        future._settle(TOO_LATE, None)
        with pytest.raises(TimeoutError):
            await future

    with_loop(main())


def test_an_awaitable_future_of_a_plain_function_does_not_wait_for_it() -> None:
    """A function that runs cannot be stopped; nobody has to wait for it."""

    async def main() -> None:
        future: AsyncioFuture[Any] = AsyncioFuture()
        with_work(future, FakeManager())
        assert future.cancel()
        assert not future.done()
        future._settle(TOO_LATE, None)
        assert future.cancelled()
        future._settle(VALUE, "finished later")

    with_loop(main())


def test_a_cancel_that_does_not_reach_the_coroutine_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The worker's loop may be blocked for ever."""
    monkeypatch.setattr(awaitable, "PATIENCE", 0.0)

    async def main() -> None:
        future: AsyncioFuture[Any] = AsyncioFuture()
        with_work(future, FakeManager())
        assert future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await future

    with_loop(main())


def test_a_cancel_that_was_delivered_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The coroutine cleans up; the future ends as it does."""
    monkeypatch.setattr(awaitable, "PATIENCE", 0.0)

    async def main() -> None:
        future: AsyncioFuture[Any] = AsyncioFuture()
        work = with_work(future, FakeManager())
        assert future.cancel()
        work.cancel_delivered = True
        later = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.01, later.set_result, None)
        await later
        assert not future.done()
        future._settle(CANCELLED, None)
        assert future.cancelled()

    with_loop(main())


def test_a_task_that_is_cancelled_waits_for_the_end_of_the_work() -> None:
    async def main() -> None:
        future: AsyncioFuture[Any] = AsyncioFuture()
        manager = FakeManager()
        work = with_work(future, manager)

        async def wait() -> None:
            await future

        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        assert manager.asked == [work]
        assert not task.done()
        future._settle(CANCELLED, None)
        with pytest.raises(asyncio.CancelledError):
            await task

    with_loop(main())


def test_cancelling_an_awaitable_future_that_is_done_is_refused() -> None:
    async def main() -> None:
        future: AsyncioFuture[Any] = AsyncioFuture()
        future._settle(VALUE, 1)
        assert future.cancel() is False
        future._settle(RAISED, KEY)  # too late
        assert await future == 1

    with_loop(main())


def test_an_awaitable_future_without_a_work_is_cancelled_as_its_parent() -> None:
    async def main() -> None:
        future: AsyncioFuture[Any] = AsyncioFuture()
        assert future.cancel("msg") is True
        with pytest.raises(asyncio.CancelledError, match="msg"):
            await future

    with_loop(main())
