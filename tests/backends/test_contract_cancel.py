"""Contract: ``cancel`` is a request. Waiting works, running coroutines, running functions."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import works
from tests.support.callers import DEADLINE, LOOPS, Caller, everywhere
from tests.support.signals import Gate, Signals


def assert_cancelled(caller: Caller, future: Any) -> None:
    caller.wait(future)
    assert future.cancelled()
    assert future.done()
    with pytest.raises(caller.Cancelled):
        future.result()


@everywhere
def test_a_running_coroutine_is_cancelled_and_cleans_up(caller: Caller, signals: Signals) -> None:
    future = caller.submit(works.endless, signals.path)
    signals.expect("started work")
    assert caller.cancel(future)
    assert_cancelled(caller, future)
    signals.expect("finally work", within=0.1)


@everywhere
def test_a_decorated_coroutine_is_cancelled_too(
    caller: Caller, signals: Signals, gate: Gate
) -> None:
    future = caller.submit(works.decorated_held, signals.path, gate.path)
    signals.expect("started None")
    assert caller.cancel(future)
    assert_cancelled(caller, future)
    signals.expect("cancelled None", within=0.1)


def test_the_future_ends_when_the_cleanup_has_ended(
    caller: Caller, signals: Signals, gate: Gate
) -> None:
    future = caller.submit(works.clean_up_until, signals.path, gate.path)
    signals.expect("started")
    assert caller.cancel(future)
    signals.expect("cleaning")
    assert caller.call(works.aadd, 1, 1) == 2
    assert not future.done()
    gate.open()
    assert_cancelled(caller, future)
    signals.expect("clean", within=0.1)


@everywhere
def test_a_coroutine_may_refuse_to_be_cancelled(
    caller: Caller, signals: Signals, gate: Gate
) -> None:
    """The future then has its result."""
    future = caller.submit(works.stubborn, signals.path, gate.path)
    signals.expect("started")
    assert caller.cancel(future)
    signals.expect("refused")
    assert not future.done()
    gate.open()
    assert caller.result(future) == "finished"
    assert not future.cancelled()


def test_a_coroutine_may_raise_instead(caller: Caller, signals: Signals) -> None:
    future = caller.submit(works.converting, signals.path)
    signals.expect("started")
    caller.cancel(future)
    error = caller.error(future)
    assert type(error) is LookupError
    assert error.args == ("was cancelled",)


@pytest.mark.needs("posix", "process")  # signals interrupt functions in C
@everywhere
def test_a_running_function_of_a_process_is_interrupted(
    caller: Caller, processes: bool, signals: Signals, gate: Gate
) -> None:
    """One of a thread runs on; so does one that must not be interrupted.

    An awaitable future does not wait for that; a blocking one cannot be cancelled, as with
    ``concurrent.futures``, and has its result.
    """
    if processes:
        future = caller.submit(works.held, signals.path, gate.path, 7)
        signals.expect("started 7")
        assert caller.cancel(future)
        assert_cancelled(caller, future)
    view = caller.pool.options(interruptible=not processes)
    future = caller.through(view).submit(works.held, signals.path, gate.path, 7)
    signals.expect("started 7")
    assert caller.cancel(future) is caller.awaitable
    if caller.awaitable:
        assert_cancelled(caller, future)
    else:
        assert not future.done()
        assert caller.cancel(future) is False
    gate.open()
    signals.expect("passed 7")
    if caller.awaitable:
        assert_cancelled(caller, future)
    else:
        assert caller.result(future) == 7


@pytest.mark.needs("process")  # what runs on hears nothing in C
def test_a_map_is_left_at_once_whatever_runs_on(
    new_caller: Callable[..., Caller], signals: Signals, gate: Gate
) -> None:
    caller = new_caller(pool_size=2)
    view = caller.through(caller.pool.options(interruptible=False))
    results: Any = view.map(works.held, [signals.path] * 2, [gate.path] * 2)
    signals.expect("started None", "started None")
    results.close()
    assert signals.said() == []
    gate.open()


@pytest.mark.parametrize("loop", LOOPS)
def test_a_waiting_work_is_cancelled_at_once_and_never_runs(
    new_caller: Callable[..., Caller], loop: str, signals: Signals, gate: Gate
) -> None:
    caller = new_caller(loop=loop, max_works_per_worker=1)
    first = caller.submit(works.aheld, signals.path, gate.path, 1)
    waiting = [
        caller.submit(held, signals.path, gate.path, 2)
        for held in (works.aheld, works.held, works.decorated_held)
    ]
    signals.expect("started 1")
    for future in waiting:
        assert caller.cancel(future)
        assert future.cancelled()
        assert_cancelled(caller, future)
    gate.open()
    assert caller.result(first) == 1
    assert caller.call(works.add, 1) == 1
    assert signals.said() == ["passed 1"]


@everywhere
def test_a_function_behind_another_one_is_cancelled_at_once(
    caller: Caller, signals: Signals, gate: Gate
) -> None:
    """Wherever it waits, the pool's line or the worker's."""
    for _ in range(50):  # the pool learns that functions are quick, and sends them ahead
        caller.call(works.add, 1)
    first = [caller.submit(works.held, signals.path, gate.path, 1) for _ in range(2)]
    signals.expect("started 1", "started 1")
    behind = [caller.submit(works.held, signals.path, gate.path, 2) for _ in range(6)]
    for future in behind:
        assert caller.cancel(future)
    for future in behind:
        assert_cancelled(caller, future)
    assert not any(future.done() for future in first)
    gate.open()
    assert [caller.result(future) for future in first] == [1, 1]
    caller.wait(*[caller.submit(works.add, 1) for _ in range(8)])
    assert sorted(signals.said()) == ["passed 1", "passed 1"]


@pytest.mark.needs("process")  # interrupted between two lines, it leaves a file open
def test_a_cancel_reaches_the_coroutine_that_a_running_function_returns_later(
    caller: Caller, signals: Signals, gate: Gate
) -> None:
    future = caller.submit(works.held_then_coroutine, signals.path, gate.path)
    signals.expect("started None")
    caller.cancel(future)
    caller.call(works.aadd, 1)
    gate.open()
    assert_cancelled(caller, future)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_cancel_reaches_a_coroutine_that_the_loop_has_no_time_for_yet(
    new_caller: Callable[..., Caller], loop: str, signals: Signals
) -> None:
    """A plain callable has returned it; the worker's loop is held up, and then sees both."""
    caller = new_caller(loop=loop)
    caller.call(works.anothing)
    holding_up = caller.submit(works.aburn, 0.3, signals.path)
    signals.expect("burning")
    future = caller.submit(works.nap, 3)
    assert caller.call(works.add, 1) == 1  # runs on the same thread, after the callable
    assert not holding_up.done()
    assert caller.cancel(future)
    assert_cancelled(caller, future)


@everywhere
def test_a_coroutine_cancelled_before_its_first_step(caller: Caller, signals: Signals) -> None:
    futures = [caller.submit(works.endless, signals.path) for _ in range(50)]
    for future in futures:
        caller.cancel(future)
    for future in futures:
        assert_cancelled(caller, future)


@everywhere
def test_a_cancel_never_hits_another_work(
    caller: Caller, signals: Signals, new_gate: Callable[[], Gate]
) -> None:
    """Whatever the moment at which it comes, and how many works there are."""
    chance = random.Random(7)
    cancelled, kept = [], []
    for n in range(300):
        work = chance.choice([works.add, works.aadd, works.decorated, works.aspan])
        future = caller.submit(work, 0.001 * (n % 5) if work is works.aspan else n)
        if chance.random() < 0.5:
            cancelled.append(future)
            if chance.random() < 0.5:
                caller.cancel(future)
        else:
            kept.append((future, n, work))
    for future in cancelled:
        caller.cancel(future)
    for future, n, work in kept:
        result = caller.result(future)
        assert work is works.aspan or result == n
    caller.wait(*cancelled)
    assert all(future.cancelled() or future.exception() is None for future in cancelled)


def test_cancelling_what_is_done_changes_nothing(caller: Caller) -> None:
    future = caller.submit(works.add, 1)
    assert caller.result(future) == 1
    assert caller.cancel(future) is False
    assert not future.cancelled()
    assert future.result() == 1
    failed = caller.submit(works.fail, LookupError())
    caller.wait(failed)
    assert caller.cancel(failed) is False
    assert type(failed.exception()) is LookupError


def test_cancelling_twice_is_cancelling_once(caller: Caller, signals: Signals) -> None:
    future = caller.submit(works.endless, signals.path)
    signals.expect("started work")
    assert caller.cancel(future)
    caller.cancel(future)
    assert_cancelled(caller, future)
    signals.expect("finally work", within=0.1)


def test_a_cancelled_work_gives_its_place_to_the_next(
    new_caller: Callable[..., Caller], signals: Signals
) -> None:
    caller = new_caller(max_works_per_worker=1)
    for n in range(5):
        future = caller.submit(works.endless, signals.path, n)
        signals.expect(f"started {n}")
        after = caller.submit(works.aadd, n)
        caller.cancel(future)
        assert_cancelled(caller, future)
        assert caller.result(after, DEADLINE) == n


@pytest.mark.needs("linux")  # shared memory for payloads
@pytest.mark.parametrize("engine", ["template"], indirect=True)
@pytest.mark.parametrize("face", ["blocking"], indirect=True)
@pytest.mark.parametrize("why", ["cancelled", "expired"])
def test_what_was_sent_ahead_and_never_runs_gives_its_arguments_back(
    new_caller: Callable[..., Caller], signals: Signals, tmp_path: Path, why: str
) -> None:
    """At once: the function before it may run for long."""
    caller = new_caller()
    for _ in range(100):  # functions are quick: several are sent ahead
        caller.call(works.add, 1)
    late = caller.through(caller.pool.options(deadline=0.3 if why == "expired" else None))
    for number in range(2):
        gate = Gate(tmp_path / f"gate{number}")
        running = caller.submit(works.held, signals.path, gate.path)
        futures = [late.submit(works.add, bytes(100_000) + b"%d" % number, b"") for _ in range(20)]
        signals.expect("started None")
        if why == "cancelled":
            assert all(caller.cancel(future) for future in futures)
        caller.wait(*futures)
        assert not running.done()
        arena = caller.pool._manager._backend._arena
        assert all(arena._is_free(block) for block in arena._blocks.values())
        gate.open()
        caller.wait(running)
        gate.close()
    assert len(arena._blocks) <= 20


@pytest.mark.needs("linux")  # shared memory for payloads
@pytest.mark.parametrize("engine", ["template"], indirect=True)
@pytest.mark.parametrize("face", ["blocking"], indirect=True)
def test_what_was_taken_over_gives_its_arguments_back(
    new_caller: Callable[..., Caller], signals: Signals, gate: Gate
) -> None:
    """Functions are sent ahead to a worker that turns out to be busy; another one runs them."""
    caller = new_caller(pool_size=2)
    for _ in range(200):
        caller.call(works.add, 1)
    held = [caller.submit(works.held, signals.path, gate.path)]
    futures = [caller.submit(works.add, bytes(100_000) + b"%d" % n, b"") for n in range(40)]
    for n, future in enumerate(futures):
        assert caller.result(future) == bytes(100_000) + b"%d" % n
    del future, futures
    arena = caller.pool._manager._backend._arena
    end = time.monotonic() + DEADLINE
    while not all(arena._is_free(block) for block in arena._blocks.values()):
        assert time.monotonic() < end  # the worker lowers a flag, and says nothing
        time.sleep(0.001)
    assert not held[0].done()
    gate.open()
    caller.wait(*held)
