"""Types: legal uses with the types they must have, and wrong ones that must be errors.

Never run. Checked by both:

    mypy --strict tests/typing/api.py
    pyright -p tests/typing

An expected error carries an ignore for each; one that is not needed is an error itself.
"""

# ruff: noqa: PGH003 (which rule pyright names is not the point)

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal, Unpack, assert_type

from aplex import (
    AsyncioFuture,
    AsyncPoolExecutor,
    AsyncStream,
    ConcurrentFuture,
    LoadBalancer,
    Outcome,
    PoolView,
    ProcessAsyncPoolExecutor,
    SharedHandle,
    Stream,
    ThreadAsyncPoolExecutor,
)
from aplex.load_balancers import Average, Random, RoundRobin, Worker
from aplex.typing import WorkOptions


class Page:
    """What a coroutine returns."""


async def fetch(url: str, *, retries: int = 0) -> Page:
    raise NotImplementedError


def area(width: int, height: float = 1.0) -> float:
    return width * height


def nothing() -> None: ...


# -- what the executors are -----------------------------------------------------------------


def kinds() -> None:
    blocking = ProcessAsyncPoolExecutor()
    assert_type(blocking, ProcessAsyncPoolExecutor[Literal[False]])
    explicit = ProcessAsyncPoolExecutor(awaitable=False, pool_size=2)
    assert_type(explicit, ProcessAsyncPoolExecutor[Literal[False]])
    awaiting = ProcessAsyncPoolExecutor(awaitable=True, mp_context="spawn")
    assert_type(awaiting, ProcessAsyncPoolExecutor[Literal[True]])
    assert_type(ThreadAsyncPoolExecutor(), ThreadAsyncPoolExecutor[Literal[False]])
    assert_type(ThreadAsyncPoolExecutor(awaitable=True), ThreadAsyncPoolExecutor[Literal[True]])
    standard: concurrent.futures.Executor = blocking
    assert standard is not None


def like_the_standard_library() -> None:
    assert_type(ProcessAsyncPoolExecutor(4), ProcessAsyncPoolExecutor[Literal[False]])
    pool = ThreadAsyncPoolExecutor(max_workers=4, awaitable=True)
    assert_type(pool, ThreadAsyncPoolExecutor[Literal[True]])
    assert_type(pool.max_workers, int)
    pool.max_workers = 2  # type: ignore[misc] # pyright: ignore


def wrapped(**options: Unpack[WorkOptions]) -> Iterator[Page]:
    return ProcessAsyncPoolExecutor(4).options(**options).map(fetch, ["one"])


def unknown_kind(flag: bool) -> None:
    executor = ProcessAsyncPoolExecutor(awaitable=flag)
    assert_type(executor, ProcessAsyncPoolExecutor[bool])
    assert_type(executor.submit(area, 1), AsyncioFuture[Any] | ConcurrentFuture[Any])


# -- stream ---------------------------------------------------------------------------------


async def tokens(prompt: str, *, buffersize: int = 0) -> AsyncIterator[Page]:
    yield Page()


def lines(path: str) -> Iterator[bytes]:
    yield b""


def stream_blocking(pool: ProcessAsyncPoolExecutor[Literal[False]]) -> None:
    assert_type(pool.stream(tokens, "prompt", buffersize=3), Stream[Page])
    assert_type(pool.stream(lines, "path"), Stream[bytes])
    assert_type(next(pool.options(buffersize=3).stream(lines, "path")), bytes)
    with pool.stream(lines, "path") as stream:
        for line in stream:
            assert_type(line, bytes)


async def stream_awaitable(pool: ThreadAsyncPoolExecutor[Literal[True]]) -> None:
    assert_type(pool.stream(lines, "path"), AsyncStream[bytes])
    assert_type(pool.options(buffersize=3).stream(tokens, "prompt"), AsyncStream[Page])
    async with pool.stream(tokens, "prompt") as stream:
        assert_type(await anext(stream), Page)


# -- submit ---------------------------------------------------------------------------------


def submit_blocking(pool: ProcessAsyncPoolExecutor[Literal[False]]) -> None:
    assert_type(pool.submit(fetch, "url"), ConcurrentFuture[Page])
    assert_type(pool.submit(fetch, "url", retries=3), ConcurrentFuture[Page])
    assert_type(pool.submit(fetch, "url").result(), Page)
    assert_type(pool.submit(area, 2), ConcurrentFuture[float])
    assert_type(pool.submit(area, 2, height=3.0), ConcurrentFuture[float])
    assert_type(pool.submit(nothing), ConcurrentFuture[None])
    assert_type(pool.submit(partial(area, 2)), ConcurrentFuture[float])
    assert_type(pool.submit(len, "text"), ConcurrentFuture[int])
    assert_type(pool.submit(Page), ConcurrentFuture[Page])
    standard: concurrent.futures.Future[float] = pool.submit(area, 2)
    assert_type(standard.cancel(), bool)


async def submit_awaitable(pool: ThreadAsyncPoolExecutor[Literal[True]]) -> None:
    assert_type(pool.submit(fetch, "url"), AsyncioFuture[Page])
    assert_type(await pool.submit(fetch, "url", retries=3), Page)
    assert_type(pool.submit(area, 2), AsyncioFuture[float])
    assert_type(await pool.submit(area, 2, 3.0), float)
    standard: asyncio.Future[float] = pool.submit(area, 2)
    pages = await asyncio.gather(pool.submit(fetch, "one"), pool.submit(fetch, "two"))
    assert_type(pages[0], Page)
    async with asyncio.timeout(1):
        assert_type(await standard, float)


async def submit_with_meta(
    blocking: ProcessAsyncPoolExecutor[Literal[False]],
    awaiting: ProcessAsyncPoolExecutor[Literal[True]],
) -> None:
    assert_type(blocking.submit(fetch, "url", load_balancing_meta=1), ConcurrentFuture[Page])
    assert_type(blocking.submit(area, 1, load_balancing_meta="x"), ConcurrentFuture[float])
    assert_type(await awaiting.submit(fetch, "url", load_balancing_meta=None), Page)
    assert_type(await awaiting.submit(area, 1, load_balancing_meta=[2]), float)


def submit_with_options(pool: ProcessAsyncPoolExecutor[Literal[False]]) -> None:
    view = pool.options(retries=2, load_balancing_meta="x")
    assert_type(view.submit(fetch, "url", load_balancing_meta=1), ConcurrentFuture[Page])
    assert_type(view.awaitable.submit(area, 1, load_balancing_meta=1), AsyncioFuture[float])
    for page in view.map(fetch, ["one"], load_balancing_meta="y"):
        assert_type(page, Page)
    limited = view.options(time_limit=60, idle_timeout=5.0, deadline=None)
    assert_type(limited.stream(lines, "path"), Stream[bytes])
    assert_type(view, PoolView[Literal[False]])
    assert_type(view.options(quarantine_after=5), PoolView[Literal[False]])
    assert_type(view.submit(fetch, "url", retries=3), ConcurrentFuture[Page])
    assert_type(view.submit(area, 2), ConcurrentFuture[float])
    assert_type(view.map(fetch, ["one"]), Iterator[Page])
    view.submit(area, "two")  # type: ignore[call-overload] # pyright: ignore
    pool.options(retry=1)  # type: ignore[call-arg] # pyright: ignore
    limited = pool.options(max_concurrency=3, rate=2.5, priority=-1, limit_key=("api", 1))
    assert_type(limited.submit(area, 2), ConcurrentFuture[float])
    pool.options(rate="5/s")  # type: ignore[arg-type] # pyright: ignore
    pool.options(limit_key=[])  # type: ignore[arg-type] # pyright: ignore


async def wait_for_room() -> None:
    pool = ProcessAsyncPoolExecutor(awaitable=True, max_pending=10)
    assert_type(await pool.submit_when_free(area, 2), AsyncioFuture[float])
    assert_type(await pool.options(retries=1).submit_when_free(fetch, "one"), AsyncioFuture[Page])
    assert_type(await pool.start(at_least=1), None)
    assert_type(pool.blocking.submit(area, 2), ConcurrentFuture[float])
    assert_type(pool.awaitable, PoolView[Literal[True]])
    assert_type(await pool.submit(area, 2), float)


async def await_with_options(pool: ThreadAsyncPoolExecutor[Literal[True]]) -> None:
    view = pool.options(retries=2)
    assert_type(await view.submit(fetch, "url"), Page)
    assert_type(view.submit(area, 2), AsyncioFuture[float])
    assert_type(view.map(fetch, ["one"]), AsyncIterator[Page])


# -- map ------------------------------------------------------------------------------------


def map_blocking(pool: ProcessAsyncPoolExecutor[Literal[False]]) -> None:
    assert_type(pool.map(fetch, ["one", "two"]), Iterator[Page])
    assert_type(pool.map(area, [1, 2], [3.0, 4.0], chunksize=2, timeout=1.5), Iterator[float])
    assert_type(pool.map(area, [1, 2], chunksize="auto"), Iterator[float])
    assert_type(pool.map(area, [1], buffersize=10, ordered=False), Iterator[float])
    assert_type(pool.map(fetch, ["one"], return_outcomes=True), Iterator[Outcome[Page]])
    assert_type(pool.map(area, [1], return_outcomes=True, timeout=1), Iterator[Outcome[float]])
    for page in pool.map(fetch, ["one"], load_balancing_meta="x"):
        assert_type(page, Page)
    for outcome in pool.map(fetch, ["one"], return_outcomes=True, load_balancing_meta="x"):
        assert_type(outcome.result(), Page)
        assert_type(outcome.value, Page | None)
        assert_type(outcome.exception, BaseException | None)
        assert_type(outcome.worker, int | None)
        assert_type(outcome.seconds_running, float | None)


async def numbers() -> AsyncIterator[int]:
    yield 1


async def map_awaitable(pool: ProcessAsyncPoolExecutor[Literal[True]]) -> None:
    assert_type(pool.map(fetch, ["one", "two"]), AsyncIterator[Page])
    assert_type(pool.map(area, [1, 2]), AsyncIterator[float])
    assert_type(pool.map(fetch, ["one"], chunksize="auto"), AsyncIterator[Page])
    async for page in pool.map(fetch, ["one"], chunksize=10):
        assert_type(page, Page)
    assert_type(pool.map(area, numbers(), [1.0], buffersize=3), AsyncIterator[float])
    async for outcome in pool.map(area, numbers(), return_outcomes=True):
        assert_type(outcome, Outcome[float])
    view = pool.options(retries=1)
    assert_type(view.map(fetch, numbers(), return_outcomes=True), AsyncIterator[Outcome[Page]])
    assert_type(view.map(area, numbers(), ordered=False, timeout=3), AsyncIterator[float])


# -- life -----------------------------------------------------------------------------------


def contexts() -> None:
    with ProcessAsyncPoolExecutor(pool_size=1) as pool:
        assert_type(pool.submit(area, 2), ConcurrentFuture[float])
        pool.shutdown(wait=False, cancel_futures=True)


async def async_contexts() -> None:
    async with ThreadAsyncPoolExecutor(awaitable=True) as pool:
        assert_type(await pool.submit(fetch, "url"), Page)
        pool.set_future_loop(None)
        pool.set_future_loop(asyncio.get_running_loop())


async def standard_uses(pool: ProcessAsyncPoolExecutor[Literal[False]]) -> None:
    loop = asyncio.get_running_loop()
    assert_type(await loop.run_in_executor(pool, area, 1), float)
    done, _ = concurrent.futures.wait([pool.submit(area, 1)], timeout=1)
    for future in done:
        assert_type(future.result(), float)
    for future in concurrent.futures.as_completed([pool.submit(area, 1)]):
        assert_type(future.result(), float)
    assert_type(await asyncio.wrap_future(pool.submit(area, 1)), float)


def either(pool: AsyncPoolExecutor[Literal[False]]) -> ConcurrentFuture[float]:
    """Both executors have one base."""
    return pool.submit(area, 1)


either(ProcessAsyncPoolExecutor())
either(ThreadAsyncPoolExecutor())


# -- options --------------------------------------------------------------------------------


class Mine(LoadBalancer):
    def get_proper_worker(self, load_balancing_meta: Any = None) -> Worker:
        assert_type(self.workers, Sequence[Worker])
        assert_type(self.workloads, Mapping[Worker, int])
        assert_type(self.max_works_per_worker, int)
        assert_type(self.is_available(self.workers[0]), bool)
        assert_type(self.get_available_workers(), list[Worker])
        worker = min(self.workers, key=lambda worker: worker.workload)
        assert_type(worker.pid, int | None)
        assert_type(worker.available, bool)
        return worker


def factory(workers: Sequence[Worker], workloads: Mapping[Worker, int], limit: int) -> Mine:
    return Mine(workers, workloads, limit)


def initialize(level: int) -> None: ...


for balancer in (RoundRobin, Random, Average, Mine, factory):
    ProcessAsyncPoolExecutor(load_balancer=balancer)
ProcessAsyncPoolExecutor(
    pool_size=None,
    max_works_per_worker=10,
    worker_loop_factory=asyncio.new_event_loop,
    initializer=initialize,
    initargs=(3,),
    exit_grace=1,
)
ThreadAsyncPoolExecutor(awaitable=True, future_loop=asyncio.new_event_loop())


# -- wrong uses -----------------------------------------------------------------------------


def wrong_arguments(pool: ProcessAsyncPoolExecutor[Literal[False]]) -> None:
    """The arguments of a work are checked against its parameters."""
    pool.submit(fetch, 3)  # type: ignore[call-overload]  # pyright: ignore
    pool.submit(fetch)  # type: ignore[call-overload]  # pyright: ignore
    pool.submit(area, "wide")  # type: ignore[call-overload]  # pyright: ignore
    pool.submit(area, 1, 2.0, 3)  # type: ignore[call-overload]  # pyright: ignore
    pool.stream(lines)  # type: ignore[call-overload]  # pyright: ignore


def wrong_results(pool: ProcessAsyncPoolExecutor[Literal[False]]) -> None:
    number: int = pool.submit(fetch, "url").result()  # type: ignore[assignment]  # pyright: ignore
    assert number


async def wrong_kinds(
    blocking: ProcessAsyncPoolExecutor[Literal[False]],
    awaiting: ProcessAsyncPoolExecutor[Literal[True]],
) -> None:
    await blocking.submit(fetch, "url")  # type: ignore[misc]  # pyright: ignore
    for _ in awaiting.map(fetch, ["url"]):  # type: ignore[attr-defined]  # pyright: ignore
        pass
    async for _ in blocking.map(fetch, ["url"]):  # type: ignore[attr-defined]  # pyright: ignore
        pass


def wrong_options() -> None:
    ThreadAsyncPoolExecutor().map(area, numbers())  # type: ignore[call-overload]  # pyright: ignore
    ThreadAsyncPoolExecutor().map(area, [1], buffer=1)  # type: ignore[call-overload]  # pyright: ignore
    ThreadAsyncPoolExecutor().map(area, [1], chunksize="best")  # type: ignore[call-overload]  # pyright: ignore
    ProcessAsyncPoolExecutor(4, "spawn")  # type: ignore[call-overload]  # pyright: ignore
    ProcessAsyncPoolExecutor(pool_size="4")  # type: ignore[call-overload]  # pyright: ignore
    ThreadAsyncPoolExecutor(mp_context="spawn")  # type: ignore[call-overload]  # pyright: ignore
    ProcessAsyncPoolExecutor(load_balancer=Mine.is_available)  # type: ignore[arg-type]  # pyright: ignore


# -- shared objects -------------------------------------------------------------------------


def shared(pool: ProcessAsyncPoolExecutor[Literal[False]], page: Page) -> None:
    handle = pool.share(page)
    assert_type(handle, SharedHandle[Page])
    assert_type(pool.options(priority=1).share(page), SharedHandle[Page])
    # It may stand where the object is wanted.
    assert_type(pool.submit(reads, handle, 2), ConcurrentFuture[str])
    assert_type(pool.submit(reads, page=handle, count=2), ConcurrentFuture[str])
    with handle as same:
        assert_type(same, SharedHandle[Page])
    assert_type(handle.closed, bool)
    pool.submit(reads, handle, "two")  # type: ignore[call-overload] # pyright: ignore


def reads(page: Page, count: int) -> str:
    raise NotImplementedError
