"""Contract: what ``concurrent.futures`` promises of an executor and its futures holds."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION
from typing import Any

import pytest

from aplex import ConcurrentFuture
from tests.support import works
from tests.support.callers import DEADLINE, Blocking, Caller, everywhere
from tests.support.signals import Gate, Signals


@pytest.fixture
def pool(blocking_caller: Caller) -> Any:
    return blocking_caller.pool


def test_wait_returns_with_the_first_one(pool: Any, signals: Signals, gate: Gate) -> None:
    held = pool.submit(works.aheld, signals.path, gate.path)
    quick = pool.submit(works.aadd, 1)
    done, late = concurrent.futures.wait([held, quick], DEADLINE, FIRST_COMPLETED)
    assert (done, late) == ({quick}, {held})
    gate.open()
    done, late = concurrent.futures.wait([held, quick], DEADLINE, ALL_COMPLETED)
    assert (done, late) == ({quick, held}, set())


def test_wait_returns_with_the_first_exception(pool: Any, signals: Signals, gate: Gate) -> None:
    held = pool.submit(works.aheld, signals.path, gate.path)
    good = pool.submit(works.add, 1)
    bad = pool.submit(works.afail, LookupError())
    done, late = concurrent.futures.wait([held, good, bad], DEADLINE, FIRST_EXCEPTION)
    assert bad in done
    assert held in late
    gate.open()
    assert held.result(DEADLINE) is None


def test_wait_gives_up_after_the_timeout(pool: Any, signals: Signals, gate: Gate) -> None:
    held = pool.submit(works.held, signals.path, gate.path)
    for timeout in (0, 0.01):
        assert concurrent.futures.wait([held], timeout) == (set(), {held})
    gate.open()
    assert concurrent.futures.wait([held, held], DEADLINE) == ({held}, set())


def test_wait_sees_cancelled_works(pool: Any, signals: Signals) -> None:
    future = pool.submit(works.endless, signals.path)
    signals.expect("started work")
    threading.Thread(target=future.cancel).start()
    done, _ = concurrent.futures.wait([future], DEADLINE)
    assert done == {future}
    assert future.cancelled()


def test_as_completed_yields_what_is_done(
    pool: Any, signals: Signals, new_gate: Callable[[], Gate]
) -> None:
    gates = [new_gate() for _ in range(3)]
    futures = [pool.submit(works.aheld, signals.path, gate.path, n) for n, gate in enumerate(gates)]
    seen = []
    gates[2].open()
    for future in concurrent.futures.as_completed(futures, DEADLINE):
        seen.append(future.result())
        gates[{2: 0, 0: 1, 1: 1}[seen[-1]]].open()
    assert seen == [2, 0, 1]


def test_as_completed_gives_up_after_the_timeout(pool: Any, signals: Signals, gate: Gate) -> None:
    held = pool.submit(works.held, signals.path, gate.path)
    quick = pool.submit(works.aadd, 1)
    quick.result(DEADLINE)
    seen = []
    with pytest.raises(TimeoutError):
        seen.extend(concurrent.futures.as_completed([held, quick, quick], 0.05))
    gate.open()
    held.result(DEADLINE)


@everywhere
def test_result_and_exception_wait(pool: Any, signals: Signals, gate: Gate) -> None:
    future = pool.submit(works.aheld, signals.path, gate.path, 5)
    for wait in (future.result, future.exception):
        with pytest.raises(TimeoutError):
            wait(0.01)
        with pytest.raises(concurrent.futures.TimeoutError):
            wait(timeout=0)
    gate.open()
    assert future.result(DEADLINE) == 5
    assert future.exception() is None


def test_result_wakes_every_thread_that_waits(pool: Any, signals: Signals, gate: Gate) -> None:
    future = pool.submit(works.held, signals.path, gate.path, 5)
    got: list[int] = []
    threads = [
        threading.Thread(target=lambda: got.append(future.result(DEADLINE))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    gate.open()
    for thread in threads:
        thread.join()
    assert got == [5] * 4


def test_states_of_a_future(pool: Any, signals: Signals, gate: Gate) -> None:
    future = pool.submit(works.aheld, signals.path, gate.path, 5)
    signals.expect("started 5")
    assert future.running()
    assert not future.done()
    assert not future.cancelled()
    gate.open()
    future.result(DEADLINE)
    assert not future.running()
    assert future.done()
    assert not future.cancelled()
    assert "finished" in repr(future)


@everywhere
def test_callbacks_are_called_once_with_the_future(pool: Any, signals: Signals, gate: Gate) -> None:
    called: list[Any] = []
    both = threading.Semaphore(0)

    def callback(future: Any) -> None:
        called.append(future)
        both.release()

    future = pool.submit(works.aheld, signals.path, gate.path)
    future.add_done_callback(callback)
    future.add_done_callback(callback)
    gate.open()
    for _ in range(2):
        assert both.acquire(timeout=DEADLINE)
    assert called == [future, future]
    future.add_done_callback(callback)  # it is done: now
    assert called == [future] * 3


@pytest.mark.parametrize("how", ["fail", "cancel"])
def test_callbacks_are_called_however_the_work_ends(pool: Any, signals: Signals, how: str) -> None:
    ended = threading.Event()
    if how == "fail":
        future = pool.submit(works.afail, LookupError())
    else:
        future = pool.submit(works.endless, signals.path)
        signals.expect("started work")
    future.add_done_callback(lambda _: ended.set())
    if how == "cancel":
        future.cancel()
    assert ended.wait(DEADLINE)
    assert future.done()


def test_a_callback_that_raises_harms_nobody(
    pool: Any, caplog: pytest.LogCaptureFixture, signals: Signals, gate: Gate
) -> None:
    """The standard library logs it; the other callbacks are called."""
    called = threading.Event()
    future = pool.submit(works.aheld, signals.path, gate.path, 3)
    future.add_done_callback(lambda _: 1 / 0)
    future.add_done_callback(lambda _: called.set())
    with caplog.at_level(logging.ERROR, "concurrent.futures"):
        gate.open()
        assert called.wait(DEADLINE)
    assert "exception calling callback" in caplog.text
    assert future.result() == 3
    assert pool.submit(works.add, 1).result(DEADLINE) == 1


def test_a_slow_callback_of_another_future_delays_no_result(
    pool: Any, signals: Signals, gate: Gate
) -> None:
    """Who waits for a result reads the reports of others, but does not call their callbacks."""
    called, released = threading.Event(), threading.Event()
    other = pool.submit(works.aheld, signals.path, gate.path)
    other.add_done_callback(lambda _: (called.set(), released.wait(DEADLINE)))
    future = pool.submit(works.endless, signals.path)
    threading.Timer(0.05, gate.open).start()
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        future.result(0.5)
    assert time.monotonic() - began < DEADLINE / 2
    assert called.wait(DEADLINE)
    released.set()
    future.cancel()


def test_a_callback_may_submit_and_cancel(pool: Any, signals: Signals) -> None:
    endless = pool.submit(works.endless, signals.path)
    second: concurrent.futures.Future[Any] = concurrent.futures.Future()

    def callback(_: Any) -> None:
        endless.cancel()
        second.set_result(pool.submit(works.aadd, 2))

    pool.submit(works.add, 1).add_done_callback(callback)
    assert second.result(DEADLINE).result(DEADLINE) == 2
    concurrent.futures.wait([endless], DEADLINE)
    assert endless.cancelled()


@everywhere
def test_many_threads_submit_at_once(pool: Any) -> None:
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        sums = threads.map(
            lambda n: sum(
                future.result(DEADLINE)
                for future in [pool.submit((works.add, works.aadd)[i % 2], n) for i in range(25)]
            ),
            range(16),
        )
    assert list(sums) == [25 * n for n in range(16)]


# -- in asyncio ---------------------------------------------------------------


@everywhere
def test_wrap_future_and_run_in_executor(pool: Any) -> None:
    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        return await asyncio.gather(
            asyncio.wrap_future(pool.submit(works.aadd, 1)),
            asyncio.wrap_future(pool.submit(works.add, 2)),
            loop.run_in_executor(pool, works.aadd, 3),
            loop.run_in_executor(pool, works.add, 4),
        )

    assert asyncio.run(main()) == [1, 2, 3, 4]


def test_a_timeout_around_a_wrapped_future_stops_the_coroutine(pool: Any, signals: Signals) -> None:
    future = pool.submit(works.endless, signals.path)

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await asyncio.wrap_future(future)

    asyncio.run(main())
    concurrent.futures.wait([future], DEADLINE)
    assert future.cancelled()


def test_the_standard_executor_takes_the_place_of_ours(pool: Any) -> None:
    """Code written for ``Executor`` works with it: here is some."""
    began = time.monotonic()
    futures = {pool.submit(pow, n, 2): n for n in range(20)}
    for future in concurrent.futures.as_completed(futures, DEADLINE):
        assert future.result() == futures[future] ** 2
        assert type(future) is ConcurrentFuture
    assert list(pool.map(pow, range(5), range(5))) == [1, 1, 4, 27, 256]
    assert time.monotonic() - began < DEADLINE
    assert isinstance(Blocking(pool).call(works.pid), int)
