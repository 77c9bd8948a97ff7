"""Contract: ``time_limit``, ``deadline``, and functions that are stopped while they run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aplex import WorkerLostError
from tests.support import stuck, works
from tests.support.callers import Caller
from tests.support.signals import Gate, Signals

pytestmark = pytest.mark.few_engines

TIMEOUT, GRACE = 0.2, 0.3
PROMPT = 0.5
"""Seconds that are promised beyond time_limit and kill_after."""
NOISE = 1.5
"""Seconds that a busy machine may add."""


@pytest.fixture
def warm(new_caller: Callable[..., Caller]) -> Callable[..., Caller]:
    """Make callers whose workers have started."""

    def make(**options: Any) -> Caller:
        caller = new_caller(**options)
        caller.call(works.aadd, 1)
        caller.call(works.add, 1)
        return caller

    return make


def limited(caller: Caller, **options: Any) -> Caller:
    return caller.through(caller.pool.options(**{"kill_after": GRACE, **options}))


def assert_timed_out(caller: Caller, future: Any, began: float, promised: float) -> None:
    error = caller.error(future)
    assert type(error) is TimeoutError, error
    assert promised <= time.monotonic() - began < promised + PROMPT + NOISE


@pytest.mark.parametrize("engine", ["fork"])
def test_a_loop_in_a_forked_worker_is_stopped_by_one_rung_or_the_other(
    warm: Callable[..., Caller], signals: Signals
) -> None:
    """Workers are forked by a thread. There CPython 3.13 and 3.14 run no signal handler in a loop.

    (That is so without aplex as well. Whatever waits in the system is interrupted all the same.)
    """
    caller = warm()
    began = time.monotonic()
    future = limited(caller, time_limit=TIMEOUT).submit(stuck.busy, signals.path)
    error = caller.error(future)
    assert type(error) is TimeoutError, error
    assert TIMEOUT <= time.monotonic() - began < TIMEOUT + GRACE + PROMPT + NOISE
    assert caller.call(works.add, 1, 1) == 2


@pytest.mark.needs("posix")  # signals interrupt functions
@pytest.mark.parametrize(
    ("engine", "work"),
    [(e, w) for e in ("template", "fork") for w in stuck.STOPPED if (e, w) != ("fork", stuck.busy)],
    indirect=["engine"],
)
def test_the_first_rung_harms_nobody(
    warm: Callable[..., Caller], signals: Signals, gate: Gate, work: Callable[[str], object]
) -> None:
    """The worker stays, with the coroutines in_flight and the functions behind."""
    caller = warm()
    pid = caller.call(works.pid)
    neighbour = caller.submit(works.apass_gate, gate.path)
    began = time.monotonic()
    # subprocess gives a program 0.25 s to mind a Ctrl-C of its own.
    future = limited(caller, time_limit=TIMEOUT, kill_after=9.0).submit(work, signals.path)
    behind = caller.submit(works.pid)
    assert_timed_out(caller, future, began, TIMEOUT)
    assert caller.result(behind) == pid
    gate.open()
    caller.result(neighbour)
    if work is stuck.asleep:
        signals.expect("cleaned up")


@pytest.mark.parametrize("engine", ["template"])
@pytest.mark.parametrize("work", stuck.KILLED)
def test_the_last_rung_replaces_the_worker(
    warm: Callable[..., Caller], signals: Signals, work: Callable[[str], object]
) -> None:
    """What had not started loses nothing; coroutines that end in time do not, either."""
    caller = warm()
    pid = caller.call(works.pid)
    began = time.monotonic()
    future = limited(caller, time_limit=TIMEOUT).submit(work, signals.path)
    signals.expect("running")
    behind = [caller.submit(works.pid) for _ in range(5)]
    assert_timed_out(caller, future, began, TIMEOUT + GRACE)
    assert {caller.result(other) for other in behind} != {pid}


@pytest.mark.parametrize("engine", ["template"])
def test_a_coroutine_that_does_not_end_within_the_grace_dies_with_its_worker(
    warm: Callable[..., Caller], signals: Signals, gate: Gate
) -> None:
    caller = warm()
    neighbour = caller.submit(works.apass_gate, gate.path)
    future = limited(caller, time_limit=TIMEOUT, retries=3).submit(stuck.ignores, signals.path)
    assert type(caller.error(future)) is TimeoutError
    error = caller.error(neighbour)
    assert isinstance(error, WorkerLostError)
    assert "stuck.ignores still ran" in str(error)
    assert "stuck.ignores still ran" in (error.reason or "")
    assert caller.call(works.add, 1, 1) == 2


@pytest.mark.parametrize("engine", ["template"])
def test_a_function_that_was_cancelled_climbs_the_ladder_too(
    warm: Callable[..., Caller], signals: Signals
) -> None:
    caller = warm()
    future = limited(caller).submit(stuck.keeps_the_lock, signals.path)
    signals.expect("running")
    assert caller.cancel(future)
    caller.wait(future)
    assert future.cancelled()
    assert caller.call(works.add, 1, 1) == 2


@pytest.mark.needs("posix")  # signals interrupt functions
@pytest.mark.parametrize("engine", ["template"])
def test_who_catches_the_interrupt_keeps_the_result(
    warm: Callable[..., Caller], signals: Signals
) -> None:
    caller = warm()
    view = limited(caller, kill_after=20.0)
    # Not `TIMEOUT`: on a busy machine it may be over before the function has come so far.
    future = limited(view, time_limit=1.0, kill_after=20.0).submit(stuck.swallows, signals.path)
    assert caller.result(future) == "WorkInterrupted"
    cancelled = view.submit(stuck.swallows, signals.path)
    signals.expect("running", "running")
    # False, if the function has caught it and returned before we come back from the call.
    assert caller.cancel(cancelled) or cancelled.done()
    assert caller.result(cancelled) == "WorkInterrupted"


@pytest.mark.needs("posix")  # signals interrupt functions
@pytest.mark.parametrize("engine", ["template"])
def test_an_interrupt_that_a_finalizer_swallows_comes_again(
    warm: Callable[..., Caller], signals: Signals
) -> None:
    caller = warm()
    pid = caller.call(works.pid)
    future = limited(caller, kill_after=20.0).submit(stuck.in_a_finalizer, signals.path)
    signals.expect("running")
    caller.cancel(future)
    caller.wait(future)
    assert future.cancelled()
    assert caller.call(works.pid) == pid


@pytest.mark.needs("posix")  # signals interrupt functions
@pytest.mark.parametrize("engine", ["template", "fork"], indirect=True)
def test_an_import_is_not_interrupted(
    warm: Callable[..., Caller], signals: Signals, tmp_path: Path
) -> None:
    """It could leave the import lock held, and the loop of the worker waiting for it for ever."""
    (tmp_path / "slow_module.py").write_text(stuck.SLOW_MODULE)
    caller = warm()
    pid = caller.call(works.pid)
    view = limited(caller, time_limit=TIMEOUT, kill_after=20.0)
    future = view.submit(stuck.imports, signals.path, str(tmp_path))
    signals.expect("imported")
    assert type(caller.error(future)) is TimeoutError
    assert caller.call(works.pid) == pid


def test_a_chunk_is_stopped_as_a_whole(warm: Callable[..., Caller]) -> None:
    caller = limited(warm(), time_limit=TIMEOUT)
    with pytest.raises(TimeoutError):
        list(caller.map(works.span, [0.0, 0.7, 0.0], chunksize=3))
    outcomes = caller.map(works.span, [0.0, 0.7, 0.0], chunksize=3, return_outcomes=True)
    assert [type(outcome.exception) for outcome in outcomes] == [TimeoutError] * 3


def test_a_timeout_of_a_coroutine(warm: Callable[..., Caller], signals: Signals) -> None:
    began = time.monotonic()
    caller = warm()
    future = limited(caller, time_limit=TIMEOUT).submit(stuck.coroutine, signals.path)
    error = caller.error(future)
    assert type(error) is TimeoutError
    assert "stuck.coroutine did not end within 0.2 s" in str(error)
    assert time.monotonic() - began < stuck.LONG
    assert caller.result(limited(caller, time_limit=9).submit(works.aadd, 1, y=2)) == 3


def test_a_coroutine_of_a_plain_callable_has_the_timeout_too(
    warm: Callable[..., Caller], signals: Signals
) -> None:
    work = works.started_coroutine(stuck.coroutine)
    caller = warm()
    error = limited(caller, time_limit=TIMEOUT).raised(work, signals.path)
    assert type(error) is TimeoutError


def test_a_thread_cannot_be_stopped_and_the_error_says_so(
    warm: Callable[..., Caller], engine: str, signals: Signals, gate: Gate
) -> None:
    """The same of a function that must not be interrupted."""
    caller = warm()
    view = limited(caller, time_limit=TIMEOUT, interruptible=engine == "thread")
    error = view.raised(works.held, signals.path, gate.path)
    assert type(error) is TimeoutError
    assert "cannot be stopped" in error.__notes__[0]
    gate.open()
    signals.expect("passed None")
    assert caller.call(works.add, 1, 1) == 2


def test_a_deadline_counts_from_submit_wherever_the_work_is(
    warm: Callable[..., Caller], signals: Signals, gate: Gate
) -> None:
    caller = warm(max_works_per_worker=1)
    first = caller.submit(works.held, signals.path, gate.path)
    signals.expect("started None")
    view = limited(caller, deadline=TIMEOUT)
    began = time.monotonic()
    waiting = [view.submit(work, 1) for work in (works.add, works.aadd)]
    for future in waiting:
        assert_timed_out(caller, future, began, TIMEOUT)
    gate.open()
    caller.result(first)
    error = view.raised(stuck.coroutine, signals.path)
    assert type(error) is TimeoutError
    assert view.call(works.add, 1, 1) == 2


@pytest.mark.parametrize("face", ["awaitable"])
@pytest.mark.parametrize("engine", ["template"])
def test_a_caller_whose_loop_is_blocked_harms_no_worker(
    warm: Callable[..., Caller], signals: Signals
) -> None:
    """The function has ended; its report lies unread for longer than time_limit and kill_after."""
    caller = warm()
    pid = caller.call(works.pid)

    async def block() -> Any:
        future = limited(caller, time_limit=TIMEOUT).pool.submit(works.span, 0.05)
        time.sleep(TIMEOUT + 3 * GRACE)
        return await future

    assert caller.run(asyncio.wait_for(block(), 9))
    assert caller.call(works.pid) == pid


@pytest.mark.parent_only
@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"time_limit": -1}, ValueError),
        ({"time_limit": "1"}, TypeError),
        ({"time_limit": float("nan")}, ValueError),
        ({"deadline": float("nan")}, ValueError),
        ({"kill_after": -0.1}, ValueError),
        ({"kill_after": None}, TypeError),
        ({"interruptible": 1}, TypeError),
    ],
)
def test_nonsense_is_refused(caller: Caller, options: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(options))):
        caller.pool.options(**options)
