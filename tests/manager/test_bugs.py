"""Collaboration: bugs of aplex's own, injected where two parts meet, leave no future unresolved."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from aplex._common.messages import VALUE
from aplex._pool.state import PoolWorker, Work
from aplex.exceptions import BrokenPoolError, WorkerLostError
from aplex.futures import ConcurrentFuture
from tests.manager.desk import DEADLINE, Desk


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
