"""Contract: what ``dump()`` tells of works, wherever and however they stand."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import FrozenInstanceError

import pytest

from aplex import PoolDump, WorkDump
from tests.support import works
from tests.support.callers import DEADLINE, ENGINES, Caller, caller_of, everywhere, make_pool
from tests.support.processes import stop
from tests.support.signals import Gate, Signals

pytestmark = pytest.mark.few_engines


@pytest.fixture(params=ENGINES)
def fresh(request: pytest.FixtureRequest, face: str) -> Iterator[Caller]:
    """A caller of every engine, with one worker of its own."""
    caller = caller_of(face, request.param, pool_size=1)
    yield caller
    caller.close()


def dump(caller: Caller, timeout: float = DEADLINE) -> PoolDump:
    """Dump by the face of the caller."""
    if not caller.awaitable:
        told: PoolDump = caller.pool.dump(timeout)
        return told
    return caller.run(caller.pool.dump(timeout))  # type: ignore[no-any-return]


def dumped(caller: Caller, wanted: Callable[[list[WorkDump]], bool]) -> list[WorkDump]:
    """Dump until the works are as wanted: a work says that it has begun before it waits."""
    end = time.monotonic() + DEADLINE
    while not wanted(told := list(dump(caller).works)):
        assert time.monotonic() < end, told
        time.sleep(0.01)
    return told


def names(work: WorkDump) -> list[str]:
    return [frame.function.rpartition(".")[2] for frame in work.stack]


@everywhere
def test_a_function_shows_the_stack_of_its_thread(
    caller: Caller, signals: Signals, gate: Gate
) -> None:
    future = caller.submit(works.held, signals.path, gate.path)
    signals.expect("started None")
    told = dump(caller)
    gate.open()
    caller.wait(future)
    [work] = told.works
    assert (work.id, work.kind, work.state) == (future.id, "function", "runs")
    assert work.name == "tests.support.works.held"
    assert names(work)[0] == "held"
    assert work.stack[0].file == works.__file__
    assert work.seconds is not None
    assert 0 <= work.seconds < DEADLINE
    assert all(worker.answered for worker in told.workers)


def test_a_coroutine_shows_what_it_awaits_to_the_innermost(
    fresh: Caller, signals: Signals, gate: Gate
) -> None:
    future = fresh.submit(works.nested, signals.path, gate.path)
    signals.expect("nested")
    [work] = dumped(fresh, lambda told: names(told[0])[-1:] == ["wait"])
    gate.open()
    fresh.wait(future)
    assert (work.id, work.kind, work.state) == (future.id, "coroutine", "runs")
    # A coroutine, a generator that is iterated, a task that is awaited, a coroutine.
    assert names(work) == ["nested", "steps", "nested_leaf", "apass_gate", "wait"]
    assert work.seconds is not None
    assert 0 <= work.seconds < DEADLINE


def test_tasks_that_are_awaited_together_are_told(
    fresh: Caller, signals: Signals, gate: Gate
) -> None:
    futures = [
        fresh.submit(works.in_group, signals.path, gate.path),
        fresh.submit(works.in_gather, signals.path, gate.path),
    ]
    signals.expect("group", "gather")
    told = dumped(fresh, lambda told: [len(work.tasks) for work in told] == [2, 2])
    gate.open()
    fresh.wait(*futures)
    for work in told:
        for task in work.tasks:
            assert [frame.function for frame in task.stack][:1] == ["apass_gate"]
    assert {task.name for task in told[0].tasks} == {"left", "right"}


def test_a_loop_that_is_blocked_does_not_keep_the_worker_from_answering(
    fresh: Caller, signals: Signals, gate: Gate
) -> None:
    waiting = fresh.submit(works.aheld, signals.path, gate.path)
    signals.expect("started None")
    blocking = fresh.submit(works.blocks_loop, signals.path, gate.path)
    signals.expect("blocks")
    told = {work.id: work for work in dump(fresh).works}
    gate.open()
    fresh.wait(waiting, blocking)
    assert "blocks_loop" in names(told[blocking.id])
    assert told[blocking.id].state == "runs"
    assert names(told[waiting.id])[0] == "aheld"


def test_works_that_have_not_begun_are_named(fresh: Caller, signals: Signals, gate: Gate) -> None:
    held = fresh.submit(works.held, signals.path, gate.path)
    signals.expect("started None")
    behind = fresh.submit(works.add, 1)
    [first, *rest] = dump(fresh).works
    gate.open()
    fresh.wait(held, behind)
    assert first.id == held.id
    assert [(work.id, work.state) for work in rest] in ([], [(behind.id, "waits")])


@pytest.mark.parametrize("how", ["stopped", "in C"])
def test_a_worker_that_does_not_answer_is_said_so_with_what_is_known(how: str) -> None:
    with make_pool("template", pool_size=2) as pool:
        pool.start()
        stopped = how == "stopped"
        future = pool.submit(time.sleep, 60) if stopped else pool.submit(sum, range(10**13))
        try:
            end = time.monotonic() + DEADLINE
            while not (stuck := [w for w in pool.stats().workers if w.running]):
                assert time.monotonic() < end
            pid = stuck[0].pid
            assert pid is not None
            if stopped:
                stop(pid)
            told = pool.dump(3)
            if stopped:
                os.kill(pid, signal.SIGCONT)
        finally:
            pool.kill_workers()
    assert {worker.pid == pid: worker.answered for worker in told.workers} == {
        True: False,
        False: True,
    }
    [work] = told.works
    assert (work.id, work.state, work.stack) == (future.id, "runs", ())
    assert work.name == ("time.sleep" if stopped else "builtins.sum")
    assert work.seconds is not None
    assert "has not answered within 3 s" in str(told)


def test_it_prints_well(engine: str, signals: Signals, gate: Gate) -> None:
    with make_pool(engine) as pool:
        future = pool.submit(works.held, signals.path, gate.path)
        signals.expect("started None")
        text = str(pool.dump())
        gate.open()
        future.result()
    head, _, worker, work, *lines = text.split("\n")
    assert f"process {os.getpid()}" in head
    assert "1 aboard, 0 waiting, 1 workers" in head
    assert worker.startswith("worker 1 in slot 0")
    assert work.startswith("  work 1: function tests.support.works.held runs for ")
    place = "tests/support/works.py" if engine == "remote" else works.__file__  # it was shipped
    assert re.match(rf'      File ".*{re.escape(place)}", line ', lines[0])
    assert lines[1].strip() != ""


def test_a_pool_that_has_no_workers(engine: str) -> None:
    pool = make_pool(engine)
    assert pool.dump().workers == ()
    pool.submit(works.add, 1).result()
    assert pool.dump().works == ()
    pool.shutdown()
    told = pool.dump()
    assert (told.workers, told.waiting) == ((), 0)
    with pytest.raises(FrozenInstanceError):
        told.waiting = 1  # type: ignore[misc]


def test_the_time_is_checked(engine: str) -> None:
    with make_pool(engine) as pool:
        with pytest.raises(ValueError, match="timeout"):
            pool.dump(-1)
        with pytest.raises(TypeError, match="timeout"):
            pool.dump("1")  # type: ignore[arg-type]


def test_a_signal_handler_that_breaks_in_is_told_what_is_known() -> None:
    told: list[PoolDump] = []
    with make_pool("template") as pool:
        pool.submit(works.add, 1).result()
        before = signal.signal(signal.SIGUSR1, lambda *_: told.append(pool.dump(0.2)))
        try:
            pool._manager.within(lambda: signal.raise_signal(signal.SIGUSR1))
        finally:
            signal.signal(signal.SIGUSR1, before)
    assert [worker.answered for worker in told[0].workers] == [False]


def test_a_cancelled_dump_leaves_nothing_behind(signals: Signals) -> None:
    async def main() -> None:
        async with make_pool("template", awaitable=True) as pool:
            await pool.submit(works.add, 1)
            [worker] = pool.stats().workers
            assert worker.pid is not None
            stop(worker.pid)
            task = asyncio.create_task(pool.dump(DEADLINE))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            os.kill(worker.pid, signal.SIGCONT)
            assert pool._manager._inquiries == {}
            assert await pool.submit(works.add, 2) == 2

    asyncio.run(main())


def test_a_worker_that_dies_while_it_is_asked_is_not_waited_for() -> None:
    with make_pool("template") as pool:
        pool.submit(works.add, 1).result()
        [worker] = pool.stats().workers
        assert worker.pid is not None
        stop(worker.pid)
        threading.Timer(0.1, os.kill, (worker.pid, signal.SIGKILL)).start()
        began = time.monotonic()
        pool.dump(DEADLINE)
        assert time.monotonic() - began < DEADLINE / 2


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
def test_a_dump_signal_that_cannot_be_handled(engine: str) -> None:
    for number in (signal.SIGKILL, 1000):
        with pytest.raises(ValueError, match="dump_signal"):
            make_pool(engine, dump_signal=number)
    with pytest.raises(TypeError, match="dump_signal"):
        make_pool(engine, dump_signal="SIGUSR1")
