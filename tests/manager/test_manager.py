"""Collaboration: the Manager with workers in memory (`MemoryBackend`); no process, no thread."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from aplex._common.messages import CANCELLED, COROUTINE, FAILED, PLAIN, RAISED, VALUE
from aplex._common.requests import Cancel
from aplex._pool.pacing import AHEAD_SECONDS, LONG_SECONDS
from aplex._pool.pool import MAX_GATHERED_WORKS
from aplex._pool.state import PoolWorker, Work
from aplex.exceptions import BrokenPoolError, LoadBalancerError, WorkerLostError
from aplex.futures import AsyncioFuture, ConcurrentFuture
from aplex.load_balancers import RoundRobin, Worker
from tests.manager.desk import DEADLINE, Desk


def test_nothing_starts_before_the_first_work(desks: Callable[..., Desk]) -> None:
    """An executor that is made and dropped has cost nothing."""
    desk = desks(2)
    assert desk.backend.started == []
    desk.submit()
    assert len(desk.backend.started) == 2


def test_a_result_reaches_its_future(desks: Callable[..., Desk]) -> None:
    """The whole way, from submit to result."""
    desk = desks()
    future = desk.submit()
    desk.serve()
    assert future.running()
    desk.backend.report(desk.backend.started[0], (1, VALUE, "it"))
    assert future.result(0) == "it"
    assert not future.running()


def test_works_for_a_busy_worker_gather(desks: Callable[..., Desk]) -> None:
    """The first is sent at once, the next together: later, or when they are many."""
    desk = desks()
    desk.submit()
    desk.serve()
    assert desk.sent_ids() == [1]
    with desk.manager._lock:  # the listener cannot send meanwhile
        for _ in range(MAX_GATHERED_WORKS - 1):
            desk.submit()
        assert desk.sent_ids() == [1]
        desk.submit()
        assert desk.sent_ids() == list(range(1, MAX_GATHERED_WORKS + 2))


def test_works_for_many_busy_workers_come_in_few_frames(desks: Callable[..., Desk]) -> None:
    """Each worker gets a frame of its own: with one work in each, frames would be all the cost."""
    size, each = 64, 100
    desk = desks(size)
    desk.submit()
    desk.serve()
    frames = dict.fromkeys(desk.backend.started, 0)
    send = desk.backend.send

    def count(worker: PoolWorker) -> None:
        frames[worker] += 1
        send(worker)

    desk.backend.send = count  # type: ignore[method-assign]
    with desk.manager._lock:  # the listener cannot send meanwhile
        for number in range(2, size * each):
            desk.submit()
            if number <= size:
                assert desk.pool.pending == number
                assert not desk.pool.wants_dispatch, "an idle worker gets a work at once"
    desk.manager._flush()
    assert [worker.workload for worker in desk.backend.started] == [each] * (size - 1) + [each - 1]
    assert max(frames.values()) <= 10


def desk_with_a_long_function(desks: Callable[..., Desk], size: int) -> Desk:
    """All workers serve; the first has got a function that runs long, after short ones."""
    desk = desks(size)
    desk.submit(PLAIN)
    desk.serve()
    desk.backend.report(desk.backend.started[0], (1, VALUE, None), lane=PLAIN, seconds=1e-6)
    while not desk.backend.started[0].plain:
        desk.submit(PLAIN)
        end_functions(desk, desk.pool.workers[1:])
    return desk


def end_functions(desk: Desk, workers: list[PoolWorker]) -> None:
    for worker in workers:
        desk.backend.report(worker, *((work_id, VALUE, None) for work_id in list(worker.works)))


def recalls(desk: Desk) -> int:
    """Wait until the listener has done what was planned; count what was recalled, each time."""
    done = threading.Event()
    desk.manager._effects.call_later(10 * AHEAD_SECONDS, done.set)
    assert done.wait(DEADLINE)
    sent = [item for items in desk.backend.sent.values() for item in items]
    return sum(isinstance(item, Cancel) for item in sent)


def test_a_new_worker_takes_over_what_waits_behind_a_long_function(
    desks: Callable[..., Desk],
) -> None:
    """The long one runs on, so no report of a function tells of it."""
    desk = desk_with_a_long_function(desks, 1)
    with desk.manager._lock:  # the listener cannot send meanwhile
        desk.submit(PLAIN)
        desk.submit(PLAIN)
        desk.manager._flush()
    assert desk.pool.workers[0].plain == 3
    desk.manager.resize(2)
    assert recalls(desk) == 0
    desk.backend.ready(desk.backend.started[1])
    assert recalls(desk) == 2
    assert recalls(desk) == 2, "a worker that does not answer is not asked again and again"


def test_an_idle_worker_takes_over_what_is_sent_behind_a_long_function(
    desks: Callable[..., Desk],
) -> None:
    """The load balancer may choose the busy one: it has room, as functions were short."""
    desk = desk_with_a_long_function(desks, 2)
    busy, idle = desk.pool.workers
    while busy.plain == 1:
        with desk.manager._lock:
            desk.submit(PLAIN)
            desk.manager._flush()
        end_functions(desk, [idle])
    assert (busy.plain, idle.plain) == (2, 0)
    assert recalls(desk) == 1


def test_what_was_sent_ahead_is_recalled_if_the_function_before_it_is_long(
    desks: Callable[..., Desk],
) -> None:
    """No report tells of it: the parent looks at what runs, as long as something is ahead."""
    desk = desks()
    desk.submit(PLAIN)
    desk.serve()
    worker = desk.backend.started[0]
    desk.backend.report(worker, (1, VALUE, None), lane=PLAIN, seconds=1e-6)
    sent = threading.Event()
    send = desk.backend.send

    def noted(worker: PoolWorker) -> None:
        recalled = bool(worker.recalls)
        send(worker)
        if recalled:
            sent.set()

    desk.backend.send = noted  # type: ignore[method-assign]
    desk.backend.runs[worker] = (
        2,
        time.monotonic() + 2 * LONG_SECONDS,
    )  # the first look is too early
    for _ in range(4):
        desk.submit(PLAIN)
    assert sent.wait(DEADLINE)
    assert time.monotonic() >= desk.backend.runs[worker][1] + LONG_SECONDS
    assert [item.id for item in desk.backend.sent[worker] if isinstance(item, Cancel)] == [3, 4, 5]


def test_what_gathered_is_sent_by_the_listener(desks: Callable[..., Desk]) -> None:
    """Nothing waits for a further call."""
    desk = desks()
    desk.submit()
    desk.serve()
    sent = threading.Event()
    send = desk.backend.send

    def noted(worker: Any) -> None:
        send(worker)
        sent.set()

    desk.backend.send = noted  # type: ignore[method-assign]
    desk.submit()
    assert sent.wait(DEADLINE)
    assert desk.sent_ids() == [1, 2]


def test_cancel_of_a_work_in_flight_asks_its_worker(desks: Callable[..., Desk]) -> None:
    """The future ends as the worker says."""
    desk = desks()
    future = desk.submit()
    desk.serve()
    worker = desk.backend.started[0]
    assert future.cancel()
    assert not future.done()
    assert isinstance(desk.backend.sent[worker][-1], Cancel)
    desk.backend.report(worker, (1, CANCELLED, None))
    assert future.cancelled()


def test_a_lost_worker_fails_what_it_had_started(desks: Callable[..., Desk]) -> None:
    """And only that: the rest goes to its replacement."""
    desk = desks()
    started, unstarted = desk.submit(), desk.submit()
    desk.serve()
    error = WorkerLostError(7, -9, 2)
    desk.backend.die(desk.backend.started[0], started=(1, 0), error=error)
    assert started.exception(0) is error
    assert not unstarted.done()
    replacement = desk.backend.started[1]
    desk.backend.ready(replacement)
    desk.backend.report(replacement, (2, VALUE, 5))
    assert unstarted.result(0) == 5


def test_workers_that_never_start_break_the_pool_with_their_reason(
    desks: Callable[..., Desk],
) -> None:
    """Whoever waits gets the reason, and so does whoever submits later."""
    desk = desks()
    future = desk.submit()
    while not desk.pool.broken:
        worker = desk.backend.started[-1]
        desk.backend.report(worker, (0, FAILED, ZeroDivisionError("no")))
        desk.backend.die(worker)
    with pytest.raises(BrokenPoolError, match="ZeroDivisionError: no"):
        future.result(0)
    with pytest.raises(BrokenPoolError):
        desk.submit()


def test_a_load_balancer_may_call_the_pool(desks: Callable[..., Desk]) -> None:
    """Its call is put off to the end of the step; it does not deadlock."""
    inner: list[ConcurrentFuture[Any]] = []

    class Submitter(RoundRobin):
        def get_proper_worker(self, load_balancing_meta: Any = None) -> Worker:
            if not inner:
                inner.append(desk.submit())
            return super().get_proper_worker(load_balancing_meta)

    desk = desks(1, Submitter)
    desk.submit()
    desk.serve()
    assert desk.sent_ids() == [1, 2]


def test_a_submit_in_the_middle_of_a_step_that_comes_too_late_says_so(
    desks: Callable[..., Desk],
) -> None:
    """Its caller has a future already: the future says it."""
    late: list[ConcurrentFuture[Any]] = []

    class Closer(RoundRobin):
        def get_proper_worker(self, load_balancing_meta: Any = None) -> Worker:
            if not late:
                desk.manager.close()
                late.append(desk.submit())
            return super().get_proper_worker(load_balancing_meta)

    desk = desks(1, Closer)
    desk.submit()
    desk.serve()
    with pytest.raises(RuntimeError, match="after shutdown"):
        late[0].result(0)


def test_ctrl_c_in_the_middle_of_a_submit_leaves_the_pool_in_order(
    desks: Callable[..., Desk],
) -> None:
    """Its caller has the exception; the work itself is served; the counts are right."""

    class Interrupted(RoundRobin):
        armed = False

        def get_proper_worker(self, load_balancing_meta: Any = None) -> Worker:
            if self.armed:
                type(self).armed = False
                raise KeyboardInterrupt
            return super().get_proper_worker(load_balancing_meta)

    desk = desks(2, Interrupted)
    desk.submit()
    desk.serve()
    Interrupted.armed = True
    with pytest.raises(KeyboardInterrupt):
        desk.submit()
    desk.pool.check()
    in_flight = [set(worker.works) for worker in desk.pool.workers]
    assert set().union(*in_flight) == {1, 2}


def test_a_raising_callback_harms_no_other_future(
    desks: Callable[..., Desk], caplog: pytest.LogCaptureFixture
) -> None:
    """Futures settled by one frame are settled all, whatever the callback of one does."""

    def leave(_future: object) -> None:
        raise SystemExit

    desk = desks()
    first, second = desk.submit(), desk.submit()
    desk.serve()
    first.add_done_callback(leave)
    worker = desk.backend.started[0]
    desk.backend.report(worker, (1, VALUE, 1), (2, VALUE, 2))
    assert second.result(0) == 2
    assert "callback" in caplog.text


def test_shutdown_inside_a_callback_returns(desks: Callable[..., Desk]) -> None:
    """The listener does not wait for its own end."""
    desk = desks()
    future = desk.submit()
    desk.serve()
    left = threading.Event()

    def shut(_future: object) -> None:
        desk.manager.close()
        desk.manager.wait()
        left.set()

    future.add_done_callback(shut)
    worker = desk.backend.started[0]
    desk.manager._listener.call_soon(lambda: desk.backend.report(worker, (1, VALUE, 1)))
    assert left.wait(DEADLINE)


def test_an_end_just_before_the_pool_opens_waits_for_nothing() -> None:
    """The first submit, in another thread, starts the listener before it opens the pool."""
    desk = Desk()
    begun, ended = threading.Event(), threading.Event()
    open_once = desk.manager._open_once

    def late() -> None:
        begun.set()
        assert ended.wait(DEADLINE)
        open_once()

    desk.manager._open_once = late  # type: ignore[method-assign]
    step = desk.manager._step
    desk.manager._step = lambda event, *args: (  # type: ignore[method-assign, assignment]
        late() if event is late else step(event, *args)  # not under the lock
    )
    errors: list[BaseException] = []

    def start() -> None:
        try:
            desk.manager.start_workers()
        except RuntimeError as error:
            errors.append(error)

    starter = threading.Thread(target=start)
    starter.start()
    assert begun.wait(DEADLINE)
    desk.manager.close()
    ender = threading.Thread(target=desk.manager.wait, daemon=True)
    ender.start()
    ender.join(DEADLINE)
    assert not ender.is_alive()
    ended.set()
    starter.join(DEADLINE)
    assert [str(error) for error in errors] == ["cannot submit a work after shutdown"]


def test_workers_that_do_not_go_are_killed(desks: Callable[..., Desk]) -> None:
    """An idle worker has ``exit_grace`` seconds."""
    desk = desks()
    desk.submit()
    desk.serve()
    worker = desk.backend.started[0]
    desk.backend.report(worker, (1, VALUE, 1))
    killed = threading.Event()
    desk.backend.kill = lambda _worker: killed.set()  # type: ignore[method-assign]
    desk.manager.close()
    assert desk.backend.stopped == [worker]
    assert killed.wait(DEADLINE)


def test_futures_of_a_closed_loop_are_dropped(desks: Callable[..., Desk]) -> None:
    """Nobody can await them; the others settle."""
    desk = desks()
    loop = asyncio.new_event_loop()
    future: AsyncioFuture[Any] = AsyncioFuture(loop=loop)
    work = Work(COROUTINE, print, ((), {}), None, future)
    desk.manager.submit(work)
    other = desk.submit()
    desk.serve()
    loop.close()
    desk.backend.report(desk.backend.started[0], (1, VALUE, 1), (2, VALUE, 2))
    assert other.result(0) == 2
    assert not future.done()


def test_a_rejected_work_says_so_at_once(desks: Callable[..., Desk]) -> None:
    """What the load balancer breaks, the future tells, in the submitting thread."""

    class Nonsense(RoundRobin):
        def get_proper_worker(self, load_balancing_meta: Any = None) -> Worker:
            return "nobody"  # type: ignore[return-value]

    desk = desks(1, Nonsense)
    waiting = desk.submit()
    desk.serve()
    assert isinstance(waiting.exception(0), LoadBalancerError)
    assert isinstance(desk.submit().exception(0), LoadBalancerError)


def test_plain_functions_are_sent_ahead_as_they_prove_short(desks: Callable[..., Desk]) -> None:
    """One at first; more as the reports say how long they take."""
    desk = desks()
    for _ in range(10):
        desk.submit(PLAIN)
    desk.serve()
    worker = desk.backend.started[0]
    assert desk.sent_ids() == [1]
    desk.backend.report(worker, (1, VALUE, None), lane=PLAIN, seconds=0.0005)
    assert desk.sent_ids() == [1, 2, 3, 4, 5]


def test_waiting_for_an_end_that_does_not_come_has_a_timeout(desks: Callable[..., Desk]) -> None:
    """``wait`` says whether the pool is gone."""
    desk = desks()
    desk.submit()
    assert desk.manager.wait(0.01) is False


def test_an_error_of_a_thread_travels_as_it_is(desks: Callable[..., Desk]) -> None:
    """RAISED carries the exception itself."""
    desk = desks()
    future = desk.submit()
    desk.serve()
    error = ValueError("x")
    desk.backend.report(desk.backend.started[0], (1, RAISED, error))
    assert future.exception(0) is error
