"""Logic: which work of a ``map`` is the next, over futures of our own. No pool, no process."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from aplex._common.messages import VALUE
from aplex._map.order import AsCompleted, Bells, InOrder, InOrderWithBell, give_up
from aplex._map.telling import Bell, TellingFuture
from aplex.futures import ConcurrentFuture

MANAGER = SimpleNamespace(
    arm=lambda: None,
    read_until=lambda _done, _end, _work: None,
    check_may_sleep=lambda: None,
    may_tell=lambda: True,
)


def unordered() -> AsCompleted:
    return AsCompleted(Bells(lambda: Bell(MANAGER, lambda: None), Bell.ring), told=True)


def test_in_order_the_first_is_the_next_whether_done_or_not() -> None:
    line = InOrder()
    futures = [ConcurrentFuture[int]() for _ in range(2)]
    for future in futures:
        line.add(future)
    futures[1].set_result(1)
    assert line.next(more=False) is futures[0]
    line.drop()
    assert line.next(more=False) is futures[1]
    line.drop()
    assert line.next(more=True) is None


@pytest.mark.smoke
def test_as_completed_the_first_that_is_done_is_the_next() -> None:
    line = unordered()
    futures = [TellingFuture[int](line.tell) for _ in range(3)]
    for future in futures:
        line.add(future)
    bell = line.next(more=False)
    assert line.is_bell(bell)
    assert not bell.done()
    for n in (2, 0):
        futures[n]._settle(VALUE, n)
    assert bell.done()
    assert line.next(more=False) is futures[2]
    line.drop()
    assert line.next(more=False) is futures[0]
    assert not line.is_bell(futures[0])
    assert len(line) == 2


def test_as_completed_a_work_that_told_before_it_was_added_counts_once() -> None:
    line = unordered()
    early = TellingFuture[int](line.tell)
    early.set_exception(LookupError())
    line.add(early)
    line.tell(early)  # twice, as after Ctrl-C
    assert line.next(more=False) is early
    line.drop()
    assert line.next(more=False) is None
    assert len(line) == 0


def test_as_completed_an_empty_line_waits_for_input_if_there_may_be_some() -> None:
    line = unordered()
    assert line.next(more=False) is None
    bell = line.next(more=True)
    line.ring()
    assert bell.done()
    line.ring()  # none hangs


def test_as_completed_no_completion_in_another_thread_is_missed() -> None:
    """Whenever it comes between the looks of the one who waits."""
    line = unordered()
    count = 20_000

    def settle(futures: list[TellingFuture[int]]) -> None:
        for future in futures:
            future._settle(VALUE, 0)

    futures = [TellingFuture[int](line.tell) for _ in range(count)]
    for future in futures:
        line.add(future)
    threads = [threading.Thread(target=settle, args=(futures[n::2],)) for n in range(2)]
    for thread in threads:
        thread.start()
    seen = set()
    while (future := line.next(more=False)) is not None:
        future.result(10)
        if not line.is_bell(future):
            seen.add(future)
            line.drop()
    for thread in threads:
        thread.join()
    assert seen == set(futures)


def test_what_is_given_up_is_cancelled_and_what_has_failed_is_not_logged() -> None:
    async def main() -> None:
        logged: list[Any] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: logged.append(context))
        pending, failed, ended = (loop.create_future() for _ in range(3))
        failed.set_exception(LookupError())
        ended.set_result(1)
        for future in (pending, failed, ended, pending):
            give_up(future)
        assert pending.cancelled()
        del pending, failed, ended, future
        assert logged == []

    asyncio.run(main())


def test_what_answers_being_given_up_by_a_failure_is_not_logged() -> None:
    """A coroutine may run out of time, or lose its worker, while its cancel is under way."""

    class Asked(asyncio.Future[int]):
        def cancel(self, msg: Any = None) -> bool:
            return True

    async def main() -> None:
        logged: list[Any] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: logged.append(context))
        future = Asked(loop=loop)
        give_up(future)
        future.set_exception(TimeoutError())
        await asyncio.sleep(0)
        del future
        assert logged == []

    asyncio.run(main())


def test_two_threads_may_ring_a_bell_at_a_time() -> None:
    """A stream rings for its items and for its end."""

    class Rung(Bell):
        def _take(self, kind: int, data: Any) -> bool:
            super()._take(kind, data)  # another thread does, just now
            return super()._take(kind, data)

    bell = Rung(MANAGER, lambda: None)
    assert bell._condition  # somebody has come to wait
    bell.ring()
    assert bell.result(0) is None


def test_with_a_bell_one_hears_of_the_first_work_and_of_the_input() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        line = InOrderWithBell(Bells(loop.create_future, lambda bell: bell.set_result(None)))
        bell = line.next(more=True)
        first, second = loop.create_future(), loop.create_future()
        line.add(first)
        assert bell.done()
        line.add(second)
        bell = line.next(more=True)
        second.set_result(2)
        await asyncio.sleep(0)
        assert not bell.done()
        first.set_result(1)
        await bell
        assert line.next(more=True) is first
        line.drop()
        assert line.next(more=False) is second
        line.drop()
        assert line.next(more=False) is None

    asyncio.run(main())
