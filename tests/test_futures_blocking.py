"""Logic: the futures of threads, settled by hand. No pool, no process."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from typing import Any

import pytest

from aplex._common.messages import CANCELLED, ERROR, RAISED, VALUE
from aplex._futures import blocking as futures_blocking
from aplex._pool.state import Work
from aplex._wire.exceptions import encode_exception
from aplex.exceptions import RemoteTraceback
from aplex.futures import ConcurrentFuture
from tests.support.futures import OUTCOMES, FakeManager, with_loop, with_work
from tests.support.pools import DrivenPool


@pytest.mark.smoke
@pytest.mark.parametrize(("kind", "data", "expected"), OUTCOMES)
def test_a_future_takes_its_outcome(kind: int, data: Any, expected: Any) -> None:
    future: ConcurrentFuture[Any] = ConcurrentFuture()
    with_work(future, FakeManager())
    future._settle(kind, data)
    assert future.done()
    assert not future.cancelled()
    if isinstance(expected, type):
        assert type(future.exception()) is expected
    elif isinstance(expected, BaseException):
        assert future.exception() is expected
    else:
        assert future.result() == expected
    assert future._work is None


def test_an_exception_from_another_process_carries_its_traceback() -> None:
    future: ConcurrentFuture[Any] = ConcurrentFuture()
    future._settle(ERROR, encode_exception(ValueError("there")))
    error = future.exception()
    assert error is not None
    assert isinstance(error.__cause__, RemoteTraceback)


def test_a_cancelled_future_wakes_those_who_wait() -> None:
    future: ConcurrentFuture[Any] = ConcurrentFuture()
    called: list[Any] = []
    future.add_done_callback(called.append)
    threading.Timer(0.01, future._settle, (CANCELLED, None)).start()
    done, _ = concurrent.futures.wait([future], timeout=30)
    assert done == {future}
    assert called == [future]
    assert future.cancelled()
    with pytest.raises(concurrent.futures.CancelledError):
        future.result()


def test_a_waiting_work_is_cancelled_at_once() -> None:
    future: ConcurrentFuture[Any] = ConcurrentFuture()
    manager = FakeManager(waiting=True)
    work = with_work(future, manager)
    assert future.cancel() is True
    assert future.cancelled()
    assert manager.asked == [work]


def test_the_cancel_of_a_running_work_is_a_request() -> None:
    future: ConcurrentFuture[Any] = ConcurrentFuture()
    manager = FakeManager()
    work = with_work(future, manager)
    assert future.cancel() is True
    assert not future.done()
    assert manager.asked == [work]
    future._settle(VALUE, "finished all the same")
    assert future.result() == "finished all the same"


def test_the_cancel_of_what_nothing_stops_is_refused() -> None:
    future: ConcurrentFuture[Any] = ConcurrentFuture()
    with_work(future, FakeManager(stops=False))
    assert future.cancel() is False
    assert not future.done()


def test_a_work_that_ends_while_its_cancel_is_asked_was_not_cancelled() -> None:
    future: ConcurrentFuture[Any] = ConcurrentFuture()

    class Late(FakeManager):
        def cancel(self, work: Work) -> bool:
            future._settle(VALUE, 1)
            return True

    with_work(future, Late())
    assert future.cancel() is False
    assert future.result() == 1


@pytest.mark.parametrize(("kind", "cancelled"), [(VALUE, False), (CANCELLED, True)])
def test_cancelling_what_is_done_changes_nothing(kind: int, cancelled: bool) -> None:
    """Like its parent's, the second cancel of a cancelled future says True."""
    future: ConcurrentFuture[Any] = ConcurrentFuture()
    future._settle(kind, None)
    assert future.cancel() is cancelled
    assert future.cancelled() is cancelled


def test_a_future_without_a_work_is_cancelled_as_its_parent() -> None:
    future: ConcurrentFuture[Any] = ConcurrentFuture()
    assert future.cancel() is True
    assert future.cancelled()


@pytest.mark.parametrize("kind", [RAISED, VALUE, CANCELLED])
def test_a_cancel_in_the_middle_of_the_end_changes_nothing(
    kind: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread cancels while the outcome is being set: that is too late."""
    future: ConcurrentFuture[Any] = ConcurrentFuture()
    with_work(future, FakeManager())
    _ = future._condition  # without a lock there is no middle
    end = future._end
    monkeypatch.setattr(future, "_end", lambda *outcome: (future.cancel(), end(*outcome)))
    future._settle(kind, LookupError())
    assert future.cancelled() is (kind == CANCELLED)
    assert concurrent.futures.wait([future], 0).not_done == set()


def test_a_cancel_that_comes_too_late_changes_nothing() -> None:
    future: ConcurrentFuture[Any] = ConcurrentFuture()
    future._settle(VALUE, 1)
    future._settle(CANCELLED, None)
    assert future.result() == 1


def test_it_runs_while_a_worker_has_it() -> None:
    future: ConcurrentFuture[Any] = ConcurrentFuture()
    assert not future.running()
    work = with_work(future, FakeManager())
    assert not future.running()
    work.worker = DrivenPool().workers[0]
    assert future.running()
    future._settle(VALUE, 1)
    assert not future.running()


def test_a_future_makes_its_lock_when_somebody_asks_for_it() -> None:
    """Decision 29: most futures never need one."""
    future = ConcurrentFuture[int]()
    future.add_done_callback(lambda _future: None)
    future.set_result(1)
    assert (future.result(), future.exception()) == (1, None)
    if not futures_blocking._GIL:
        return  # there each is settled with its lock
    assert future._lock_made is None
    concurrent.futures.wait([future])
    assert future._lock_made is future._condition


def test_a_result_that_is_set_while_one_looks_is_told_once() -> None:
    """``as_completed`` looks at the states, then leaves waiters with all of the futures."""
    future: ConcurrentFuture[int] = ConcurrentFuture()
    with future._condition:
        settler = threading.Thread(target=future._settle, args=(VALUE, 1))
        settler.start()
        settler.join(0.05)
        assert not future.done()  # nothing changes between the look and the waiter
    settler.join()
    assert list(concurrent.futures.as_completed([future], 30)) == [future]


def test_the_results_of_many_are_told_once() -> None:
    for _ in range(50):
        many: list[ConcurrentFuture[int]] = [ConcurrentFuture() for _ in range(40)]
        settler = threading.Thread(target=lambda: [each._settle(VALUE, 1) for each in many])  # noqa: B023
        settler.start()
        assert set(concurrent.futures.as_completed(many, 30)) == set(many)
        settler.join()


class Elsewhere(FakeManager):
    """The thread that settles must not tell, nor call back: it takes note of what is to do."""

    def __init__(self) -> None:
        super().__init__(waiting=True)
        self.later: list[Any] = []

    def may_tell(self) -> bool:
        return False

    def may_call_back(self) -> bool:
        return False

    def settle_soon(self, settle: Any) -> None:
        self.later.append(settle)


def test_a_cancel_in_the_middle_of_wait_is_told_by_another_thread() -> None:
    """A handler cancels between the look of ``wait`` and its waiter, which must learn of it."""
    future: ConcurrentFuture[Any] = ConcurrentFuture()
    manager = Elsewhere()
    with_work(future, manager)
    with future._condition:
        assert future.cancel()
        assert future.cancelled()
        waiter = concurrent.futures._base._AsCompletedWaiter()  # type: ignore[attr-defined]
        future._waiters.append(waiter)
        assert not waiter.event.is_set()
    manager.may_tell = lambda: True  # type: ignore[method-assign]
    for settle in manager.later:
        settle()
    assert waiter.event.is_set()
    assert waiter.finished_futures == [future]


def test_who_only_waits_for_another_result_does_not_call_back() -> None:
    future: ConcurrentFuture[Any] = ConcurrentFuture()
    called: list[Any] = []
    manager = Elsewhere()
    with_work(future, manager)
    future.add_done_callback(called.append)
    future._settle(VALUE, 1)
    assert future.result() == 1
    assert not called
    for call in manager.later:
        call()
    assert called == [future]


def test_a_callback_is_made_once_whoever_settles_and_adds() -> None:
    for _ in range(300):
        future: ConcurrentFuture[int] = ConcurrentFuture()
        called: list[Any] = []
        settler = threading.Thread(target=future._settle, args=(VALUE, 1))
        settler.start()
        for _ in range(5):
            future.add_done_callback(called.append)
        settler.join()
        assert called == [future] * 5


def test_a_handler_that_settles_what_its_thread_is_about_to_wait_for_wakes_it() -> None:
    """It comes between the look and the wait; nobody else ever wakes the thread."""
    future: ConcurrentFuture[Any] = ConcurrentFuture()
    looks = iter([False])

    def is_done() -> bool:
        for look in looks:
            future._settle(VALUE, 1)
            return look
        return future.done()

    future._is_done = is_done  # type: ignore[method-assign]
    assert future.result(30) == 1


def test_asyncio_can_wrap_it() -> None:
    async def main() -> None:
        future: ConcurrentFuture[int] = ConcurrentFuture()
        wrapped = asyncio.wrap_future(future)
        threading.Timer(0.01, future._settle, (VALUE, 42)).start()
        assert await wrapped == 42

    with_loop(main())
