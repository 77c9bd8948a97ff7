"""Collaboration: the Manager replaces workers that end, and gives up; no process, no thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from aplex._common.messages import COROUTINE, RAISED, VALUE, Reports, only
from aplex.exceptions import BrokenPoolError
from aplex.load_balancers import RoundRobin, Worker
from tests.manager.desk import DEADLINE, Desk


def test_a_restart_that_has_to_wait_is_made_by_the_listener(desks: Callable[..., Desk]) -> None:
    desk = desks()
    future = desk.submit()
    desk.backend.die(desk.backend.started[0])
    assert len(desk.backend.started) == 2, "the first at once"
    desk.backend.die(desk.backend.started[1])
    assert len(desk.backend.started) == 2
    third = wait_for_start(desk, 3)
    desk.backend.ready(third)
    desk.backend.report(third, (1, VALUE, "it"))
    assert future.result(0) == "it"


def test_a_pool_that_closes_does_not_wait_for_a_restart(desks: Callable[..., Desk]) -> None:
    desk = desks()
    future = desk.submit()
    desk.backend.die(desk.backend.started[0])
    desk.backend.die(desk.backend.started[1])
    assert future.cancel()
    desk.manager.close()
    assert desk.manager.wait(DEADLINE)


def test_a_worker_that_is_not_ready_in_time_is_killed() -> None:
    desk = Desk()
    desk.manager._effects._start_timeout = 0.01
    killed = threading.Event()
    desk.backend.kill = lambda _worker: killed.set()  # type: ignore[method-assign]
    desk.pool.policy.max_restarts = 0
    future = desk.submit()
    assert killed.wait(DEADLINE)
    desk.backend.die(desk.backend.started[0])
    with pytest.raises(BrokenPoolError, match=r"did not become ready within 0\.01 s"):
        future.result(0)
    desk.end()


def test_only_workers_that_were_asked_to_stop_are_killed_after_the_grace(
    desks: Callable[..., Desk],
) -> None:
    """A worker that retires does not take the others with it."""
    desk = desks(2)
    desk.submit()
    desk.serve()
    killed = threading.Event()
    kill = desk.backend.kill

    def noted(worker: Any) -> None:
        kill(worker)
        killed.set()

    desk.backend.kill = noted  # type: ignore[method-assign]
    desk.manager.resize(1)
    (leaving,) = desk.pool.leaving
    assert killed.wait(DEADLINE)
    assert desk.backend.killed == [leaving]
    desk.backend.die(leaving)


def test_a_load_balancer_may_resize_the_pool_and_end_it(desks: Callable[..., Desk]) -> None:
    """It is called in the middle of a step: what it asks for is done at its end."""

    class Owner(RoundRobin):
        def get_proper_worker(self, load_balancing_meta: Any = None) -> Worker:
            desk.manager.resize(3)
            desk.manager.end_workers(kill=True)
            return super().get_proper_worker(load_balancing_meta)

    desk = desks(1, Owner)
    desk.submit()
    desk.serve()
    assert len(desk.backend.started) == 3
    assert desk.backend.killed == desk.backend.started
    for worker in desk.backend.started:
        desk.backend.die(worker)
    assert desk.manager.wait(DEADLINE)


def wait_for_start(desk: Desk, count: int) -> Any:
    """Wait until so many workers were started; return the last."""
    started = threading.Event()
    start = desk.backend.start

    def noted(worker: Any) -> None:
        start(worker)
        started.set()

    desk.backend.start = noted  # type: ignore[method-assign]
    while len(desk.backend.started) < count:
        assert started.wait(DEADLINE)
    return desk.backend.started[count - 1]


def test_reports_that_are_not_the_result_of_the_only_work_are_read_once(
    desks: Callable[..., Desk],
) -> None:
    desk = desks()
    done = desk.submit()
    desk.serve()
    worker = desk.backend.started[0]
    desk.backend.report(worker, (1, VALUE, "done"))  # it has served
    assert done.result(DEADLINE) == "done"
    future = desk.submit()
    reads: list[Reports] = []

    def read() -> deque[Reports]:
        reads.append(only((2, RAISED, LookupError("once"))))
        return deque(reads[-1:])

    desk.manager.receive(worker, COROUTINE, read)
    assert isinstance(future.exception(DEADLINE), LookupError)
    assert len(reads) == 1
