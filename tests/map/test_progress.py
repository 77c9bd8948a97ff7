"""What counts completions: nobody waits for whoever is telling of one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import pytest

from aplex import ThreadAsyncPoolExecutor
from aplex._map.progress import Counter, Progress
from aplex.progress import as_completed


def _later(_seconds: float, _call: object) -> None:
    raise AssertionError("nothing is drawn")


def good_at_the_third_try(tries: Path) -> Callable[[], None]:
    """Return a work that keeps in a file how often it was tried."""

    def work() -> None:
        with tries.open("a") as file:
            file.write(".")
        if tries.stat().st_size < 3:
            raise OSError

    return work


def test_nobody_waits_for_a_thread_that_tells() -> None:
    told: list[int] = []
    telling, gate = threading.Event(), threading.Event()

    def tell(progress: Progress) -> None:
        told.append(progress.done)
        telling.set()
        assert gate.wait(10)

    futures: list[Future[None]] = [Future() for _ in range(3)]
    counter = Counter(tell, 3, _later)
    for future in futures:
        counter.expect(future)
    thread = threading.Thread(target=futures[0].set_result, args=(None,))
    thread.start()
    assert telling.wait(10)
    futures[1].set_result(None)  # at once, though the other thread is in the function
    futures[2].set_result(None)
    assert told == [1]
    gate.set()
    counter.close()
    thread.join()
    assert told == [1, 2, 3]


def test_what_ends_while_it_is_told_is_told_after_it() -> None:
    """In the same thread, as in a signal handler that breaks into the function."""
    told: list[int] = []
    futures: list[Future[None]] = [Future() for _ in range(2)]

    def tell(progress: Progress) -> None:
        if not futures[1].done():
            futures[1].set_result(None)
            counter.close()
        told.append(progress.done)

    counter = Counter(tell, 2, _later)
    for future in futures:
        counter.expect(future)
    futures[0].set_result(None)
    assert told == [1, 2]


def test_nothing_is_told_after_the_end() -> None:
    told: list[Progress] = []
    future: Future[None] = Future()
    counter = Counter(told.append, 1, _later)
    counter.expect(future)
    counter.close()
    future.set_result(None)
    assert told == []


def test_retries_of_a_work_that_was_done_before_it_was_expected_count(tmp_path: Path) -> None:
    """The future keeps their number, as it has no work any more."""
    told: list[Progress] = []
    work = good_at_the_third_try(tmp_path / "tries")

    with ThreadAsyncPoolExecutor(1) as pool:
        future = pool.options(retry_on=OSError, backoff=0).submit(work)
        future.result(10)
    assert [done is future for done in as_completed([future], told.append)] == [True]
    assert told[-1] == Progress(done=1, failed=0, total=1, retried=2)


def test_they_count_with_awaited_futures_too(tmp_path: Path) -> None:
    told: list[Progress] = []
    work = good_at_the_third_try(tmp_path / "tries")

    async def main() -> None:
        async with ThreadAsyncPoolExecutor(1, awaitable=True) as pool:
            future = pool.options(retry_on=OSError, backoff=0).submit(work)
            await future
            async for done in as_completed([future], told.append):
                await done

    asyncio.run(main())
    assert told[-1] == Progress(done=1, failed=0, total=1, retried=2)


def test_what_raises_is_told_nothing_more(caplog: pytest.LogCaptureFixture) -> None:
    """And says so once, not for each item."""
    told: list[Progress] = []

    def tell(progress: Progress) -> None:
        told.append(progress)
        raise OSError("the terminal has gone")

    with ThreadAsyncPoolExecutor(1) as pool:
        assert list(pool.map(abs, range(50), progress=tell)) == list(range(50))
    (record,) = caplog.records
    assert "progress= has raised" in record.getMessage()
    assert len(told) == 1
