"""Logic: each decision of the Pool, one by one. No thread, no process, no clock.

`DrivenPool` checks the Pool's invariants after every event. What happens in the middle of
long random histories is the business of ``test_histories``.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from aplex._common.messages import (
    COROUTINE,
    DELIVERED,
    DETACHED,
    LANES,
    PICKLED,
    PLAIN,
    RAISED,
    READY,
    VALUE,
)
from aplex._common.options import WorkOptions
from aplex._pool.pool import Pool
from aplex._pool.state import Work, WorkerState, WorkState
from aplex.load_balancers import Average, RoundRobin
from tests.support.pools import DrivenPool, PinningByIndex

# -- starting -------------------------------------------------------------------------------


def test_nothing_starts_before_the_pool_is_opened() -> None:
    pool = Pool(2, 300, RoundRobin)
    assert pool.workers == []
    assert pool.to_start == []
    assert pool.idle


def test_an_opened_pool_starts_as_many_workers_as_its_size() -> None:
    pool = DrivenPool(3, ready=False)
    assert pool.started == pool.workers
    assert [worker.id for worker in pool.workers] == [1, 2, 3]
    assert {worker.state for worker in pool.workers} == {WorkerState.STARTING}
    assert {worker.pid for worker in pool.workers} == {None}


def test_a_worker_that_is_ready_serves_and_has_a_pid() -> None:
    pool = DrivenPool(ready=False)
    pool.ready(pool.workers[0], 4711)
    assert pool.workers[0].state is WorkerState.SERVING
    assert pool.workers[0].pid == 4711


def test_works_wait_until_a_worker_serves() -> None:
    pool = DrivenPool(ready=False)
    works = [pool.submit() for _ in range(3)]
    assert pool.sent == {}
    pool.ready(pool.workers[0])
    assert pool.works_of(pool.workers[0]) == works


def test_while_others_start_a_worker_takes_only_its_fair_share() -> None:
    """Else the first to serve would be given everything, and the others would idle."""
    pool = DrivenPool(4, ready=False)
    works = [pool.submit() for _ in range(8)]
    for ready, worker in enumerate(list(pool.workers), 1):
        pool.ready(worker)
        assert worker.workload >= 1
        assert sum(other.workload for other in pool.workers) == 2 * ready
    assert {work.state for work in works} == {WorkState.IN_FLIGHT}


def test_a_growing_share_is_used_at_once() -> None:
    """Two workers, one of them starting: of three works, the other may have two."""
    pool = DrivenPool(2, ready=False)
    pool.ready(pool.workers[0])
    for _ in range(3):
        pool.submit()
    assert pool.workers[0].workload == 2


def test_a_share_that_grows_by_one_lane_is_used_by_the_other() -> None:
    """Two of three workers serve; the plain function raises the share of both."""
    pool = DrivenPool(3, ready=False)
    for worker in pool.workers[:2]:
        pool.ready(worker)
    waiting = [pool.submit() for _ in range(3)][-1]
    assert waiting.state is WorkState.WAITING
    plain = pool.plain()
    assert {waiting.state, plain.state} == {WorkState.IN_FLIGHT}


def test_a_share_that_grows_is_used_by_works_that_wait_for_their_worker() -> None:
    pool = DrivenPool(3, ready=False, load_balancer=PinningByIndex)
    for worker in pool.workers[:2]:
        pool.ready(worker)
    first, second = pool.submit(meta=0), pool.submit(meta=0)
    assert second.state is WorkState.WAITING
    others = [pool.submit(meta=1), pool.submit(meta=1)]
    assert [work.worker for work in (first, second)] == pool.workers[:1] * 2
    assert [work.worker for work in others] == pool.workers[1:2] * 2


def test_a_work_that_comes_alone_is_handed_out_at_once_and_in_turn() -> None:
    pool = DrivenPool(2)
    for worker in [*pool.workers, *pool.workers]:
        work = Work(COROUTINE, None, None, None, None)
        assert pool.pool.add_alone(work) is worker
        assert work.worker is worker
        pool.take_effects()
        pool.end(work)


@pytest.mark.parametrize("lane", LANES)
def test_the_result_of_a_work_that_is_alone_is_taken_the_short_way(lane: int) -> None:
    pool = DrivenPool(2)
    pool.end(pool.submit(lane), pool.submit(lane))  # both have served
    work = pool.submit(lane)
    worker = work.worker
    assert worker is not None
    assert pool.pool.take_alone(worker, (0.0, [], [work.id], ["result"], [], []))
    pool.take_effects()
    assert pool.outcomes[work] == (VALUE, "result")
    assert pool.pool.idle
    assert not pool.pool.take_alone(worker, (0.0, [], [work.id], ["again"], [], []))


def test_so_is_a_result_that_is_pickled() -> None:
    pool = DrivenPool()
    pool.end(pool.submit())
    work = pool.submit()
    assert pool.pool.take_alone(pool.workers[0], (0.0, [], [], [], [work.id], [b"result"]))
    pool.take_effects()
    assert pool.outcomes[work] == (PICKLED, b"result")


def test_what_is_more_than_the_result_of_the_only_work_is_not_taken_so() -> None:
    pool = DrivenPool()
    first = pool.submit()
    frame = (0.0, [], [first.id], ["result"], [], [])
    assert not pool.pool.take_alone(pool.workers[0], frame)  # it has not served yet
    pool.end(first)
    one = pool.submit()
    worker, result = pool.workers[0], ([one.id], ["result"], [], [])
    assert not pool.pool.take_alone(worker, (0.0, [(one.id, DELIVERED, None)], *result))
    pool.submit()
    assert not pool.pool.take_alone(worker, (0.0, [], *result))
    assert one.worker is worker


@pytest.mark.parametrize(
    "crowded",
    [
        lambda pool: pool.submit(),
        lambda pool: pool.plain(),
        lambda pool: pool.pool.resize(2),
        lambda pool: pool.lose(pool.workers[0]),
        lambda pool: pool.close(),
    ],
    ids=["coroutine in flight", "function in flight", "worker starts", "worker lost", "closing"],
)
def test_a_work_is_not_alone(crowded: Callable[[DrivenPool], object]) -> None:
    pool = DrivenPool()
    crowded(pool)
    assert pool.pool.add_alone(Work(COROUTINE, None, None, None, None)) is None


def test_a_work_that_asks_for_more_or_has_a_load_balancer_to_ask_is_not_taken_alone() -> None:
    limited = Work(PLAIN, None, None, None, None)
    limited.limited = True
    urgent = Work(PLAIN, None, None, None, None)
    urgent.options = WorkOptions(priority=1)
    pool = DrivenPool().pool
    assert pool.add_alone(limited) is None
    assert pool.add_alone(urgent) is None
    assert DrivenPool(1, 9, PinningByIndex).pool.add_alone(Work(PLAIN, None, None, 0, None)) is None


# -- dispatching ----------------------------------------------------------------------------


def test_a_work_is_sent_at_once_to_a_worker_with_room() -> None:
    pool = DrivenPool()
    work = pool.submit()
    assert pool.works_of(pool.workers[0]) == [work]
    assert work.worker is pool.workers[0]
    assert not pool.pool.idle


def test_works_that_were_added_wait_for_the_dispatch() -> None:
    """The Manager lets works gather, to send them together."""
    pool = Pool(1, 2, RoundRobin)
    pool.open()
    pool.report(pool.workers[0], [(0, READY, 1)])
    works = [Work(COROUTINE, None, None, None, None) for _ in range(3)]
    assert [pool.add(work) for work in works] == [False, True, True], "an idle worker waits"
    assert {work.state for work in works} == {WorkState.WAITING}
    pool.dispatch()
    assert pool.added == 0
    assert pool.workers[0].outboxes == [works[:2], []]
    pool.check()


def test_a_result_settles_its_work() -> None:
    pool = DrivenPool()
    work = pool.submit(meta="meta")
    pool.end(work, data=42)
    assert pool.value(work) == 42
    assert work.worker is None
    assert pool.pool.idle


def test_a_cancelled_work_in_a_line_keeps_nothing_alive() -> None:
    """Its place in the line is found empty later."""
    pool = DrivenPool(1, limit=1)
    pool.submit()
    work = pool.submit(meta="meta")
    pool.cancel(work)
    assert (work.function, work.call, work.meta) == (None, None, None)


def test_no_worker_has_more_works_than_allowed() -> None:
    pool = DrivenPool(2, limit=3)
    works = [pool.submit() for _ in range(10)]
    assert [worker.workload for worker in pool.workers] == [3, 3]
    assert [work.state for work in works[6:]] == [WorkState.WAITING] * 4


def test_waiting_works_are_sent_in_the_order_of_their_submission() -> None:
    pool = DrivenPool(limit=1)
    works = [pool.submit() for _ in range(5)]
    for work in works:
        assert pool.works_of(pool.workers[0])[-1] is work
        pool.end(work)


def test_a_freed_place_goes_to_the_work_that_waits_longest() -> None:
    pool = DrivenPool(limit=2)
    first, second, third, fourth = (pool.submit() for _ in range(4))
    pool.end(second)
    assert pool.works_of(pool.workers[0]) == [first, second, third]
    assert fourth.state is WorkState.WAITING


def test_works_are_numbered_per_lane_in_the_order_they_are_sent() -> None:
    pool = DrivenPool()
    pool.pace(pool.workers[0], 0.0001)
    works = [pool.submit(), pool.plain(), pool.submit(), pool.plain()]
    assert [work.seq for work in works] == [1, 1, 2, 2]
    assert [work.id for work in works] == [1, 2, 3, 4]


def test_the_report_of_an_unknown_work_is_ignored() -> None:
    pool = DrivenPool()
    pool.report(pool.workers[0], (99, VALUE, None))
    assert pool.outcomes == {}


def test_nothing_settled_gives_an_empty_list_that_does_not_grow() -> None:
    pool = DrivenPool(limit=1)
    before = pool.pool.take_settled()
    pool.pool.submit(Work(COROUTINE, None, None, None, None))
    pool.pool.cancel_waiting()
    assert before == []


# -- plain functions ------------------------------------------------------------------------


def test_one_plain_function_is_sent_ahead_until_their_pace_is_known() -> None:
    pool = DrivenPool()
    first, second = pool.plain(), pool.plain()
    assert pool.works_of(pool.workers[0]) == [first]
    pool.end(first)
    assert pool.works_of(pool.workers[0]) == [first, second]


def test_plain_functions_do_not_keep_coroutines_waiting() -> None:
    pool = DrivenPool()
    pool.plain()
    pool.plain()
    coroutine = pool.submit()
    assert coroutine.state is WorkState.IN_FLIGHT


def test_quick_plain_functions_are_sent_ahead_in_number() -> None:
    pool = DrivenPool(limit=50)
    worker = pool.workers[0]
    works = [pool.plain() for _ in range(100)]
    pool.pace(worker, 0.001, 10)  # 0.1 ms each: 20 in 2 ms; the power of two below
    assert worker.depth == 16
    assert pool.works_of(worker) == works[:16]
    for _ in range(2):
        pool.pace(worker, 1e-9, 10)
    assert worker.depth == 32


def test_functions_that_take_no_measurable_time_fill_the_worker() -> None:
    pool = DrivenPool(limit=7)
    works = [pool.plain() for _ in range(9)]
    pool.pace(pool.workers[0], 0.0)
    assert pool.works_of(pool.workers[0]) == works[:7]


def test_one_slow_function_ends_sending_ahead() -> None:
    """Up at once, down slowly: a line behind a long function costs more than a gap."""
    pool = DrivenPool()
    worker = pool.workers[0]
    pool.pace(worker, 0.0001)
    assert worker.depth == 16
    pool.pace(worker, 1.0)
    assert worker.depth == 1
    pool.pace(worker, 0.0001)
    assert worker.depth == 1  # not yet


def test_plain_functions_wait_where_they_can_still_go_anywhere() -> None:
    """A function that waits behind a long one goes to whichever worker is free first."""
    pool = DrivenPool(2)
    first, second, third = (pool.plain() for _ in range(3))
    pool.end(second)
    assert third.worker is pool.workers[1]
    assert first.worker is pool.workers[0]


def test_a_plain_function_that_returned_a_coroutine_frees_its_lane() -> None:
    pool = DrivenPool()
    first, second = pool.plain(), pool.plain()
    pool.detach(first)
    assert first.lane == COROUTINE
    assert first.state is WorkState.IN_FLIGHT
    assert pool.works_of(pool.workers[0]) == [first, second]
    pool.end(first, second)
    assert pool.pool.idle


def test_detaching_twice_or_what_is_gone_changes_nothing() -> None:
    pool = DrivenPool()
    work = pool.plain()
    worker = work.worker
    assert worker is not None
    pool.detach(work)
    pool.detach(work)
    assert worker.plain == 0
    pool.end(work)
    pool.report(worker, (work.id, DETACHED, None))
    assert worker.plain == 0


# -- what the pool holds --------------------------------------------------------------------


def test_held_names_the_works_of_a_lane_waiting_first() -> None:
    pool = DrivenPool(2, limit=2, load_balancer=PinningByIndex)
    in_flight = [pool.submit(meta=0), pool.submit(meta=0)]
    pinned = pool.submit(meta=0)
    plain = pool.plain(meta=1)
    waiting_plain = pool.plain(meta=1)
    assert pool.pool.held(COROUTINE) == [pinned, *in_flight]
    assert pool.pool.held(PLAIN) == [waiting_plain, plain]
    assert pool.pool.holds(COROUTINE)
    pool.cancel(pinned)
    pool.end(*in_flight)
    assert not pool.pool.holds(COROUTINE)
    assert pool.pool.holds(PLAIN)


def test_an_idle_pool_holds_nothing() -> None:
    assert not DrivenPool().pool.holds(COROUTINE)


# -- what it shows --------------------------------------------------------------------------


@pytest.mark.smoke
def test_pools_workers_and_works_show_their_states() -> None:
    pool = DrivenPool(2, ready=False, load_balancer=Average)
    pool.ready(pool.workers[0])
    work, waiting = pool.submit(), pool.submit()
    assert repr(pool.workers[0]) == "<worker 1 serving, 1 in flight>"
    assert repr(work) == "<Work 1 in flight on <worker 1 serving, 1 in flight>>"
    assert repr(waiting) == "<Work 2 waiting>"
    assert repr(pool.pool) == ("<Pool open: 2 workers (1 starting), 1 works waiting, 1 in flight>")
    pool.end(work, kind=RAISED, data=ValueError())
    assert repr(work) == "<Work 1 done>"
