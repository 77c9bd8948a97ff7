"""`aplex.testing.PaperAsyncPoolExecutor`: the test plays the workers."""

from __future__ import annotations

import asyncio

import pytest

from aplex.exceptions import WorkerLostError
from aplex.testing import PaperAsyncPoolExecutor


async def async_abs(number: int) -> int:
    return abs(number)


def test_a_call_ends_as_the_test_says() -> None:
    with PaperAsyncPoolExecutor() as pool:
        good, bad = pool.submit(pow, 2, 5), pool.submit(pow, 2, mod=None, exp=3)
        (first,) = pool.workers[0].calls  # functions go one by one, until a worker is known
        assert (first.function, first.args, first.kwargs) == (pow, (2, 5), {})
        first.succeed(32)
        (second,) = pool.workers[0].calls
        assert second.kwargs == {"mod": None, "exp": 3}
        second.fail(ValueError("no"))
        assert good.result(5) == 32
        with pytest.raises(ValueError, match="no"):
            bad.result(5)
        assert pool.workers[0].calls == []


def test_a_work_waits_for_a_worker_that_is_not_ready() -> None:
    with PaperAsyncPoolExecutor(ready=False) as pool:
        future = pool.submit(abs, 1)
        (worker,) = pool.workers
        assert worker.calls == []
        worker.ready()
        worker.calls[0].succeed(1)
        assert future.result(5) == 1


def test_a_work_that_had_started_fails_with_its_worker() -> None:
    with PaperAsyncPoolExecutor() as pool:
        future = pool.submit(abs, 1)
        worker = pool.workers[0]
        worker.die()
        with pytest.raises(WorkerLostError, match="SIGKILL"):
            future.result(5)
        assert pool.workers[0].index == worker.index


def test_a_work_that_had_not_started_goes_to_the_successor() -> None:
    with PaperAsyncPoolExecutor() as pool:
        future = pool.submit(abs, 1)
        old = pool.workers[0].calls[0]
        pool.workers[0].die(started=False)
        with pytest.raises(RuntimeError, match="not with this worker"):
            old.succeed(2)
        pool.workers[0].calls[0].succeed(1)
        assert future.result(5) == 1


def test_retries_run_it_again() -> None:
    with PaperAsyncPoolExecutor(retries=1) as pool:
        future = pool.submit(abs, 1)
        pool.workers[0].die()
        pool.workers[0].calls[0].succeed(1)
        assert future.result(5) == 1


def test_a_cancel_is_seen_and_obeyed() -> None:
    async def coroutine() -> None: ...

    with PaperAsyncPoolExecutor() as pool:
        future = pool.submit(coroutine)
        (call,) = pool.workers[0].calls
        assert call.is_coroutine
        assert not call.cancel_wanted
        future.cancel()
        assert call.cancel_wanted
        call.obey()
        assert future.cancelled()


def test_results_may_be_awaited() -> None:
    async def main() -> None:
        async with PaperAsyncPoolExecutor(2, awaitable=True) as pool:
            futures = [pool.submit(async_abs, n) for n in range(4)]
            assert sorted(len(worker.calls) for worker in pool.workers) == [2, 2]
            for worker in pool.workers:
                for call in worker.calls:
                    call.succeed(call.args[0])
            assert await asyncio.gather(*futures) == [0, 1, 2, 3]

    asyncio.run(main())


def test_the_executor_ends_when_all_calls_have() -> None:
    pool = PaperAsyncPoolExecutor()
    future = pool.submit(abs, 1)
    pool.shutdown(wait=False)
    assert not future.done()
    pool.workers[0].calls[0].succeed(1)
    pool.shutdown()
    assert pool.workers == []


def test_calls_that_nobody_has_ended_are_told() -> None:
    with pytest.raises(RuntimeError, match="nobody has ended"), PaperAsyncPoolExecutor() as pool:
        future = pool.submit(abs, 1)
    with pytest.raises(WorkerLostError):
        future.result(5)
