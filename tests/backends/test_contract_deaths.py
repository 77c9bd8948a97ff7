"""Contract (faults): a dead worker fails only what it had started, and is replaced."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from aplex import AplexWorkerError, WorkerLostError
from aplex.exceptions import BrokenPoolError
from tests.support import works
from tests.support.callers import KILLED, LOOPS, PROCESSES, Awaiting, Caller
from tests.support.signals import Gate, Signals

pytestmark = pytest.mark.needs("process")  # how they die

PROMPTLY = 1.0
"""Seconds that the contract gives."""
HOW = {"SIGKILL": -KILLED, "SIGSEGV": -signal.SIGSEGV, "exit": 7}
BLOCKING = pytest.mark.parametrize("face", ["blocking"], indirect=True)
EVERY_PROCESS = pytest.mark.parametrize("engine", PROCESSES, indirect=True)
SPAWN = pytest.mark.parametrize("engine", ["template"], indirect=True)


@EVERY_PROCESS
@BLOCKING
@pytest.mark.parametrize(
    ("die", "how"), [(works.die, "SIGKILL"), (works.adie, "SIGSEGV"), (works.adie, "exit")]
)
def test_a_death_is_told_promptly_and_says_how(
    new_caller: Callable[..., Caller], how: str, die: Callable[..., Any]
) -> None:
    caller = new_caller()
    pid = caller.call(works.pid)
    began = time.monotonic()
    error = caller.raised(die, how)
    assert time.monotonic() - began < PROMPTLY
    assert isinstance(error, WorkerLostError)
    assert isinstance(error, AplexWorkerError)
    assert (error.pid, error.exitcode) == (pid, HOW[how])
    assert f"worker process {pid}" in str(error)
    name = KILLED.name if how == "SIGKILL" else how
    assert (f"killed by {name}" if how != "exit" else "exited with code 7") in str(error)
    assert "1 work in flight" in str(error)
    assert caller.call(works.pid) != pid


@EVERY_PROCESS
@BLOCKING
@pytest.mark.parametrize("loop", LOOPS)
def test_only_started_works_fail_the_others_run_elsewhere(
    new_caller: Callable[..., Caller], loop: str, signals: Signals, gate: Gate
) -> None:
    caller = new_caller(loop=loop, max_works_per_worker=8)
    pid = caller.call(works.apid)
    for _ in range(50):  # functions are quick: several are sent ahead
        caller.call(works.add, 1)
    started = [caller.submit(held, signals.path, gate.path) for held in (works.held, works.aheld)]
    signals.expect("started None", "started None")
    behind = [caller.submit(works.pid) for _ in range(20)]
    assert not any(future.done() for future in behind)
    os.kill(pid, signal.SIGKILL)
    began = time.monotonic()
    caller.wait(*started)
    assert time.monotonic() - began < PROMPTLY
    for future in started:
        assert isinstance(future.exception(), WorkerLostError)
    new = {caller.result(future) for future in behind}
    assert len(new) == 1
    assert pid not in new
    assert "1 workers" in repr(caller.pool)


@SPAWN
def test_the_works_of_other_workers_go_on(
    new_caller: Callable[..., Caller], signals: Signals, gate: Gate
) -> None:
    caller = new_caller(pool_size=2)
    pids: set[int] = set()
    while len(pids) < 2:
        pids.add(caller.call(works.apid))
    held = [caller.submit(works.aheld, signals.path, gate.path) for _ in range(10)]
    signals.expect(*["started None"] * 10)
    victim, survivor = pids
    os.kill(victim, signal.SIGKILL)
    began = time.monotonic()
    while not any(future.done() for future in held):
        assert time.monotonic() - began < PROMPTLY
        time.sleep(0.001)
    caller.call(works.aadd, 1)  # all of them are told at once
    lost = [future for future in held if future.done()]
    assert 0 < len(lost) < 10
    for future in lost:
        error = future.exception()
        assert isinstance(error, WorkerLostError)
        assert error.in_flight == len(lost)
    gate.open()
    for future in held:
        if future not in lost:
            assert caller.result(future) is None
    now = {caller.call(works.pid) for _ in range(20)}
    assert survivor in now
    assert victim not in now


@SPAWN
def test_a_death_in_the_middle_of_a_flood(new_caller: Callable[..., Caller]) -> None:
    """Each work has one end: its result, or the loss of its worker."""
    caller = new_caller(pool_size=2)
    pid = caller.call(works.pid)
    futures = [caller.submit((works.add, works.aadd)[n % 2], n) for n in range(1000)]
    os.kill(pid, signal.SIGKILL)
    caller.wait(*futures)
    errors = [future.exception() for future in futures]
    assert {type(error) for error in errors} <= {type(None), WorkerLostError}
    for n, future in enumerate(futures):
        assert errors[n] or future.result() == n
    assert errors.count(None) > 300


@SPAWN
@BLOCKING
def test_many_deaths_one_after_another(new_caller: Callable[..., Caller]) -> None:
    """A worker that served before it died is always replaced."""
    caller = new_caller()
    for n in range(4):
        assert isinstance(caller.raised(works.die, "SIGKILL"), WorkerLostError)
        assert caller.call(works.aadd, n) == n


@SPAWN
@pytest.mark.parametrize("face", ["awaitable"], indirect=True)
def test_a_timeout_ends_with_the_worker(
    new_caller: Callable[..., Awaiting], signals: Signals, gate: Gate
) -> None:
    """``wait_for`` waits for the cancel, and a dead worker will not answer it."""
    caller = new_caller()
    pid = caller.call(works.pid)

    async def main() -> None:
        future = caller.pool.submit(works.stubborn, signals.path, gate.path)
        waiting = asyncio.create_task(asyncio.wait_for(future, 0.1))
        await signals.heard("started", "refused")
        os.kill(pid, signal.SIGKILL)
        await asyncio.wait([waiting], timeout=PROMPTLY)
        assert waiting.done()
        assert isinstance(waiting.exception(), TimeoutError)

    caller.run(main())


@SPAWN
def test_a_cancelled_work_whose_worker_dies_ends_cancelled(
    new_caller: Callable[..., Caller], signals: Signals, gate: Gate
) -> None:
    caller = new_caller()
    pid = caller.call(works.pid)
    future = caller.submit(works.stubborn, signals.path, gate.path)
    signals.expect("started")
    caller.cancel(future)
    signals.expect("refused")
    os.kill(pid, signal.SIGKILL)
    caller.wait(future, timeout=PROMPTLY)
    assert future.cancelled()


@SPAWN
def test_an_idle_worker_that_dies_is_replaced(new_caller: Callable[..., Caller]) -> None:
    caller = new_caller()
    pid = caller.call(works.pid)
    os.kill(pid, signal.SIGKILL)
    assert caller.call(works.pid) != pid


@SPAWN
def test_a_worker_that_dies_during_the_shutdown(
    new_caller: Callable[..., Caller], signals: Signals, gate: Gate
) -> None:
    caller = new_caller()
    pid = caller.call(works.pid)
    held = caller.submit(works.held, signals.path, gate.path)
    behind = [caller.submit(works.add, n) for n in range(5)]
    signals.expect("started None")
    caller.pool.shutdown(wait=False)
    os.kill(pid, signal.SIGKILL)
    assert isinstance(caller.error(held), WorkerLostError)
    assert [caller.result(future) for future in behind] == list(range(5))
    caller.pool.shutdown()


@pytest.mark.parametrize("engine", ["thread", "template"], indirect=True)
def test_a_bug_of_ours_breaks_the_pool_and_leaves_nothing(
    new_caller: Callable[..., Caller], signals: Signals, caplog: pytest.LogCaptureFixture
) -> None:
    """Workers are ended, whatever they run; all futures have the reason."""
    caller = new_caller(pool_size=2)
    bug = ArithmeticError("a bug")

    def take_over() -> None:
        raise bug

    futures = [caller.submit(works.endless, signals.path, n) for n in range(2)]
    signals.expect("started 0", "started 1")
    caller.pool._manager._listener.call_soon(take_over)
    for future in futures:
        error = caller.error(future)
        assert isinstance(error, BrokenPoolError)
        assert error.__cause__ is bug
    with pytest.raises(BrokenPoolError, match="bug of aplex"):
        caller.submit(works.add, 1)
    assert "a bug" in caplog.text


@pytest.mark.parametrize("engine", ["thread"], indirect=True)
def test_a_work_that_stops_its_loop_breaks_a_pool_of_threads(
    new_caller: Callable[..., Caller], caplog: pytest.LogCaptureFixture
) -> None:
    """A process would be replaced; a thread cannot be, and nobody may wait for ever."""
    caller = new_caller()
    future = caller.submit(works.stop_loop)
    assert isinstance(caller.error(future), BrokenPoolError)
    assert "a work has broken its worker's event loop" in caplog.text
