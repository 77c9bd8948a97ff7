"""Contract: what blocks a worker's event loop is named while it does so; lag is known."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from aplex import current_worker
from aplex.load_balancers import Affinity, Average, LeastLag, PowerOfTwoChoices, RoundRobin
from tests.support import works
from tests.support.callers import DEADLINE, ENGINES, LOOPS, Caller, make_pool
from tests.support.signals import Gate, Signals

pytestmark = pytest.mark.few_engines

QUICK = pytest.mark.parametrize("engine", ["thread", "template"], indirect=True)
BLOCKING = pytest.mark.parametrize("face", ["blocking"], indirect=True)


async def prompt() -> None:
    pass


async def blocked(signals: str, gate: str) -> int:
    """Hold up the loop until the test opens the gate."""
    await asyncio.sleep(0)
    works.held(signals, gate)
    return current_worker().index


async def index(*_: Any) -> int:
    return current_worker().index


class Told(logging.Handler):
    """Waits for warnings of the logger, by which a test goes on."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []
        self.told = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())
        self.told.set()

    def forget(self) -> None:
        self.texts.clear()
        self.told.clear()


@pytest.fixture
def told() -> Any:
    handler = Told()
    logging.getLogger("aplex").addHandler(handler)
    yield handler
    logging.getLogger("aplex").removeHandler(handler)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("loop", LOOPS)
def test_what_blocks_a_loop_is_named_while_it_does_so_and_once(
    engine: str, loop: str, told: Told, signals: Signals, gate: Gate
) -> None:
    with make_pool(engine, loop=loop, slow_callback=0.1) as pool:
        pool.submit(prompt).result(DEADLINE)  # which imports this, and may take its time
        told.forget()
        future = pool.submit(blocked, signals.path, gate.path)
        assert told.told.wait(DEADLINE), "it is told of while the gate is closed"
        assert not future.done()
        gate.open()
        future.result(DEADLINE)
        assert pool.submit(blocked, signals.path, gate.path).result(DEADLINE) == 0
        pool.submit(works.aburn, 0.5).result(DEADLINE)
    text = told.texts[0]
    assert "test_contract_watched_loop.blocked" in text
    assert "works.held(signals, gate)" in text
    assert "pass_gate(gate)" in text, "the stack goes to where it blocks"
    assert "slot 0" in text
    assert sum("watched_loop.blocked" in each for each in told.texts) == 1


@QUICK
@BLOCKING
def test_plain_functions_and_prompt_coroutines_are_not_told_of(
    new_caller: Callable[..., Caller], told: Told
) -> None:
    caller = new_caller(slow_callback=0.2)
    futures = [caller.submit(works.burn, 0.6), *(caller.submit(works.aspan, 0.5) for _ in range(9))]
    for future in futures:
        caller.result(future)
    assert told.texts == []


@QUICK
@BLOCKING
def test_it_can_be_turned_off(
    new_caller: Callable[..., Caller], told: Told, signals: Signals, gate: Gate
) -> None:
    caller = new_caller(slow_callback=None)
    future = caller.submit(blocked, signals.path, gate.path)
    signals.expect("started None")
    end = time.monotonic() + DEADLINE
    while caller.pool.stats().workers[0].loop_lag < 0.7:
        assert time.monotonic() < end
        time.sleep(0.01)  # the lag grows by itself
    gate.open()
    caller.result(future)
    assert told.texts == []


@QUICK
@BLOCKING
def test_the_lag_of_a_loop_that_waits_is_small(new_caller: Callable[..., Caller]) -> None:
    caller = new_caller()
    future = caller.submit(works.aspan, 0.5)
    time.sleep(0.3)
    assert caller.pool.stats().workers[0].loop_lag < 0.1
    caller.result(future)


@QUICK
@BLOCKING
@pytest.mark.parametrize("balancer", [RoundRobin, Average, LeastLag, PowerOfTwoChoices])
def test_a_stalled_worker_gets_no_coroutines_while_others_are_free(
    new_caller: Callable[..., Caller], balancer: Any, signals: Signals, gate: Gate
) -> None:
    caller = new_caller(pool_size=2, load_balancer=balancer)
    caller.pool.start()
    stuck = caller.submit(blocked, signals.path, gate.path)
    signals.expect("started None")
    time.sleep(0.4)  # it is stalled when its turn takes a quarter of a second
    assert max(worker.loop_lag for worker in caller.pool.stats().workers) >= 0.4
    others = [caller.submit(index) for _ in range(50)]
    free = {caller.result(other) for other in others}
    gate.open()
    assert free == {1 - caller.result(stuck)}


@QUICK
def test_works_of_one_key_meet_the_same_worker(new_caller: Callable[..., Caller]) -> None:
    caller = new_caller(pool_size=3, load_balancer=Affinity)
    seen: dict[str, set[int]] = {}
    for _ in range(5):
        for key in "abcdefgh":
            future = caller.submit(index, load_balancing_meta=key)
            seen.setdefault(key, set()).add(caller.result(future))
    assert all(len(each) == 1 for each in seen.values())
    assert len(set().union(*seen.values())) > 1


@pytest.mark.parametrize("engine", ["template"], indirect=True)
@BLOCKING
def test_a_key_goes_to_the_successor_of_its_worker(new_caller: Callable[..., Caller]) -> None:
    caller = new_caller(pool_size=3, load_balancer=Affinity, max_tasks_per_child=2)

    def call(work: Callable[..., Any]) -> Any:
        return caller.result(caller.submit(work, load_balancing_meta="key"))

    seen = [call(works.apid) for _ in range(8)]
    assert len(set(seen)) == 4
    assert len({call(index) for _ in range(4)}) == 1
    assert os.getpid() not in seen
