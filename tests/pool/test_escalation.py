"""Escalation, without processes: which step is taken when."""

from __future__ import annotations

from typing import Any

import pytest

from aplex._common.messages import (
    CANCELLED,
    COROUTINE,
    DELIVERED,
    PLAIN,
    RAISED,
    READY,
    TOO_LATE,
    VALUE,
)
from aplex._common.options import WorkOptions
from aplex._pool.escalation import Escalation
from aplex._pool.pool import Pool
from aplex._pool.state import Death, PoolWorker, Work, WorkerState, WorkState
from aplex.exceptions import WorkerLostError
from aplex.load_balancers import RoundRobin


class Stand:
    """A pool of one worker, its escalation, and what the worker is said to run."""

    def __init__(self, *, can_interrupt: bool = True) -> None:
        self.pool = Pool(1, 10, RoundRobin)
        self.pool.can_interrupt = can_interrupt
        self.runs = (0, 0.0)
        self.escalation = Escalation(self.pool, lambda _worker: self.runs)
        self.pool.open()
        self.worker = self.pool.workers[0]
        self.report(0, READY, 1)
        self.worker.depth = 10

    def submit(self, lane: int, **options: Any) -> Work:
        work = Work(lane, None, None, None, None)
        work.options = WorkOptions(**options)
        work.limited = lane == PLAIN and work.options.time_limit is not None
        self.pool.submit(work)
        self.escalation.take(0.0)
        return work

    def report(self, work_id: int, kind: int, data: Any = None) -> None:
        self.pool.take_in(self.worker, (0.0, [(work_id, kind, data)], [], [], [], []))
        self.escalation.take(0.0)
        self.pool.check()

    def cancel(self, work: Work, now: float) -> None:
        self.pool.cancel(work)
        self.escalation.cancelled(work, now)

    def outcomes(self) -> list[tuple[Work, int, Any]]:
        self.pool.check()
        return self.pool.take_settled()

    def interrupted(self) -> list[int]:
        return [seq for _, seq in self.escalation.interrupts]

    def killed(self) -> list[PoolWorker]:
        return [worker for worker, _, _ in self.escalation.kills]


def test_a_waiting_work_fails_at_its_deadline() -> None:
    stand = Stand()
    stand.worker.depth = 1
    first, second = stand.submit(PLAIN), stand.submit(PLAIN, deadline=5.0)
    stand.escalation.limit(second, 5.0)
    assert second.state is WorkState.WAITING
    stand.escalation.check_due(4.9)
    assert stand.outcomes() == []
    stand.escalation.check_due(5.0)
    [(work, kind, error)] = stand.outcomes()
    assert (work, kind, type(error)) == (second, RAISED, TimeoutError)
    assert first.state is WorkState.IN_FLIGHT


@pytest.mark.parametrize("lane", [PLAIN, COROUTINE])
def test_a_work_in_flight_is_cancelled_at_its_deadline_and_raises_timeout_error(lane: int) -> None:
    stand = Stand()
    work = stand.submit(lane, deadline=5.0)
    stand.escalation.limit(work, 5.0)
    stand.runs = (work.seq, 1.0) if lane == PLAIN else (0, 0.0)
    stand.escalation.check_due(5.0)
    assert [cancel.id for cancel in stand.worker.cancels] == [work.id]
    assert stand.interrupted() == ([work.seq] if lane == PLAIN else [])
    assert stand.outcomes() == []
    stand.report(work.id, DELIVERED)
    stand.report(work.id, CANCELLED)
    [(_, kind, error)] = stand.outcomes()
    assert (kind, type(error)) == (RAISED, TimeoutError)


def test_who_swallows_the_interrupt_keeps_the_result() -> None:
    stand = Stand()
    work = stand.submit(PLAIN, time_limit=1.0)
    stand.runs = (work.seq, 0.0)
    stand.escalation.check_due(1.0)
    stand.report(work.id, VALUE, "result")
    assert stand.outcomes() == [(work, VALUE, "result")]


def test_a_timeout_counts_from_the_start_in_the_worker() -> None:
    stand = Stand()
    first, second = stand.submit(PLAIN), stand.submit(PLAIN, time_limit=1.0)
    stand.runs = (first.seq, 0.5)
    stand.escalation.check_due(1.0)  # it cannot be over: it had not begun
    assert stand.escalation.first == 2.0
    stand.runs = (second.seq, 1.7)
    stand.escalation.check_due(2.0)
    assert stand.escalation.first == 2.7
    assert stand.interrupted() == []
    stand.escalation.check_due(2.7)
    assert stand.interrupted() == [second.seq]


def test_the_steps() -> None:
    stand = Stand()
    stuck, behind = stand.submit(PLAIN, kill_after=2.0), stand.submit(PLAIN)
    stand.runs = (stuck.seq, 0.0)
    stand.cancel(stuck, 10.0)
    assert stand.interrupted() == [stuck.seq]
    stand.escalation.check_due(11.9)
    assert stand.worker.state is WorkerState.SERVING
    stand.escalation.check_due(12.0)
    assert stand.worker.state is WorkerState.RETIRING
    assert [recall.id for recall in stand.worker.recalls] == [behind.id]
    assert len(stand.pool.workers) == 1  # the next one is about to start
    assert stand.killed() == [stand.worker]  # no coroutine is in flight
    error = WorkerLostError(1, -9, 2)
    stand.pool.lost(stand.worker, Death((0, stuck.seq), error, None), 12.0)
    assert stand.outcomes() == [(stuck, CANCELLED, None)]
    assert behind.state is WorkState.WAITING
    assert stand.pool.policy.failures == 0


def test_coroutines_get_the_grace_again_before_their_worker_is_killed() -> None:
    stand = Stand()
    neighbour, stuck = stand.submit(COROUTINE), stand.submit(PLAIN, kill_after=2.0)
    stand.runs = (stuck.seq, 0.0)
    stand.cancel(stuck, 10.0)
    stand.escalation.check_due(12.0)
    assert stand.killed() == []
    stand.escalation.check_due(13.9)
    assert stand.killed() == []
    stand.report(neighbour.id, VALUE, 1)
    stand.escalation.recheck(stand.worker, 13.95)  # it is the last one
    assert stand.killed() == [stand.worker]


def test_the_bound_of_coroutines_in_flight() -> None:
    stand = Stand()
    stand.submit(COROUTINE)
    stuck = stand.submit(PLAIN, kill_after=2.0)
    stand.runs = (stuck.seq, 0.0)
    stand.cancel(stuck, 10.0)
    stand.escalation.check_due(12.0)
    stand.escalation.check_due(14.0)
    assert stand.killed() == [stand.worker]


def test_a_worker_whose_function_ends_in_time_is_not_killed() -> None:
    stand = Stand()
    work = stand.submit(PLAIN)
    stand.runs = (work.seq, 0.0)
    stand.cancel(work, 10.0)
    stand.runs = (0, 0.0)  # its report is not read yet
    stand.escalation.check_due(12.0)
    assert stand.worker.state is WorkerState.SERVING
    assert stand.killed() == []


def test_a_cancel_that_comes_before_the_start_is_tried_again() -> None:
    """The worker reports that it came too late."""
    stand = Stand()
    work = stand.submit(PLAIN)
    stand.cancel(work, 0.0)
    assert stand.interrupted() == []
    stand.runs = (work.seq, 0.1)
    stand.report(work.id, TOO_LATE)
    assert stand.interrupted() == [work.seq]
    assert stand.outcomes() == []


@pytest.mark.parametrize("can_interrupt", [True, False])
def test_what_cannot_be_interrupted_only_fails_its_future(can_interrupt: bool) -> None:
    stand = Stand(can_interrupt=can_interrupt)
    work = stand.submit(PLAIN, time_limit=1.0, interruptible=not can_interrupt)
    stand.runs = (work.seq, 0.0)
    stand.escalation.check_due(1.0)
    [(_, kind, error)] = stand.outcomes()
    assert (kind, type(error)) == (RAISED, TimeoutError)
    assert "cannot be stopped" in error.__notes__[0]
    assert work.state is WorkState.IN_FLIGHT
    stand.report(work.id, TOO_LATE)
    assert stand.outcomes() == [(work, TOO_LATE, None)]
    assert stand.interrupted() == []


def test_a_blocked_event_loop_does_not_hold_up_a_deadline() -> None:
    stand = Stand()
    work = stand.submit(COROUTINE, deadline=1.0, kill_after=2.0)
    stand.escalation.limit(work, 1.0)
    stand.escalation.check_due(1.0)
    assert stand.outcomes() == []
    stand.escalation.check_due(3.0)
    [(_, kind, error)] = stand.outcomes()
    assert (kind, type(error)) == (RAISED, TimeoutError)


def test_who_cancels_first_gets_cancelled_error() -> None:
    stand = Stand()
    work = stand.submit(COROUTINE, deadline=1.0)
    stand.escalation.limit(work, 1.0)
    stand.cancel(work, 0.5)
    stand.escalation.check_due(1.0)
    stand.report(work.id, CANCELLED)
    assert stand.outcomes() == [(work, CANCELLED, None)]


# -- where it has to be asked what runs ----------------------------------------


def test_a_time_limit_holds_although_what_runs_is_known_late() -> None:
    """It was asked of another machine; the answer says since when the function has run."""
    stand = Stand()
    work = stand.submit(PLAIN, time_limit=1.0)
    stand.escalation.check_due(1.0)  # nothing is known yet
    assert stand.interrupted() == []
    stand.escalation.look_again(stand.worker, (work.seq, 0.2), 1.01)
    assert stand.interrupted() == []
    stand.escalation.look_again(stand.worker, (work.seq, 0.005), 1.02)
    assert stand.interrupted() == [work.seq]


def test_a_cancel_takes_effect_when_it_is_known_what_runs() -> None:
    stand = Stand()
    work = stand.submit(PLAIN, kill_after=5.0)
    stand.cancel(work, 1.0)
    assert stand.interrupted() == []
    stand.escalation.look_again(stand.worker, (0, 0.0), 1.01)
    assert stand.interrupted() == []
    stand.escalation.look_again(stand.worker, (work.seq, 0.5), 1.02)
    stand.escalation.look_again(stand.worker, (work.seq, 0.5), 1.03)
    assert stand.interrupted() == [work.seq]
