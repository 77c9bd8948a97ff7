"""The interface of aiomultiprocess, over the pool of aplex.

    import aplex.compat.aiomultiprocess as aiomultiprocess

    async with aiomultiprocess.Pool() as pool:
        async for page in pool.map(fetch, urls):
            ...

The names and keywords are those of aiomultiprocess 0.9 (https://aiomultiprocess.omnilib.dev). Its
pool polls queues each 5 ms, and loses the works of a worker that dies, so that whoever waits for
them waits for ever; this one does neither.
"""

from __future__ import annotations

import asyncio
import os
import traceback
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Sequence
from functools import partial
from typing import Any, Generic, Literal, Self, TypeVar

from aplex.compat import _aio_process
from aplex.compat._aio_process import (
    Process,
    Worker,
    check_synchronous,
    get_context,
    set_context,
    set_start_method,
)
from aplex.compat._aio_queues import ByQueue, QueueID, RoundRobin, Scheduler, TaskID
from aplex.exceptions import AplexError, RemoteError
from aplex.executors import ProcessAsyncPoolExecutor
from aplex.load_balancers import RoundRobin as InTurn

__all__ = [
    "Pool",
    "PoolResult",
    "Process",
    "ProxyException",
    "QueueID",
    "RoundRobin",
    "Scheduler",
    "TaskID",
    "Worker",
    "get_context",
    "set_context",
    "set_start_method",
]

T = TypeVar("T")

MAX_TASKS_PER_CHILD = 0
"""Works after which a worker is replaced, unless told otherwise: it never is."""
CHILD_CONCURRENCY = 16
"""Works that run in a worker at a time, unless told otherwise."""
_handler: Callable[[BaseException], Any] | None = None  # of this worker process


class ProxyException(Exception):  # noqa: N818 - its name there
    """A work has raised: its text is the traceback, and its cause the exception itself."""


class PoolResult(Generic[T]):
    """The results of a map, in the order of its items: to be awaited, or for ``async for``.

    Attributes:
        pool: Whose works they are of.
        task_ids: The numbers of these works.
    """

    def __init__(self, pool: Pool, works: Sequence[tuple[TaskID, asyncio.Future[Any]]]) -> None:
        """Use `Pool.map`."""
        self.pool = pool
        self.task_ids = [task_id for task_id, _ in works]
        self._futures = [future for _, future in works]

    def __await__(self) -> Generator[Any, Any, Sequence[T]]:
        """Wait for all results."""
        return self.results().__await__()

    async def results(self) -> Sequence[T]:
        """Wait for all results.

        Raises:
            ProxyException: A work has raised.
        """
        return [result async for result in self]

    def __aiter__(self) -> AsyncIterator[T]:
        """Yield the results, in their order."""
        return self.results_generator()

    async def results_generator(self) -> AsyncIterator[T]:
        """Yield the results, in their order.

        Raises:
            ProxyException: A work has raised.
        """
        for future in self._futures:
            yield await _unveiled(future)


class Pool:
    """Runs coroutines in worker processes.

    To be made where an event loop runs. The workers start with the first work.

    Args:
        processes: Number of workers. None: that of the CPUs.
        initializer: Called in each worker first, on the thread of its event loop.
        initargs: Its arguments.
        maxtasksperchild: Works after which a worker is replaced; 0: never.
        childconcurrency: Works that run in a worker at a time.
        queuecount: Number of queues: workers are assigned to them in turn, and run the works of
            their queue only. None: one for all.
        scheduler: Says which queue a work goes to. None: in turn.
        loop_initializer: Makes the event loop of a worker.
        exception_handler: Called in the worker with what a work raises.

    Raises:
        ValueError: There are more queues than workers; or a function that must be a plain one is
            a coroutine function.
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., None] | None = None,
        initargs: Sequence[Any] = (),
        maxtasksperchild: int = MAX_TASKS_PER_CHILD,
        childconcurrency: int = CHILD_CONCURRENCY,
        queuecount: int | None = None,
        scheduler: Scheduler | None = None,
        loop_initializer: Callable[..., asyncio.AbstractEventLoop] | None = None,
        exception_handler: Callable[[BaseException], None] | None = None,
    ) -> None:
        self.process_count = max(1, processes or os.cpu_count() or 2)
        self.queue_count = max(1, queuecount or 1)
        if self.queue_count > self.process_count:
            raise ValueError("queue count must be <= process count")
        check_synchronous("initializer", initializer)
        check_synchronous("loop_initializer", loop_initializer)
        self.scheduler = scheduler or RoundRobin()
        self.running = True
        self.last_id = 0
        self._handles = exception_handler is not None
        self._queues = [self.scheduler.register_queue(object()) for _ in range(self.queue_count)]
        self._places = {qid: place for place, qid in enumerate(self._queues)}
        for number in range(self.process_count):
            self.scheduler.register_process(self._queues[number % self.queue_count])
        starts = initializer is not None or exception_handler is not None
        self._executor: ProcessAsyncPoolExecutor[Literal[True]] = ProcessAsyncPoolExecutor(
            self.process_count,
            awaitable=True,
            mp_context=_aio_process.chosen,
            max_works_per_worker=max(1, childconcurrency),
            max_tasks_per_child=max(0, maxtasksperchild) or None,
            initializer=_begin if starts else None,
            initargs=(initializer, tuple(initargs), exception_handler) if starts else (),
            worker_loop_factory=loop_initializer,
            load_balancer=partial(ByQueue, self.queue_count) if self._has_queues else InTurn,
        )

    @property
    def _has_queues(self) -> bool:
        return self.queue_count > 1

    @property
    def processes(self) -> dict[int, QueueID]:
        """The queues of the workers, by the places of these, from 0."""
        return {n: self._queues[n % self.queue_count] for n in range(self.process_count)}

    async def __aenter__(self) -> Self:
        """Return the pool."""
        return self

    async def __aexit__(self, *_exception: object) -> None:
        """End the workers at once, whatever they run."""
        self.terminate()
        await self.join()

    async def apply(
        self,
        func: Callable[..., Any],
        args: Sequence[Any] | None = None,
        kwds: dict[str, Any] | None = None,
    ) -> Any:
        """Run one coroutine function, and return its result.

        If this is cancelled, so is the coroutine in its worker.

        Raises:
            RuntimeError: The pool is closed.
            ProxyException: The work has raised.
            WorkerLostError: Its worker died.
        """
        self._check_open()
        _, future = self._queue(func, args or (), kwds or {})
        return await _unveiled(future)

    def map(self, func: Callable[..., Any], iterable: Iterable[Any]) -> PoolResult[Any]:
        """Run a coroutine function for each item.

        Raises:
            RuntimeError: The pool is closed.
        """
        self._check_open()
        return PoolResult(self, [self._queue(func, (item,), {}) for item in iterable])

    def starmap(
        self, func: Callable[..., Any], iterable: Iterable[Sequence[Any]]
    ) -> PoolResult[Any]:
        """Run a coroutine function for each sequence of arguments.

        Raises:
            RuntimeError: The pool is closed.
        """
        self._check_open()
        return PoolResult(self, [self._queue(func, args, {}) for args in iterable])

    def close(self) -> None:
        """Take no more works. Those that were submitted are finished."""
        self.running = False
        self._executor.shutdown(wait=False)

    def terminate(self) -> None:
        """Take no more works, and end the workers at once."""
        self.running = False
        self._executor.terminate_workers()

    async def join(self) -> None:
        """Wait for the end of the workers.

        Raises:
            RuntimeError: The pool was not closed.
        """
        if self.running:
            raise RuntimeError("pool is still open")
        await self._executor.aclose()

    def _check_open(self) -> None:
        if not self.running:
            raise RuntimeError("pool is closed")

    def _queue(
        self, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]
    ) -> tuple[TaskID, asyncio.Future[Any]]:
        """Submit a work, and return its number and its future."""
        self.last_id += 1
        task_id = TaskID(self.last_id)
        qid = self.scheduler.schedule_task(task_id, func, args, kwargs)
        run: Any = partial(_handled, func) if self._handles else partial(_awaited, func)
        place = self._places[qid] if self._has_queues else None
        view = self._executor.options(load_balancing_meta=place)
        future: Any = view.submit(run, *args, **kwargs)
        future.add_done_callback(partial(self._complete, task_id))
        return task_id, future

    def _complete(self, task_id: TaskID, future: asyncio.Future[Any]) -> None:
        if not future.cancelled():
            future.exception()  # whom nobody waits for may fail in silence, as there
        self.scheduler.complete_task(task_id)


async def _unveiled(future: asyncio.Future[Any]) -> Any:
    """Return the result of a work; what it has raised comes as a `ProxyException`.

    Not by awaiting the future: what a work raises might end this program, as ``SystemExit`` does.
    """
    try:
        await asyncio.wait((future,))
    except asyncio.CancelledError:
        future.cancel()
        raise
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, AplexError) and not isinstance(error, RemoteError):  # not of the work
        raise error
    raise ProxyException("".join(traceback.format_exception(error))) from error


async def _begin(
    initializer: Callable[..., None] | None,
    initargs: tuple[Any, ...],
    handler: Callable[[BaseException], Any] | None,
) -> None:
    """Begin in a worker: a coroutine, as an initializer may ask for the event loop."""
    global _handler  # noqa: PLW0603 - of the process
    _handler = handler
    if initializer is not None:
        initializer(*initargs)


async def _awaited(func: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Run a work, which may be any function that returns something to be awaited."""
    return await func(*args, **kwargs)


async def _handled(func: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Run a work; show its exception to the handler."""
    try:
        return await func(*args, **kwargs)
    except BaseException as error:
        if _handler is not None:
            _handler(error)
        raise
