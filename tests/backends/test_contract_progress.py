"""Contract: progress of maps counts completions, in every engine."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path
from typing import Any

import pytest

from aplex.progress import Progress, as_completed
from tests.support import works
from tests.support.callers import PROCESSES, Caller, everywhere, make_pool

pytestmark = pytest.mark.few_engines


class OwnBar:
    """Counts."""

    def __init__(self) -> None:
        self.n = 0

    def update(self, n: int) -> None:
        """Count."""
        self.n += n


@everywhere
@pytest.mark.parametrize("options", [{}, {"chunksize": 4}, {"ordered": False}])
def test_a_function_is_told_of_each_completion(caller: Caller, options: dict[str, Any]) -> None:
    told: list[Progress] = []
    results = caller.map(works.add, range(10), progress=told.append, **options)
    assert sorted(results) == list(range(10))
    last = max(told, key=lambda progress: progress.done)
    assert last == Progress(10, 0, 10)


def test_a_bar_of_the_users_is_updated(caller: Caller) -> None:
    bar = OwnBar()
    assert list(caller.map(works.aadd, iter(range(5)), progress=bar)) == list(range(5))
    assert bar.n == 5


def test_nothing_is_shown_without_a_terminal(
    caller: Caller, capfd: pytest.CaptureFixture[str]
) -> None:
    assert list(caller.map(works.add, range(3), progress="adding")) == [0, 1, 2]
    assert capfd.readouterr() == ("", "")


def test_without_tqdm_the_cure_is_named(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with pytest.raises(ImportError, match=r"aplex\[progress\]"):
        caller.map(works.add, range(3), progress=True)


def test_something_else_is_a_type_error(caller: Caller) -> None:
    with pytest.raises(TypeError, match="progress must be"):
        caller.map(works.add, range(3), progress=7)


def test_futures_are_counted_as_they_complete(engine: str) -> None:
    told: list[Progress] = []
    with make_pool(engine) as pool:
        futures = [pool.submit(works.add, 1), pool.submit(works.fail, ValueError())]
        assert set(as_completed(futures, told.append)) == set(futures)
    assert told[-1] == Progress(2, 1, 2)
    assert [progress.done for progress in told] == [1, 2]


def test_futures_that_are_awaited_are_yielded_to_async_for(engine: str) -> None:
    told: list[Progress] = []

    async def complete() -> None:
        with make_pool(engine, awaitable=True) as pool:
            futures = [pool.submit(works.aadd, 1), pool.submit(works.fail, ValueError())]
            done = [future async for future in as_completed(futures, told.append)]
            assert set(done) == set(futures)
            assert all(future.done() for future in done)

    asyncio.run(complete())
    assert [progress.done for progress in told] == [1, 2]
    assert told[-1] == Progress(2, 1, 2)


def test_what_is_cancelled_is_complete(engine: str) -> None:
    told: list[Progress] = []
    with make_pool(engine, max_works_per_worker=1) as pool:
        futures = [pool.submit(asyncio.sleep, 60) for _ in range(3)]
        for future in futures:
            future.cancel()
        assert set(as_completed(futures, told.append)) == set(futures)
    assert told[-1] == Progress(3, 0, 3)


@pytest.mark.parametrize("options", [{"return_outcomes": True}, {"chunksize": 4}])
def test_failures_are_counted_also_in_chunks(caller: Caller, options: dict[str, Any]) -> None:
    told: list[Progress] = []
    results = caller.map(works.inverse, [2, 1, 0, 0], progress=told.append, **options)
    with contextlib.suppress(ZeroDivisionError):
        list(results)
    last = max(told, key=lambda progress: progress.done)
    assert last == Progress(4, 2 if "return_outcomes" in options else 1, 4)


def test_retries_are_counted(caller: Caller, tmp_path: Path) -> None:
    told: list[Progress] = []
    through = caller.through(caller.pool.options(retry_on=works.NotYet, backoff=0))
    paths = [str(tmp_path / "a"), str(tmp_path / "b")]
    results = through.map(works.fail_at_first, paths, progress=told.append)
    assert list(results) == paths
    last = max(told, key=lambda progress: progress.done)
    assert last == Progress(2, 0, 2, retried=2)


@pytest.mark.parametrize("engine", PROCESSES, indirect=True)
def test_works_that_ran_again_after_a_death_are_counted(engine: str, tmp_path: Path) -> None:
    told: list[Progress] = []
    with make_pool(engine) as pool:
        future = pool.options(retries=1).submit(works.die_at_first, str(tmp_path / "a"))
        assert list(as_completed([future], told.append)) == [future]
    assert told == [Progress(1, 0, 1, retried=1)]


def test_a_function_may_use_the_pool(engine: str) -> None:
    """It is called in threads that others wait for, and may be in the middle of a call."""
    told: list[int] = []

    def tell(progress: Progress) -> None:
        told.append(progress.done)
        inner = pool.map(works.add, range(2), progress=lambda progress: told.append(-progress.done))
        inner.close()

    with make_pool(engine) as pool:
        assert list(pool.map(works.add, range(3), progress=tell)) == [0, 1, 2]
    assert [done for done in told if done > 0] == [1, 2, 3]


def test_both_kinds_of_futures_are_a_type_error(engine: str) -> None:
    async def mix() -> None:
        with make_pool(engine) as pool:
            futures: list[Any] = [pool.submit(abs, -1), asyncio.get_running_loop().create_future()]
            with pytest.raises(TypeError, match="but not both"):
                as_completed(futures)

    asyncio.run(mix())


def test_a_timeout_ends_the_iteration(engine: str) -> None:
    async def wait() -> None:
        async with make_pool(engine, awaitable=True) as pool:
            future = pool.submit(asyncio.sleep, 60)
            with pytest.raises(TimeoutError):
                async for _ in as_completed([future], False, timeout=0.01):
                    pass
            assert not future.done()
            future.cancel()

    asyncio.run(wait())
