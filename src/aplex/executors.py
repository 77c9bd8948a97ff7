"""The executors: what users see.

The path of a work: ``submit`` makes a future and encodes the call, in the
caller's thread, before any lock; the `Manager` takes the work through the `Pool`
to a worker, and the worker's report back to the future.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
import functools
import itertools
import multiprocessing
import sys
import time
import weakref
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
)
from multiprocessing.context import BaseContext
from types import TracebackType
from typing import Any, Literal, NoReturn, ParamSpec, TypedDict, TypeVar, Unpack, overload

from aplex._backends.contract import Backend, Setup
from aplex._backends.process.backend import ProcessBackend
from aplex._backends.thread import ThreadBackend
from aplex._calls.capacity import Room
from aplex._calls.lanes import lane_of
from aplex._calls.settings import PoolSettings, check_loop
from aplex._calls.surface import Streaming, open_stream
from aplex._common.cpus import usable_cpus
from aplex._common.identity import this_pool
from aplex._common.messages import COROUTINE
from aplex._common.options import WorkOptions, as_limit, check_count
from aplex._manager.manager import Manager
from aplex._map import results as map_results
from aplex._map.plan import Place, Plan, check_input, open_window
from aplex._map.unread import Unread
from aplex._pool.pool import Pool
from aplex._pool.restarts import RestartPolicy
from aplex._pool.state import Work
from aplex._worker.timeouts import run_within
from aplex.exceptions import SerializationError
from aplex.futures import AsyncioFuture, ConcurrentFuture
from aplex.load_balancers import LoadBalancerFactory, RoundRobin
from aplex.outcomes import Outcome
from aplex.streams import AsyncStream, Stream, of_this_task, of_this_thread
from aplex.views import MapOptions, OptionsOfWorks, PoolView, cannot_travel, refined

__all__ = ["AsyncPoolExecutor", "ProcessAsyncPoolExecutor", "ThreadAsyncPoolExecutor"]

P = ParamSpec("P")
T = TypeVar("T")
Awaits = TypeVar("Awaits", bound=bool)
"""Whether results are awaited: ``Literal[True]`` or ``Literal[False]``."""
Loop = asyncio.AbstractEventLoop
_numbers = itertools.count(1)


class PoolOptions(TypedDict, total=False):
    """The keyword arguments that all executors share."""

    pool_size: int | None
    max_works_per_worker: int
    load_balancer: LoadBalancerFactory
    future_loop: Loop | None
    worker_loop_factory: Callable[[], Loop] | None
    initializer: Callable[..., object] | None
    initargs: tuple[Any, ...]
    exit_grace: float
    retries: int
    quarantine_after: int
    max_restarts: int
    restart_window: float
    max_works_per_child: int | None
    max_pending: int | None


class ProcessOptions(PoolOptions, total=False):
    """The keyword arguments of `ProcessAsyncPoolExecutor`."""

    mp_context: BaseContext | str | None
    start_timeout: float | None


class MapOptionsWithMeta(MapOptions, total=False):
    """The keyword arguments of ``map`` of an executor."""

    load_balancing_meta: Any


class AsyncPoolExecutor(Streaming[Awaits], concurrent.futures.Executor):
    """Base of the executors: runs coroutine functions and plain functions in workers.

    It is a ``concurrent.futures.Executor``. What the standard library promises of
    executors holds, unless the documentation of aplex says otherwise. Use
    `ProcessAsyncPoolExecutor` or `ThreadAsyncPoolExecutor`.
    """

    _in_threads = False  # whether works run in threads of this process

    def __init__(
        self,
        backend: Callable[[Setup], Backend],
        *,
        awaitable: bool,
        pool_size: int | None = None,
        max_works_per_worker: int = 300,
        load_balancer: LoadBalancerFactory = RoundRobin,
        future_loop: Loop | None = None,
        worker_loop_factory: Callable[[], Loop] | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        exit_grace: float = 5.0,
        retries: int = 0,
        quarantine_after: int = 3,
        max_restarts: int = 3,
        restart_window: float = 5.0,
        max_works_per_child: int | None = None,
        max_pending: int | None = None,
        start_timeout: float | None = None,
    ) -> None:
        """Check the options; nothing is started before the first work.

        Args:
            backend: What makes the back end.
            awaitable: Whether `submit` returns futures to be awaited, and `map` an
                asynchronous iterator.
            pool_size: Number of workers. None: the CPUs this process may use, by
                affinity and cgroup quota.
            max_works_per_worker: How many works a worker may have aboard, in works.
            load_balancer: A `LoadBalancer` class, or what is called like one.
            future_loop: The loop that awaitable futures belong to. None: the running
                one at each `submit`.
            worker_loop_factory: Makes the event loop of a worker (``uvloop.new_event_loop``).
                None: the loop of ``asyncio``.
            initializer: Called in each worker before it serves; a coroutine function runs
                on the worker's event loop.
            initargs: Its arguments. Locks, queues and shared values of ``multiprocessing``
                are inherited by worker processes.
            exit_grace: Seconds that coroutine works have to finish at the exit of the
                interpreter if `shutdown` was not called; also the seconds after which
                an idle worker that does not end is killed. Infinite: it waits for them.
            retries: How many times a work runs again, at most, after its worker has died.
                0: a work that had started never runs twice.
            quarantine_after: Deaths of workers after which a work does not run again,
                whatever its ``retries`` allow.
            max_restarts: How many failed starts in a row are made good while no worker
                serves; then the executor is broken. A start has failed if the worker
                ends before it has served a work.
            restart_window: Seconds without a failed start after which a row has ended;
                also how long a worker must have been there not to count as one.
            max_works_per_child: After so many works a worker is replaced: it serves until
                its successor does, finishes what it has, and ends. None: never.
            max_pending: How many works may be submitted and not done. `submit` then blocks
                until there is room; with ``awaitable=True`` see `room`. None: no bound.
            start_timeout: Seconds after which a worker that is not ready is killed, which
                is a failed start. None, or infinite: never.

        Raises:
            ValueError: An option is out of range.
            TypeError: An option is of the wrong kind.
        """
        settings = PoolSettings(
            awaitable=awaitable,
            pool_size=pool_size,
            max_works_per_worker=max_works_per_worker,
            load_balancer=load_balancer,
            future_loop=future_loop,
            worker_loop_factory=worker_loop_factory,
            initializer=initializer,
            initargs=initargs,
            exit_grace=exit_grace,
            retries=retries,
            quarantine_after=quarantine_after,
            max_restarts=max_restarts,
            restart_window=restart_window,
            max_works_per_child=max_works_per_child,
            max_pending=max_pending,
            start_timeout=start_timeout,
        )
        self._options = settings.works
        self._awaitable = awaitable
        self._future_loop = future_loop
        self._size = usable_cpus() if pool_size is None else pool_size
        self._max_works_per_worker = max_works_per_worker
        name = f"{type(self).__name__}-{next(_numbers)}"
        self._backend = backend(Setup(name, worker_loop_factory, initializer, settings.initargs))
        pool = Pool(
            self._size,
            max_works_per_worker,
            load_balancer,
            RestartPolicy(max_restarts, settings.restart_window),
            max_works_per_child,
            clock=time.monotonic,
        )
        self._manager = Manager(
            pool, self._backend, name, settings.exit_grace, settings.start_timeout
        )
        self._unread = Unread()
        self._manager.before_exit = weakref.WeakMethod(self._read_out)
        self._room: Room | None = None
        self._take = self._manager.submit
        if max_pending is not None:
            self._room = Room(self._manager, max_pending, awaitable=awaitable)
            self._take = self._room.submit
        # Asks only: a finalizer may run in any thread, at any moment.
        self._finalizer = weakref.finalize(self, self._manager.abandon)
        self._finalizer.atexit = False

    def __repr__(self) -> str:
        """Show the state of the pool."""
        return f"<{type(self).__name__} {self._manager.pool!r}>"

    def __reduce__(self) -> NoReturn:
        """Refuse to travel.

        Raises:
            TypeError: Always.
        """
        raise cannot_travel(self)

    # -- submit ---------------------------------------------------------------

    @overload
    def submit(
        self: AsyncPoolExecutor[Literal[True]],
        work: Callable[P, Coroutine[Any, Any, T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> AsyncioFuture[T]: ...
    @overload
    def submit(
        self: AsyncPoolExecutor[Literal[True]],
        work: Callable[P, T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> AsyncioFuture[T]: ...
    @overload
    def submit(
        self: AsyncPoolExecutor[Literal[False]],
        work: Callable[P, Coroutine[Any, Any, T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> ConcurrentFuture[T]: ...
    @overload
    def submit(
        self: AsyncPoolExecutor[Literal[False]],
        work: Callable[P, T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> ConcurrentFuture[T]: ...
    # A ParamSpec leaves no place for a keyword argument of ours (PEP 612), so with
    # load_balancing_meta the arguments of the work are not checked.
    @overload
    def submit(  # type: ignore[overload-cannot-match]
        self: AsyncPoolExecutor[Literal[True]],
        work: Callable[..., Coroutine[Any, Any, T]],
        /,
        *args: Any,
        load_balancing_meta: Any,
        **kwargs: Any,
    ) -> AsyncioFuture[T]: ...
    @overload
    def submit(  # type: ignore[overload-cannot-match]
        self: AsyncPoolExecutor[Literal[True]],
        work: Callable[..., T],
        /,
        *args: Any,
        load_balancing_meta: Any,
        **kwargs: Any,
    ) -> AsyncioFuture[T]: ...
    @overload
    def submit(  # type: ignore[overload-cannot-match]
        self: AsyncPoolExecutor[Literal[False]],
        work: Callable[..., Coroutine[Any, Any, T]],
        /,
        *args: Any,
        load_balancing_meta: Any,
        **kwargs: Any,
    ) -> ConcurrentFuture[T]: ...
    @overload
    def submit(  # type: ignore[overload-cannot-match]
        self: AsyncPoolExecutor[Literal[False]],
        work: Callable[..., T],
        /,
        *args: Any,
        load_balancing_meta: Any,
        **kwargs: Any,
    ) -> ConcurrentFuture[T]: ...
    @overload
    def submit(
        self: AsyncPoolExecutor[bool], work: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> AsyncioFuture[Any] | ConcurrentFuture[Any]: ...
    def submit(
        self,
        work: Callable[..., Any],
        /,
        *args: Any,
        load_balancing_meta: Any = None,
        **kwargs: Any,
    ) -> AsyncioFuture[Any] | ConcurrentFuture[Any]:
        """Run a work in one of the workers.

        Arguments are captured now: process workers get them as they are at this
        moment. (Thread workers share the objects.)

        Args:
            work: A coroutine function, or any other callable. A coroutine runs on
                the worker's event loop, anything else on a thread beside it.
            *args: Positional arguments of the work.
            load_balancing_meta: Passed to the load balancer.
            **kwargs: Keyword arguments of the work.

        Returns:
            A `ConcurrentFuture`, or with ``awaitable=True`` an `AsyncioFuture` of the
            running loop (or of ``future_loop``). What the work raises, and whatever
            goes wrong with this work only, is the future's exception: among others
            `SerializationError`, `LoadBalancerError` and `WorkerLostError`.

        Raises:
            TypeError: ``work`` is not callable, is a coroutine *object*, or an
                asynchronous generator function.
            RuntimeError: The executor was shut down; or ``awaitable=True`` and no
                loop runs and there is no ``future_loop``; or this is a worker process
                that still imports the main module; or a work of this executor calls,
                and functions that wait for works hold what the new one needs.
            BrokenPoolError: The workers cannot be started.
            PoolFullError: ``max_pending`` works are pending, and the caller must not
                block: with ``awaitable=True``, in a callback of a future, or in a work.
        """
        options = self._options
        if load_balancing_meta is not None:
            options = dataclasses.replace(options, load_balancing_meta=load_balancing_meta)
        return self._submit(options, work, args, kwargs)

    def _submit(
        self,
        options: WorkOptions,
        work: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        blocking: ConcurrentFuture[Any] | None = None,
    ) -> AsyncioFuture[Any] | ConcurrentFuture[Any]:
        future: AsyncioFuture[Any] | ConcurrentFuture[Any]
        lane = lane_of(work)
        take = self._take
        if self._in_threads and self._is_called_by_work():
            self._manager.warn_of_nesting(limited=options.max_concurrency is not None)
            take = functools.partial(self._manager.take_nested, take)
        running = None
        if self._awaitable:
            running = asyncio._get_running_loop()  # noqa: SLF001 - documented, for libraries
            loop = self._future_loop or running
            if loop is None:
                raise _no_loop("submit")
            future = AsyncioFuture(loop=loop)
            if loop is not running:
                running = None
        else:
            future = ConcurrentFuture() if blocking is None else blocking
        submitted = time.monotonic() if options.deadline is not None else 0.0
        try:
            if options.timeout is not None and lane == COROUTINE:
                function, call = self._backend.encode(
                    run_within, (options.timeout, work, *args), kwargs
                )
            else:
                function, call = self._backend.encode(work, args, kwargs)
        except SerializationError as error:
            self._manager.check_open()
            future.set_exception(error)
            return future
        item = Work(lane, function, call, options.load_balancing_meta, future)
        item.manager = self._manager
        item.options = options
        item.target = work
        if options.timeout is not None and lane != COROUTINE:
            item.limited = True
        future._work = item  # noqa: SLF001 - private to the package
        take(item, running)
        if options.deadline is not None:
            self._manager.limit(item, submitted + options.deadline)
        return future

    def _is_called_by_work(self) -> bool:
        """Whether this thread runs works of this executor."""
        return this_pool() is self._backend

    # -- map ------------------------------------------------------------------

    @overload
    def map(
        self: AsyncPoolExecutor[Literal[True]],
        work: Callable[..., Coroutine[Any, Any, T]],
        *iterables: Iterable[Any] | AsyncIterable[Any],
        return_outcomes: Literal[False] = False,
        **options: Unpack[MapOptionsWithMeta],
    ) -> AsyncIterator[T]: ...
    @overload
    def map(
        self: AsyncPoolExecutor[Literal[True]],
        work: Callable[..., T],
        *iterables: Iterable[Any] | AsyncIterable[Any],
        return_outcomes: Literal[False] = False,
        **options: Unpack[MapOptionsWithMeta],
    ) -> AsyncIterator[T]: ...
    @overload
    def map(
        self: AsyncPoolExecutor[Literal[False]],
        work: Callable[..., Coroutine[Any, Any, T]],
        *iterables: Iterable[Any],
        return_outcomes: Literal[False] = False,
        **options: Unpack[MapOptionsWithMeta],
    ) -> Iterator[T]: ...
    @overload
    def map(
        self: AsyncPoolExecutor[Literal[False]],
        work: Callable[..., T],
        *iterables: Iterable[Any],
        return_outcomes: Literal[False] = False,
        **options: Unpack[MapOptionsWithMeta],
    ) -> Iterator[T]: ...
    @overload
    def map(
        self: AsyncPoolExecutor[Literal[True]],
        work: Callable[..., Coroutine[Any, Any, T]],
        *iterables: Iterable[Any] | AsyncIterable[Any],
        return_outcomes: Literal[True],
        **options: Unpack[MapOptionsWithMeta],
    ) -> AsyncIterator[Outcome[T]]: ...
    @overload
    def map(
        self: AsyncPoolExecutor[Literal[True]],
        work: Callable[..., T],
        *iterables: Iterable[Any] | AsyncIterable[Any],
        return_outcomes: Literal[True],
        **options: Unpack[MapOptionsWithMeta],
    ) -> AsyncIterator[Outcome[T]]: ...
    @overload
    def map(
        self: AsyncPoolExecutor[Literal[False]],
        work: Callable[..., Coroutine[Any, Any, T]],
        *iterables: Iterable[Any],
        return_outcomes: Literal[True],
        **options: Unpack[MapOptionsWithMeta],
    ) -> Iterator[Outcome[T]]: ...
    @overload
    def map(
        self: AsyncPoolExecutor[Literal[False]],
        work: Callable[..., T],
        *iterables: Iterable[Any],
        return_outcomes: Literal[True],
        **options: Unpack[MapOptionsWithMeta],
    ) -> Iterator[Outcome[T]]: ...
    def map(  # pyright: ignore[reportIncompatibleMethodOverride]  # results may be awaited
        self,
        work: Callable[..., Any],
        *iterables: Iterable[Any] | AsyncIterable[Any],
        timeout: float | None = None,
        chunksize: int | Literal["auto"] = 1,
        buffersize: int | None = None,
        ordered: bool = True,
        return_outcomes: bool = False,
        load_balancing_meta: Any = None,
    ) -> Iterator[Any] | AsyncIterator[Any]:
        """Run a work on each item; yield the results in the order of the items.

        Like ``concurrent.futures.Executor.map``, but lazy: as many items as the
        workers can hold (``pool_size * max_works_per_worker``) are submitted now,
        and one more whenever a result is taken. An endless iterable is fine.

        Args:
            work: As for `submit`.
            *iterables: One for each positional argument; the shortest ends the map. With
                ``awaitable=True`` they may be asynchronous, too; the map closes those.
            timeout: Seconds from this call until the last result must be there. None, or
                infinite: no limit.
            chunksize: Items that travel together as one work. More than 1 pays for
                many short works. The coroutines of a chunk run concurrently.
                ``"auto"``: chunks adapt to how long the works take. It submits a few
                items now, the others while results are taken; never more than 8,192
                for each worker (or ``max_works_per_worker``, if that is more) are taken
                from the input and not handed over.
            buffersize: How many items, at most, are taken from the input and not yet
                handed over, as in CPython 3.14; chunks get smaller to fit. None: what
                the workers can hold; for chunks see above.
            ordered: Whether results come in the order of the items. If not, they come as
                works complete.
            return_outcomes: Whether to yield an `Outcome` for each item, which tells what
                it returned or raised, and never to stop at a failure.
            load_balancing_meta: Passed to the load balancer for each work.

        Returns:
            An iterator; with ``awaitable=True`` an asynchronous iterator. Where a
            work raised, it raises, and the works not yet done are cancelled. So they
            are when it is closed, or dropped after a ``break``.

        Raises:
            ValueError: ``chunksize`` or ``buffersize`` is less than 1; or ``timeout`` is NaN.
            TypeError: As for `submit`; ``chunksize`` is no int and not ``"auto"``;
                ``buffersize`` is no int; ``timeout`` is no number; or an iterable is
                asynchronous and the executor is not.
            RuntimeError: The executor was shut down.
            TimeoutError: While iterating: the timeout passed.
        """
        options = dataclasses.replace(self._options, load_balancing_meta=load_balancing_meta)
        plan = Plan(chunksize, buffersize, ordered, return_outcomes)
        return self._map(options, work, iterables, timeout, plan)

    def _map(
        self,
        options: WorkOptions,
        work: Callable[..., Any],
        iterables: tuple[Iterable[Any] | AsyncIterable[Any], ...],
        timeout: float | None,
        plan: Plan,
    ) -> Iterator[Any] | AsyncIterator[Any]:
        timeout = as_limit("timeout", timeout, passed=True)
        lane = lane_of(work)
        options = options.for_map_of(work)
        asynchronous = check_input(iterables, awaitable=self._awaitable)
        self._manager.check_open()
        deadline = None if timeout is None else time.monotonic() + timeout
        manager = None if self._awaitable else self._manager
        place = Place(self._submit, self._size, self._max_works_per_worker, manager)
        window = functools.partial(open_window, place, plan, options, work, lane, iterables)
        results: map_results.BlockingResults | map_results.AwaitableResults
        if self._awaitable:
            # Without a running loop there is nothing to make awaitable futures with yet.
            running = asyncio._get_running_loop()  # noqa: SLF001
            at_once = bool(running or (self._future_loop and plan.ordered and not asynchronous))
            kind = map_results.AwaitableChunks if plan.in_chunks else map_results.AwaitableResults
            results = kind(window, deadline, at_once=at_once)
        elif plan.in_chunks:
            results = map_results.BlockingChunks(window, deadline)
        else:
            results = map_results.BlockingResults(window, deadline)
        caller = sys._getframe(2)  # noqa: SLF001 - for a warning; much quicker than `inspect`
        where = caller.f_code.co_filename, caller.f_lineno
        bounded = plan.buffersize is not None
        self._unread.add(results, where, bounded=bounded, asynchronous=asynchronous)
        if isinstance(results, map_results.BlockingChunks):
            return map_results.FlatResults.of(results)
        return results

    # -- stream ---------------------------------------------------------------

    def _stream(
        self, work: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> AsyncStream[Any] | Stream[Any]:
        return self._open_stream(self._options, work, args, kwargs)

    def _open_stream(
        self,
        options: WorkOptions,
        work: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> AsyncStream[Any] | Stream[Any]:
        loop = None
        if self._awaitable:
            loop = self._future_loop or asyncio._get_running_loop()  # noqa: SLF001
            if loop is None:
                raise _no_loop("stream")
        call = work, args, kwargs
        take = self._manager.submit
        if self._in_threads and self._is_called_by_work():
            take = functools.partial(self._manager.take_nested, take)
        return open_stream(take, self._manager, self._backend.encode, options, call, loop)

    # -- options of works -----------------------------------------------------

    def options(self, **options: Unpack[OptionsOfWorks]) -> PoolView[Awaits]:
        """Return a light view of this executor whose works have these options.

        Args:
            **options: ``load_balancing_meta``: passed to the load balancer;
                ``retries``: how many times a work runs again, at most, after its worker
                has died (in works; default: that of the executor);
                ``buffersize``: how many items of a stream, at most, are yielded and not yet
                handed over (default: 16); also of a `map` that is not told otherwise;
                ``quarantine_after``: deaths of workers after which it does not run again,
                whatever ``retries`` allows (default: that of the executor);
                ``max_concurrency``: how many works run at once, at most, in the whole pool;
                ``rate``: how many start per second, at most, evenly spaced;
                ``key``: what these two count by, anything hashable (default: the callable);
                ``priority``: works that wait for a worker go by it, the highest first
                (default: 0), then in the order of their submits;
                ``timeout``: seconds from the start of a work in its worker after which it
                is stopped, and its future raises ``TimeoutError`` (default: no limit);
                ``deadline``: the same, from submit (default: no limit);
                ``grace``: seconds that a plain function of a process worker has to end
                after it was interrupted, before its worker is replaced (default: 2);
                ``interruptible``: whether a plain function that runs may be interrupted
                (default: True).

        Returns:
            A `PoolView`, with ``submit``, ``map`` and ``stream``. It is immutable, costs next to
            nothing, and may be kept.

        Raises:
            TypeError: An option is of the wrong kind, or unknown.
            ValueError: An option is out of range.
        """
        return PoolView(self, refined(self._options, options))

    async def room(self) -> None:
        """Wait until a work can be submitted without exceeding ``max_pending``.

        Returns at once if there is room, or no bound. Call `submit` without another
        ``await`` in between: else others may have taken the room.

        Raises:
            RuntimeError: The executor was shut down.
            BrokenPoolError: The workers cannot be started.
        """
        self._manager.check_open()
        if self._room is not None:
            await self._room.wait()

    # -- life -----------------------------------------------------------------

    def set_future_loop(self, loop: Loop | None) -> None:
        """Set the loop that futures belong to from now on; None: the running one.

        Raises:
            ValueError: The executor was made without ``awaitable=True``.
            RuntimeError: The executor was shut down.
            BrokenPoolError: The workers cannot be started.
            TypeError: ``loop`` is no event loop.
        """
        self._manager.check_open()
        if not self._awaitable:
            raise ValueError("set_future_loop needs an executor made with awaitable=True")
        check_loop("loop", loop)
        self._future_loop = loop

    def resize(self, pool_size: int) -> None:
        """Have another number of workers, while works run.

        Returns at once. More: new workers start. Fewer: those that have the least to do
        get no more works, finish those they have, and end. May be called from any thread.

        Args:
            pool_size: The number of workers from now on.

        Raises:
            TypeError: It is no int.
            ValueError: It is less than 1.
            RuntimeError: The executor was shut down.
            BrokenPoolError: The workers cannot be started.
        """
        check_count("pool_size", pool_size)
        self._manager.resize(pool_size)
        self._size = pool_size

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002
        """Take no more works, and end the workers when the submitted works are done.

        May be called from any thread, and more than once.

        Args:
            wait: Block until the workers have ended. (In a callback of a future, in a
                work of a thread worker, or in a signal handler that has broken into a
                call of this executor, it returns at once: the end would wait for
                itself.) In a coroutine use ``async with``, which does not block.
                Streams that this thread reads are cancelled: it could not go on reading.
            cancel_futures: Cancel the works that wait for a worker.

        Before, the input of a `map` that nobody has begun to iterate is read to its end, unless
        ``cancel_futures`` or the map's ``buffersize`` was given. What the input raises, is
        raised here.
        """
        self._finalizer.detach()
        try:
            if not cancel_futures:
                self._read_out()
        finally:
            self._unread.forget()
            self._manager.close(cancel_waiting=cancel_futures)
        if wait:
            self._manager.cancel_streams(of_this_thread())
            self._manager.wait()

    def __enter__(self) -> AsyncPoolExecutor[Awaits]:
        """Return the executor."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """Wait for the works; if an exception leaves the block, cancel them first."""
        if exc_type is None:
            try:
                self._read_out()
            except BaseException as error:
                self.__exit__(type(error), error, error.__traceback__)
                raise
        self.shutdown(wait=False, cancel_futures=exc_type is not None)
        self._manager.cancel_streams(of_this_thread())
        self._manager.wait(self._cancel_for(exc_type))

    async def __aenter__(self) -> AsyncPoolExecutor[Awaits]:
        """Return the executor."""
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """Wait for the works; if an exception leaves the block, cancel them first."""
        if exc_type is None:
            try:
                if not self._manager.is_shut:
                    for results in self._unread.take():
                        await results.read_all_out()
            except BaseException as error:
                await self.__aexit__(type(error), error, error.__traceback__)
                raise
        self.shutdown(wait=False, cancel_futures=exc_type is not None)
        self._manager.cancel_streams(of_this_task())
        timeout = self._cancel_for(exc_type)
        gone = asyncio.wrap_future(self._manager.gone)
        await asyncio.wait((gone,), timeout=timeout)
        self._manager.wait(0)

    def _read_out(self) -> None:
        """Submit what is left of the input of maps that nobody has begun to iterate."""
        if not self._manager.is_shut:
            loop = self._future_loop or asyncio._get_running_loop()  # noqa: SLF001
            self._unread.read_out(loop=not self._awaitable or loop is not None)

    def _cancel_for(self, exc_type: type[BaseException] | None) -> float | None:
        """Cancel works as an exception that leaves a block asks for.

        Returns:
            How long to wait for the end, in seconds; None: until it comes.
        """
        if exc_type is None:
            return None
        if issubclass(exc_type, (KeyboardInterrupt, asyncio.CancelledError)):
            return self._manager.interrupt()
        self._manager.cancel_all()
        return None


def _context_of(mp_context: Any) -> Any:
    """Return the context that an option names, checked.

    What behaves like one will do: ``torch.multiprocessing``, and ``multiprocessing`` itself.
    """
    methods = multiprocessing.get_all_start_methods()
    if mp_context is None or mp_context in methods:
        return multiprocessing.get_context(mp_context or "spawn")
    allowed = f"one of {', '.join(map(repr, methods))}, a context of multiprocessing, or None"
    if isinstance(mp_context, str):
        raise ValueError(f"mp_context must be {allowed}, got {mp_context!r}")  # noqa: TRY004
    if not (hasattr(mp_context, "Process") and hasattr(mp_context, "get_start_method")):
        raise TypeError(f"mp_context must be {allowed}, not {mp_context!r}")
    return mp_context


def _no_loop(method: str) -> RuntimeError:
    return RuntimeError(
        f"no running event loop: with awaitable=True call {method}() in a coroutine, or give the "
        "executor a future_loop"
    )


class ProcessAsyncPoolExecutor(AsyncPoolExecutor[Awaits]):
    """Runs works in processes, each with an event loop of its own.

    The pool heals: a worker that dies is replaced, and only the works it had
    started fail.
    """

    @overload
    def __init__(
        self: ProcessAsyncPoolExecutor[Literal[False]],
        *,
        awaitable: Literal[False] = ...,
        **options: Unpack[ProcessOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: ProcessAsyncPoolExecutor[Literal[True]],
        *,
        awaitable: Literal[True],
        **options: Unpack[ProcessOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: ProcessAsyncPoolExecutor[bool],
        *,
        awaitable: bool,
        **options: Unpack[ProcessOptions],
    ) -> None: ...
    def __init__(
        self,
        *,
        awaitable: bool = False,
        mp_context: BaseContext | str | None = None,
        start_timeout: float | None = 60.0,
        **options: Unpack[PoolOptions],
    ) -> None:
        """Make an executor; the workers start with the first work.

        Args:
            awaitable: Whether `submit` returns futures to be awaited, and `map` an
                asynchronous iterator.
            mp_context: How processes start: ``"spawn"``, ``"forkserver"``, ``"fork"``,
                or a context of ``multiprocessing``. None: ``"spawn"``, which is safe in
                a program with threads and leaves nothing with a name behind.
            start_timeout: Seconds after which a worker that is not ready (that still
                imports, or runs the ``initializer``) is killed, which is a failed start.
                None, or infinite: never.
            **options: As for `AsyncPoolExecutor`.

        Raises:
            ValueError: An option is out of range.
            TypeError: An option is of the wrong kind.
            SerializationError: ``initializer``, ``initargs`` or ``worker_loop_factory``
                cannot be pickled.
        """
        super().__init__(
            functools.partial(ProcessBackend, _context_of(mp_context)),
            awaitable=awaitable,
            start_timeout=start_timeout,
            **options,
        )

    def terminate_workers(self) -> None:
        """End all workers at once by SIGTERM, and shut the executor down.

        After ``concurrent.futures.ProcessPoolExecutor.terminate_workers`` of CPython 3.14:
        works that had not started are cancelled, those that had fail with
        `WorkerLostError`, and nothing more can be submitted. Does not wait for the end;
        `shutdown` does. A handler of SIGTERM that a work has set is called; a worker that
        lives on is killed after ``exit_grace`` seconds.
        """
        self._end_workers(kill=False)

    def kill_workers(self) -> None:
        """End all workers at once by SIGKILL, and shut the executor down.

        As `terminate_workers`, but nothing can withstand it. After
        ``concurrent.futures.ProcessPoolExecutor.kill_workers`` of CPython 3.14.
        """
        self._end_workers(kill=True)

    def _end_workers(self, *, kill: bool) -> None:
        self._finalizer.detach()
        self._manager.end_workers(kill=kill)


class ThreadAsyncPoolExecutor(AsyncPoolExecutor[Awaits]):
    """Runs works in threads, each worker with an event loop of its own.

    A worker has two threads: one for its event loop, one for plain functions.
    Nothing is pickled. A plain function that runs cannot be stopped.

    A work may submit works to its own executor. It must not block until they are done
    (``RuntimeError``); a coroutine can await them.
    """

    _in_threads = True

    @overload
    def __init__(
        self: ThreadAsyncPoolExecutor[Literal[False]],
        *,
        awaitable: Literal[False] = ...,
        **options: Unpack[PoolOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: ThreadAsyncPoolExecutor[Literal[True]],
        *,
        awaitable: Literal[True],
        **options: Unpack[PoolOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: ThreadAsyncPoolExecutor[bool],
        *,
        awaitable: bool,
        **options: Unpack[PoolOptions],
    ) -> None: ...
    def __init__(
        self,
        *,
        awaitable: bool = False,
        **options: Unpack[PoolOptions],
    ) -> None:
        """Make an executor; the workers start with the first work.

        Args:
            awaitable: As for `ProcessAsyncPoolExecutor`.
            **options: As for `AsyncPoolExecutor`. The initializer is called in each
                worker's thread for plain functions.

        Raises:
            ValueError: An option is out of range.
            TypeError: An option is of the wrong kind.
        """
        super().__init__(
            ThreadBackend,
            awaitable=awaitable,
            **options,
        )
