"""Collaboration: the Manager with workers in memory (`MemoryBackend`); no process, no thread."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aplex._backends.memory import MemoryBackend
from aplex._common.messages import (
    CANCELLED,
    COROUTINE,
    FAILED,
    PLAIN,
    RAISED,
    VALUE,
    Reports,
    only,
)
from aplex._common.requests import Cancel
from aplex._manager.manager import Manager
from aplex._pool.pacing import AHEAD_SECONDS, LONG_SECONDS
from aplex._pool.pool import MAX_GATHERED_WORKS, Pool
from aplex._pool.state import PoolWorker, Work
from aplex.exceptions import BrokenPoolError, LoadBalancerError, WorkerLostError
from aplex.futures import AsyncioFuture, ConcurrentFuture
from aplex.load_balancers import LoadBalancerFactory, RoundRobin, Worker

DEADLINE = 10  # seconds


class Desk:
    """A Manager over paper workers, and shorthands to play both sides."""

    def __init__(self, size: int = 1, balancer: LoadBalancerFactory = RoundRobin) -> None:
        self.backend = MemoryBackend()
        self.pool = Pool(size, 300, balancer)
        self.manager = Manager(self.pool, self.backend, "desk", exit_grace=0.2)

    def submit(self, lane: int = COROUTINE) -> ConcurrentFuture[Any]:
        """Submit a work as an executor does."""
        future: ConcurrentFuture[Any] = ConcurrentFuture()
        work = Work(lane, print, ((), {}), None, future)
        work.manager = self.manager
        future._work = work
        self.manager.submit(work)
        return future

    def serve(self) -> None:
        """Let all started workers be ready."""
        for worker in list(self.backend.started):
            self.backend.ready(worker)

    def sent_ids(self) -> list[int]:
        """Ids of the works sent to the first worker."""
        sent = self.backend.sent[self.backend.started[0]]
        return [item.id for item in sent if isinstance(item, Work)]

    def end(self) -> None:
        """Close, let every worker report its works as cancelled, and end."""
        self.manager.close(cancel_waiting=True)
        while not self.manager.gone.done() and self.pool.workers:
            worker = self.pool.workers[0]
            self.backend.report(worker, *((i, CANCELLED, None) for i in list(worker.works)))
            self.backend.die(worker)
        assert self.manager.wait(DEADLINE)


@pytest.fixture
def desks() -> Iterator[Callable[..., Desk]]:
    """Make desks; they are gone after the test."""
    made: list[Desk] = []

    def make(*args: Any, **kwargs: Any) -> Desk:
        made.append(Desk(*args, **kwargs))
        return made[-1]

    yield make
    for desk in made:
        desk.end()


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


# -- supervision ----------------------------------------------------------------------------


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


# -- bugs of ours: each fault is injected where two parts meet -------------------------------


class Broken(Desk):
    """A pool that breaks by a bug: one work runs, one waits on the worker, one in the line."""

    def __init__(self) -> None:
        super().__init__()
        self.pool.max_works_per_worker = self.pool._limit = 2
        self.futures = [self.submit(), self.submit()]
        self.serve()
        self.futures.append(self.submit())
        self.worker = self.backend.started[0]

    def on_listener(self, call: Callable[[], object]) -> None:
        """Have the listener make a call, as a back end does."""
        self.manager._listener.call_soon(call)

    def assert_broken(self, reason: BaseException) -> None:
        """Every future has the reason, nothing hangs, and nothing is left."""
        for future in self.futures:
            error = future.exception(DEADLINE)
            assert isinstance(error, BrokenPoolError)
            assert error.__cause__ is reason
        with pytest.raises(BrokenPoolError, match="bug of aplex"):
            self.submit()
        with pytest.raises(BrokenPoolError, match="bug of aplex"):
            self.manager.resize(2)
        self.manager.close()
        assert self.manager.wait(DEADLINE)
        assert not self.manager._listener._thread.is_alive()
        assert self.backend.closed
        assert self.worker in self.backend.killed


def _examine_raises(broken: Broken, bug: Exception) -> None:
    def examine() -> Any:
        raise bug

    broken.on_listener(lambda: broken.manager.lost(broken.worker, examine))


def _lost_raises(broken: Broken, bug: Exception) -> None:
    def lost(*_: Any) -> None:
        raise bug

    broken.pool.lost = lost  # type: ignore[method-assign]
    broken.on_listener(lambda: broken.backend.die(broken.worker))


def _retry_raises(broken: Broken, bug: Exception) -> None:
    """In the middle of the loop that takes works off a lost worker."""

    def reroute(*_: Any) -> None:
        raise bug

    broken.pool._reroute = reroute  # type: ignore[method-assign]
    lost = WorkerLostError(7, -9, 2)
    broken.on_listener(lambda: broken.backend.die(broken.worker, (2, 0), lost))


def _select_raises(broken: Broken, bug: Exception) -> None:
    def select(_: object) -> Any:
        raise bug

    def break_selector() -> None:
        broken.manager._listener._selector.select = select  # type: ignore[method-assign]

    broken.on_listener(break_selector)
    broken.on_listener(lambda: None)


def _report_raises_elsewhere(broken: Broken, bug: Exception) -> None:
    """In the thread of a worker, or of a loop."""

    def take_in(*_: Any) -> None:
        raise bug

    broken.pool.take_in = take_in  # type: ignore[method-assign]

    def report() -> None:
        with pytest.raises(ArithmeticError):
            broken.backend.report(broken.worker, (1, VALUE, None))

    thread = threading.Thread(target=report)
    thread.start()
    thread.join()


def _send_raises_at_submit(broken: Broken, bug: Exception) -> None:
    """In the caller's thread: the listener takes it up, and meets the bug again."""

    def send(_: PoolWorker) -> None:
        raise bug

    broken.backend.send = send  # type: ignore[method-assign]
    with pytest.raises(ArithmeticError):
        broken.manager.cancel(broken.futures[0]._work)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "fault",
    [
        _examine_raises,
        _lost_raises,
        _retry_raises,
        _select_raises,
        _report_raises_elsewhere,
        _send_raises_at_submit,
    ],
    ids=lambda fault: fault.__name__.strip("_"),
)
def test_a_bug_breaks_the_pool_and_leaves_no_future(
    fault: Callable[[Broken, Exception], None], caplog: pytest.LogCaptureFixture
) -> None:
    broken = Broken()
    bug = ArithmeticError("a bug")
    fault(broken, bug)
    broken.assert_broken(bug)
    assert "bug of aplex" in caplog.text
    assert "a bug" in caplog.text


def test_what_was_put_off_is_told_too() -> None:
    """A submit in the middle of the step that fails."""
    broken = Broken()
    bug = ArithmeticError("a bug")

    def lost(*_: Any) -> None:
        broken.futures.append(broken.submit())
        raise bug

    broken.pool.lost = lost  # type: ignore[method-assign]
    broken.on_listener(lambda: broken.backend.die(broken.worker))
    broken.assert_broken(bug)
    assert len(broken.futures) == 4


def test_a_system_exit_of_users_code_breaks_nothing(
    desks: Callable[..., Desk], caplog: pytest.LogCaptureFixture
) -> None:
    """The listener has met one of a load balancer, say; it is no bug."""
    desk = desks()
    future = desk.submit()

    def leave() -> None:
        raise SystemExit(3)

    desk.manager._listener.call_soon(leave)
    desk.serve()
    desk.backend.report(desk.backend.started[0], (1, VALUE, "it"))
    assert future.result(DEADLINE) == "it"
    on_time = threading.Event()
    desk.manager._listener.call_soon(on_time.set)
    assert on_time.wait(DEADLINE)
    assert "SystemExit" in caplog.text


@pytest.mark.parametrize("moment", ["send", "_notify", "within"])
def test_what_is_asked_at_the_end_of_a_step_is_done_in_it(
    desks: Callable[..., Desk], moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handler breaks in after the step has looked for what was put off."""
    desk = desks()
    desk.submit()
    desk.serve()
    asked: list[ConcurrentFuture[Any]] = []
    owner = desk.backend if moment == "send" else desk.manager
    call = getattr(owner, moment)

    def broken_into(*args: Any) -> None:
        if args or moment == "_notify":
            call(*args)
        if not asked:
            asked.append(desk.submit())

    if moment == "within":
        desk.manager.within(broken_into)
    else:
        desk.submit()  # it gathers
        monkeypatch.setattr(owner, moment, broken_into)
        desk.manager._waiters += 1
        desk.manager._step(None)
        desk.manager._waiters -= 1
    assert len(asked) == 1
    assert not desk.manager._put_off
    assert asked[0]._work is not None
    assert asked[0]._work.id


def test_what_is_asked_in_a_submit_that_gathers_is_done(
    desks: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = desks()
    desk.submit()
    desk.serve()
    add, inner = desk.pool.add, []

    def broken_into(work: Work) -> bool:
        if not inner:
            inner.append(desk.submit())
        return add(work)

    monkeypatch.setattr(desk.pool, "add", broken_into)
    outer = desk.submit()
    for future in outer, inner[0]:
        assert future._work is not None
        assert future._work.id
    desk.pool.check()


def test_a_submit_in_the_middle_of_one_that_is_refused_is_refused_too(
    desks: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And does not wait for ever for a step to come."""
    desk = desks()
    desk.submit()
    desk.serve()
    desk.end()
    inner: list[ConcurrentFuture[Any]] = []
    check_open = desk.manager.check_open

    def broken_into() -> None:
        if not inner:
            inner.append(desk.submit())
        check_open()

    monkeypatch.setattr(desk.manager, "check_open", broken_into)
    with pytest.raises(RuntimeError, match="after shutdown"):
        desk.submit()
    assert isinstance(inner[0].exception(0), RuntimeError)


def test_nobody_waits_for_the_end_in_the_middle_of_a_step(desks: Callable[..., Desk]) -> None:
    desk = desks()
    desk.submit()
    desk.serve()
    assert desk.manager.within(desk.manager.wait) is False
    with pytest.raises(RuntimeError, match="would wait for ever"):
        desk.manager.within(desk.manager.check_may_sleep)
    desk.manager.check_may_sleep()


def test_a_handler_may_wait_for_what_its_thread_is_settling(
    desks: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else would settle it."""
    desk = desks()
    first, second = desk.submit(), desk.submit()
    desk.serve()
    seen: list[Any] = []
    settle = first._settle

    def broken_into(kind: int, data: Any) -> None:
        if not seen:
            seen.append(None)
            seen.append(second.result(DEADLINE))
        settle(kind, data)

    monkeypatch.setattr(first, "_settle", broken_into)
    desk.manager._step(None)
    desk.backend.report(desk.backend.started[0], (1, VALUE, "first"), (2, VALUE, "second"))
    assert seen[1:] == ["second"]
    assert first.result(0) == "first"
