"""Logic: when workers that died are replaced, and when a pool is broken."""

from __future__ import annotations

import pytest

from aplex._pool.failures import sign_of
from aplex._pool.restarts import FIRST_PAUSE, LONGEST_PAUSE, RestartPolicy
from aplex.exceptions import BrokenPoolError, RemoteTraceback, WorkerLostError, WorkerStartError
from tests.support.pools import ALL_STARTED, DrivenPool


def test_the_first_restart_is_made_at_once_and_pauses_double() -> None:
    policy = RestartPolicy(max_restarts=4)
    pauses = [policy.restart() for _ in range(5)]
    assert pauses == [0.0, FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE, 8 * FIRST_PAUSE]
    assert policy.exhausted
    for _ in range(100):
        pause = policy.restart()
    assert pause == LONGEST_PAUSE


def test_quiet_seconds_end_a_row_of_failures_and_the_time_of_starts_does_not_count() -> None:
    policy = RestartPolicy(window=5.0)
    policy.failed(0.0, 60.0)
    policy.failed(60.0, 120.0)  # it took a minute to fail, but began at once
    assert policy.failures == 2
    policy.failed(130.0, 131.0)
    assert policy.failures == 1


def test_a_failed_start_is_made_good_after_a_pause() -> None:
    pool = DrivenPool(2, ready=False)
    pool.lose(pool.workers[0])
    assert len(pool.started) == 3
    pool.lose(pool.workers[0])
    assert pool.pauses == [FIRST_PAUSE]
    assert (len(pool.workers), len(pool.started)) == (1, 3)
    pool.pass_pause()
    assert (len(pool.workers), len(pool.started)) == (2, 4)


def test_all_restarts_are_used_up_then_the_rest_are_awaited() -> None:
    """A pool is broken when nobody is left who may serve, not before."""
    pool = DrivenPool(4, ready=False, max_restarts=1)
    work = pool.submit()
    for _ in range(4):
        pool.lose(pool.workers[0])
        assert pool.pool.broken is None
    pool.ready(pool.workers[0])
    pool.end(work)
    assert len(pool.workers) == 4, "one that serves fills the gaps"


def test_while_the_cluster_is_away_no_start_has_failed() -> None:
    """Neither of a worker that starts, nor of one that was there for a moment only."""
    pool = DrivenPool(2, ready=False, max_restarts=0)
    work = pool.submit()
    pool.ready(pool.workers[0])
    for _ in range(5):
        for worker in list(pool.workers):
            pool.lose(worker, blameless=True, uptime=0.1)
    assert (len(pool.workers), len(pool.started), pool.pauses) == (2, 12, [])
    pool.ready(pool.workers[0])
    assert work.worker is pool.workers[0]


def failure(number: int = 7, text: str = "no such module") -> WorkerStartError:
    """What is told of a worker process that could not import something."""
    error = WorkerStartError(f"worker process {number} exited")
    error.__cause__ = LookupError(f"{text} at 0x{number:x} in process {number}")
    error.__cause__.__cause__ = RemoteTraceback(f"File {text}, line 1\nLookupError: {text}")
    return error


@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_failure_that_comes_a_second_time_is_the_end(size: int) -> None:
    """Those that start meanwhile are stopped, and nobody waits for them."""
    pool = DrivenPool(size, ready=False, max_restarts=100)
    work = pool.submit()
    pool.fail_to_start(pool.workers[0], failure(1))
    assert pool.pool.broken is None
    others = list(pool.workers[1:])
    pool.fail_to_start(pool.workers[0], failure(2))
    assert isinstance(pool.error(work), BrokenPoolError)
    assert str(pool.error(work)).startswith("the pool is broken: 2 workers in a row")
    assert pool.stopped == others
    for worker in others:
        pool.lose(worker, reason=failure(3))
    assert len(pool.started) == size + 1
    assert list(pool.pool.everyone()) == []


def test_a_restart_that_waits_is_given_up_with_the_others() -> None:
    pool = DrivenPool(3, ready=False, max_restarts=100)
    for number in range(3):
        pool.fail_to_start(pool.workers[0], ConnectionError("refused"))
        assert len(pool.pauses) == number
    pool.fail_to_start(pool.workers[0], failure())
    assert pool.pool.broken is None
    pool.pass_pause()
    pool.fail_to_start(pool.workers[0], failure())
    assert isinstance(pool.pool.broken, BrokenPoolError)
    pool.pass_pauses()
    assert pool.workers == []


def test_different_failures_are_tried_again() -> None:
    pool = DrivenPool(1, ready=False, max_restarts=2)
    for text in ("one", "other"):
        pool.fail_to_start(pool.workers[0], failure(text=text))
        pool.pass_pauses()
        assert pool.pool.broken is None
    pool.ready(pool.workers[0])
    pool.end(pool.submit())
    pool.lose(pool.workers[0])
    pool.fail_to_start(pool.workers[0], failure(text="one"))
    assert pool.pool.broken is None, "the row has ended"


def test_a_pool_with_a_worker_that_serves_tries_on() -> None:
    pool = DrivenPool(2, ready=False, max_restarts=1)
    pool.ready(pool.workers[0])
    for _ in range(4):
        pool.fail_to_start(pool.workers[1], failure())
        pool.pass_pauses()
    assert pool.pool.broken is None
    assert pool.policy.gave_up


@pytest.mark.parametrize(
    "passing",
    [
        None,
        WorkerStartError("it did not become ready"),
        WorkerLostError(7, -9, 0),
        ConnectionRefusedError("refused"),
        MemoryError(),
        RuntimeError("can't start new thread"),
        RemoteTraceback("File x\nBlockingIOError: [Errno 11] no more processes\n"),
    ],
)
def test_what_may_pass_is_tried_again(passing: BaseException | None) -> None:
    error = WorkerStartError("it failed")
    error.__cause__ = passing
    assert sign_of(error) is None


def test_the_same_failure_has_one_sign() -> None:
    assert sign_of(None) is None
    assert sign_of(failure(1)) == sign_of(failure(2))
    assert sign_of(failure(1)) != sign_of(failure(1, text="other"))

    def raised(lines: int) -> BaseException:
        try:
            exec(compile("\n" * lines + "raise LookupError('it')", "place", "exec"))
        except LookupError as error:
            return error
        raise AssertionError

    assert sign_of(raised(1)) == sign_of(raised(1))
    assert sign_of(raised(1)) != sign_of(raised(2))

    class Silent(Exception):
        def __str__(self) -> str:
            raise self

    assert sign_of(Silent()) == sign_of(Silent())


def test_no_restart_at_all() -> None:
    pool = DrivenPool(ready=False, max_restarts=0)
    work = pool.submit()
    pool.lose(pool.workers[0])
    assert isinstance(pool.error(work), BrokenPoolError)


def test_while_a_worker_serves_a_pool_stays_open_for_ever() -> None:
    pool = DrivenPool(2, ready=False)
    serving = pool.workers[0]
    pool.ready(serving)
    for _ in range(50):
        assert pool.pool.broken is None
        pool.pass_pauses()
        starting = [w for w in pool.workers if w is not serving]
        assert len(starting) == 1, "it is tried on and on"
        pool.lose(starting[0], uptime=0.1)
    assert pool.submit().worker is serving


@pytest.mark.parametrize(("uptime", "failures"), [(0.1, 1), (5.0, 1), (5.1, 0)])
def test_an_idle_worker_that_was_there_for_long_did_not_fail_to_start(
    uptime: float, failures: int
) -> None:
    pool = DrivenPool()
    pool.lose(pool.workers[0], uptime=uptime)
    assert pool.policy.failures == failures


def test_a_worker_that_started_a_work_did_not_fail_to_start() -> None:
    """Or one poison work could break a pool."""
    pool = DrivenPool()
    for _ in range(20):
        pool.submit()
        pool.lose(pool.workers[0], ALL_STARTED, uptime=0.1)
        pool.ready(pool.workers[0])
    assert pool.pool.broken is None


def test_a_restart_that_is_no_longer_wanted_is_not_made() -> None:
    pool = DrivenPool(ready=False)
    pool.lose(pool.workers[0])
    pool.lose(pool.workers[0])
    assert (pool.workers, len(pool.pauses)) == ([], 1)
    pool.close()
    pool.pass_pause()
    assert pool.workers == []
