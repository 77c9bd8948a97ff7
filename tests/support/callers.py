"""The two faces of an executor behind one face for tests: blocking, and awaitable.

A test that asks for a ``caller`` states a promise that both faces make. `Awaiting` keeps an
event loop running in a thread.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import copy
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest
from tests.support.emulation.start import emulated
from tests.support.only import only_engine

from aplex import (
    DaskAsyncPoolExecutor,
    InterpreterAsyncPoolExecutor,
    ProcessAsyncPoolExecutor,
    RayAsyncPoolExecutor,
    RemoteAsyncPoolExecutor,
    ThreadAsyncPoolExecutor,
)

DEADLINE = 30.0 if emulated() else 10.0  # there is no template: each worker imports
"""Seconds after which a future is taken for lost."""
ENGINES = {
    None: ("thread", "template", "spawn", "forkserver", "fork"),
    "macos": ("thread", "template", "forkserver"),  # the template is what there is by default
    "windows": ("thread", "template"),
}[emulated()]
if only_engine() is not None:
    ENGINES = (str(only_engine()),)
REMOTE = () if emulated() or only_engine() else ("remote",)
"""Workers that a command starts, and that dial in, as far as tests do without what only processes
of one machine share."""
THIN = ENGINES if only_engine() else ("thread", "template", *REMOTE)
"""An engine of each kind."""
PROCESSES = ENGINES if only_engine() else ENGINES[1:]
"""Those whose workers are sent pickles."""
KILLED = signal.SIGTERM if emulated() == "windows" else signal.SIGKILL
"""By what ``multiprocessing`` says that a process which was killed has ended."""
LOOPS = ("stock",) if emulated() == "windows" or only_engine() else ("stock", "uvloop")
FACES = ("blocking", "awaitable")

everywhere = pytest.mark.usefixtures("whole_matrix")
"""Decorates a test that is run against every engine, both kinds of loop, both faces."""

Pool = (
    ProcessAsyncPoolExecutor[Any]
    | ThreadAsyncPoolExecutor[Any]
    | RemoteAsyncPoolExecutor[Any]
    | InterpreterAsyncPoolExecutor[Any]
)


def make_pool(engine: str, *, loop: str = "stock", **options: Any) -> Pool:
    """Make an executor; one worker unless told otherwise."""
    options.setdefault("pool_size", 1)
    if loop != "stock":
        options.setdefault("worker_loop_factory", loop_factory(loop))
    if engine == "remote":
        return RemoteAsyncPoolExecutor([sys.executable, "-m", "aplex.worker"], **options)
    if engine == "dask":
        return DaskAsyncPoolExecutor(os.environ["APLEX_TEST_DASK"], **options)
    if engine == "ray":
        options.setdefault("start_timeout", 30.0)
        return RayAsyncPoolExecutor(num_cpus=0.1, log_to_driver=False, **options)
    if engine == "thread":
        return ThreadAsyncPoolExecutor(**options)
    if engine == "interpreter":
        return InterpreterAsyncPoolExecutor(**options)
    if engine == "template" and emulated():  # there is none: it is what others have by default
        return ProcessAsyncPoolExecutor(**options)
    return ProcessAsyncPoolExecutor(mp_context=engine, **options)


def loop_factory(loop: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes an event loop of that kind."""
    if loop == "stock":
        return asyncio.new_event_loop
    import uvloop

    return uvloop.new_event_loop


class Blocking:
    """Uses an executor as any thread does."""

    awaitable = False
    Cancelled: type[BaseException] = concurrent.futures.CancelledError

    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        return self.pool.submit(work, *args, **kwargs)

    def cancel(self, future: Any) -> bool:
        return future.cancel()

    def wait(self, *futures: Any, timeout: float = DEADLINE) -> None:
        """Wait until all are done."""
        _done, late = concurrent.futures.wait(futures, timeout)
        assert not late, f"not done: {late}"

    def map(self, work: Callable[..., Any], /, *iterables: Any, **options: Any) -> Iterator[Any]:
        return self.pool.map(work, *iterables, **options)

    def stream(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Iterator[Any]:
        return self.pool.stream(work, *args, **kwargs)

    def close(self) -> None:
        """Leave the executor; works that a failed test has left are cancelled."""
        self.pool.__exit__(RuntimeError, None, None)

    # -- the same for both faces ----------------------------------------------

    def result(self, future: Any, timeout: float = DEADLINE) -> Any:
        """Return the result, or raise what the future holds."""
        self.wait(future, timeout=timeout)
        return future.result()

    def error(self, future: Any, timeout: float = DEADLINE) -> BaseException:
        """Return the exception of a future that failed."""
        self.wait(future, timeout=timeout)
        error = future.exception()
        assert error is not None, future
        return error

    def through(self, view: Any) -> Any:
        """Return a caller that calls a view of the executor instead."""
        other = copy.copy(self)
        other.pool = view
        return other

    def call(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run a work, return its result."""
        return self.result(self.submit(work, *args, **kwargs))

    def raised(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> BaseException:
        """Run a work, return its exception."""
        return self.error(self.submit(work, *args, **kwargs))

    def assert_idle(self) -> None:
        """The last test has left no work in the pool."""
        deadline = time.monotonic() + DEADLINE
        while "0 works waiting, 0 in flight" not in repr(self.pool):
            assert time.monotonic() < deadline, self.pool
            time.sleep(0.001)


class Awaiting(Blocking):
    """Uses an awaitable executor from an event loop."""

    awaitable = True
    Cancelled = asyncio.CancelledError

    def __init__(self, pool: Pool, loop: str = "stock") -> None:
        super().__init__(pool)
        self._runner = asyncio.Runner(loop_factory=loop_factory(loop))
        self.loop = self._runner.get_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="caller's loop")
        self._thread.start()

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        async def submit() -> Any:
            return self.pool.submit(work, *args, **kwargs)

        return self.run(submit())

    def cancel(self, future: Any) -> bool:
        return self._on_loop(future.cancel)

    def wait(self, *futures: Any, timeout: float = DEADLINE) -> None:
        _done, late = self.run(asyncio.wait(futures, timeout=timeout))
        assert not late, f"not done: {late}"

    def map(self, work: Callable[..., Any], /, *iterables: Any, **options: Any) -> Iterator[Any]:
        return Steps(self, self._on_loop(self.pool.map, work, *iterables, **options))

    def stream(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Iterator[Any]:
        return Steps(self, self._on_loop(self.pool.stream, work, *args, **kwargs))

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the caller's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    def _on_loop(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        async def run() -> Any:
            return call(*args, **kwargs)

        return self.run(run())

    def close(self) -> None:
        self.run(self.pool.__aexit__(RuntimeError, None, None))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self._runner.close()


class Steps(Iterator[Any]):
    """An asynchronous iterator, as a plain one."""

    def __init__(self, caller: Awaiting, results: AsyncIterator[Any]) -> None:
        self._caller = caller
        self._results = results

    def __next__(self) -> Any:
        end = object()
        value = self._caller.run(_next(self._results, end))
        if value is end:
            raise StopIteration
        return value

    def close(self) -> None:
        self._caller.run(_close(self._results))


Caller = Blocking


def caller_of(face: str, engine: str, loop: str = "stock", **options: Any) -> Caller:
    """Make an executor with that face, and a caller that uses it."""
    pool = make_pool(engine, loop=loop, awaitable=face == "awaitable", **options)
    return Awaiting(pool, loop) if face == "awaitable" else Blocking(pool)


async def _next(results: AsyncIterator[Any], end: object) -> Any:
    return await anext(results, end)


async def _close(results: Any) -> None:
    await results.aclose()
