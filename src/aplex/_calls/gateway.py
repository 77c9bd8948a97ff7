"""Makes a future and a work of each call, and submits it; opens maps and streams.

An executor and its views share a gateway, and each *face* has one: works are submitted from
threads that block, or from event loops that await. The two faces of an executor share all else.
"""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import functools
import sys
import time
import weakref
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any

from aplex._backends.contract import Backend
from aplex._calls.capacity import Room
from aplex._calls.lanes import lane_of, stream_lane_of
from aplex._calls.settings import Loop, PoolSettings
from aplex._common.errors import PoolFullError, SerializationError
from aplex._common.identity import this_pool
from aplex._common.messages import COROUTINE, RAISED
from aplex._common.numbers import as_limit
from aplex._common.options import WorkOptions
from aplex._futures.awaitable import AsyncioFuture
from aplex._futures.blocking import ConcurrentFuture
from aplex._map import results as map_results
from aplex._map.plan import Place, Plan, check_input, open_window
from aplex._map.progress import AwaitedCounted, Counted, Counter, total_of
from aplex._map.unread import Unread
from aplex._pool.inflow import Inflow
from aplex._pool.state import Work
from aplex._worker.producers import produce
from aplex._worker.timeouts import produce_within, run_within
from aplex.handles import SharedHandle
from aplex.streams import AsyncStream, Stream, of_this_task, of_this_thread, this_reader

if TYPE_CHECKING:
    from aplex._calls.carrying import Encode
    from aplex._manager.manager import Manager
    from aplex.recordings import Recording

Watcher = Callable[[Callable[..., None]], Callable[..., None]]
"""Makes what takes works in of what has taken them in so far."""
BUFFERSIZE = 16
"""Items ahead of the reader of a stream, unless ``options(buffersize=…)`` says otherwise."""


class Gateway:
    """One face of an executor: submits what is called through it.

    When the gateway that the executor was made with is garbage, so are the executor and all
    its views: the pool then closes.

    Args:
        kind: Name of the executor's class.
        manager: Takes the works.
        backend: Encodes calls.
        settings: The options of the executor.
        in_threads: Whether works run in threads of this process.
    """

    def __init__(
        self,
        kind: str,
        manager: Manager,
        backend: Backend,
        settings: PoolSettings,
        *,
        in_threads: bool,
    ) -> None:
        self.kind = kind
        self.manager = manager
        self.awaitable = settings.awaitable
        self.future_loop = settings.future_loop
        self.unread = Unread()
        self.room: Room | None = None
        self._backend = backend
        self._encode: Encode = backend.encode
        if not in_threads and (settings.context or "opentelemetry.context" in sys.modules):
            from aplex._calls.carrying import carrying

            self._encode = carrying(backend.encode, settings.context)
        # Whether works see something of the context that they are submitted in.
        self._carries = in_threads or self._encode != backend.encode
        # Not the settings, which hold the ``initargs``.
        self._max_works_per_worker = settings.max_works_per_worker
        self._in_threads = in_threads
        self.recording: Recording | None = None  # of all that the pool does
        self._origin: Gateway | None = None  # of the other face, which must not be garbage
        self._is_shared = False  # whether there is the other face, or was
        self._watchers: tuple[Watcher, ...] = ()
        self._faces = weakref.WeakSet((self,))
        if settings.max_pending is not None:
            self.room = Room(manager, settings.max_pending)
        self._take = self._taker()
        manager.before_exit = weakref.WeakMethod(self.read_out)
        # Asks only: a finalizer may run in any thread, at any moment.
        self.finalizer = weakref.finalize(self, manager.abandon)
        self.finalizer.atexit = False

    def __repr__(self) -> str:
        return f"<{self.kind} {self.manager.pool!r}>"

    def face(self, *, awaitable: bool) -> Gateway:
        """Return the gateway of a face of the same executor."""
        origin = self._origin or self
        for known in (self, origin):
            if known.awaitable == awaitable:
                return known
        return origin._other_face(awaitable=awaitable)  # noqa: SLF001 - of this class

    def _other_face(self, *, awaitable: bool) -> Gateway:
        if not self._is_shared:
            self._is_shared = True
            self.manager.share()
            self._take = self._taker()
        other = copy.copy(self)
        other._become_face_of(self, awaitable=awaitable)  # noqa: SLF001 - of this class
        return other

    def _become_face_of(self, origin: Gateway, *, awaitable: bool) -> None:
        self._origin = origin
        self.awaitable = awaitable
        self.future_loop = None
        self._take = self._taker()
        self._faces.add(self)

    def _taker(self) -> Callable[..., None]:
        """Return what takes a work in, and the running loop if its future belongs to that."""
        take: Callable[..., None] = self.manager.submit
        if self.room is not None:
            take = functools.partial(self.room.submit, self.awaitable)
        if self._is_shared and self.awaitable:
            take = functools.partial(_take_and_arm, self.manager, take)
        return self._watched(take)

    def _watched(self, take: Callable[..., None]) -> Callable[..., None]:
        for watcher in self._watchers:
            take = watcher(take)
        return take

    def watch(self, watcher: Watcher, *, no_more: bool = False) -> None:
        """Have somebody stand before what takes works in, of all faces; or no more.

        Where nobody does, works pass nothing.

        Args:
            watcher: Who.
            no_more: Whether it is to go.
        """
        others = tuple(other for other in self._watchers if other != watcher)
        for face in list(self._faces):
            face._be_watched(others if no_more else (*others, watcher))  # noqa: SLF001 - of this class

    def _be_watched(self, watchers: tuple[Watcher, ...]) -> None:
        self._watchers = watchers
        self._carries = self._carries or bool(watchers)  # they see the context
        self._take = self._taker()

    # -- works ----------------------------------------------------------------

    def submit(
        self,
        options: WorkOptions,
        work: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        blocking: ConcurrentFuture[Any] | None = None,
    ) -> AsyncioFuture[Any] | ConcurrentFuture[Any]:
        """Submit a work. ``blocking`` is its future, if it is not to be made here.

        Raises:
            TypeError: The work is none.
            RuntimeError: There is no loop; or the executor was shut down; or a work submits, and
                functions that wait for works hold what the new one needs.
            BrokenPoolError: The workers cannot be started.
            PoolFullError: There is no room, and this thread must not block.
        """
        future: AsyncioFuture[Any] | ConcurrentFuture[Any]
        lane = lane_of(work)
        take = self._take
        if self._in_threads and this_pool() is self._backend:
            self.manager.warn_of_nesting(limited=options.max_concurrency is not None)
            take = functools.partial(self.manager.take_nested, take)
        running = None
        if self.awaitable:
            running = asyncio._get_running_loop()  # noqa: SLF001 - documented, for libraries
            loop = self.future_loop or running
            if loop is None:
                raise _no_loop("submit")
            future = AsyncioFuture(loop=loop)
            if loop is not running:
                running = None
        else:
            future = ConcurrentFuture() if blocking is None else blocking
        submitted = time.monotonic() if options.deadline is not None else 0.0
        try:
            if options.time_limit is not None and lane == COROUTINE:
                function, call = self._encode(run_within, (options.time_limit, work, *args), kwargs)
            else:
                function, call = self._encode(work, args, kwargs)
        except SerializationError as error:
            self.manager.check_open()
            future.set_exception(error)
            return future
        item = Work(lane, function, call, options.load_balancing_meta, future)
        item.manager = self.manager
        item.options = options
        item.target = work
        if options.time_limit is not None and lane != COROUTINE:
            item.limited = True
        if options.judged:
            from aplex._calls.judging import Judge

            item.judge = Judge(self.manager, item, options, args)
        future._work = item  # noqa: SLF001 - private to the package
        take(item, running)
        if options.deadline is not None:
            self.manager.limit(item, submitted + options.deadline)
        return future

    async def submit_when_free(
        self,
        options: WorkOptions,
        work: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> AsyncioFuture[Any] | ConcurrentFuture[Any]:
        """Wait for room, then submit a work.

        Raises:
            ValueError: Futures of this face are not awaited.
            TypeError: The work is none.
            RuntimeError: The executor was shut down.
            BrokenPoolError: The workers cannot be started.
        """
        if not self.awaitable:
            raise ValueError(
                "submit_when_free needs an executor made with awaitable=True, or its other face, "
                "`pool.awaitable`; here submit() itself waits for room"
            )
        room = self.room
        while room is not None:
            await room.wait()
            try:
                return self.submit(options, work, args, kwargs)
            except PoolFullError:  # another thread was faster
                continue
        return self.submit(options, work, args, kwargs)

    # -- shared objects -------------------------------------------------------

    def share(self, obj: Any) -> SharedHandle[Any]:
        """Share an object with the workers.

        Raises:
            SerializationError: It cannot be pickled.
            RuntimeError: The executor was shut down; or no workers can be started here.
            BrokenPoolError: The workers cannot be started.
        """
        self.manager.check_open()
        if self._backend.shares_early:  # only a pool that has begun frees what it holds
            self.manager.start_workers()
        return SharedHandle(self._backend.share(obj))

    # -- maps -----------------------------------------------------------------

    def map(
        self,
        options: WorkOptions,
        work: Callable[..., Any],
        iterables: tuple[Iterable[Any] | AsyncIterable[Any], ...],
        timeout: float | None,
        plan: Plan,
        progress: Any = None,
    ) -> Iterator[Any] | AsyncIterator[Any]:
        """Open a map. To be called by the method that the user calls: a warning names its caller.

        Raises:
            TypeError: The work is none; or an iterable is asynchronous, and nobody awaits.
            ValueError: The timeout is NaN.
            RuntimeError: The executor was shut down.
            BrokenPoolError: It is broken.
        """
        timeout = as_limit("timeout", timeout, passed=True)
        if options.judged:
            plan = dataclasses.replace(plan, judged=True)
        lane = lane_of(work)
        options = options.for_map_of(work)
        asynchronous = check_input(iterables, awaitable=self.awaitable)
        self.manager.check_open()
        deadline = None if timeout is None else time.monotonic() + timeout
        submit = self.submit
        if self._carries:  # the context of this call, whoever takes what from the input when
            submit = functools.partial(_submit_in, copy_context(), submit)
        place = Place(
            submit,
            self.manager.pool.size,
            self._max_works_per_worker,
            None if self.awaitable else self.manager,
            self.manager.pool.terms.max_tasks,
        )
        counter = None
        if progress is not None and progress is not False:
            counter = Counter(progress, total_of(iterables), self.manager.call_later)
            submit = counter.counting(submit, in_chunks=plan.in_chunks)
            place = dataclasses.replace(place, submit=submit)
        window = functools.partial(open_window, place, plan, options, work, lane, iterables)
        results: map_results.BlockingResults | map_results.AwaitableResults
        if self.awaitable:
            # Without a running loop there is nothing to make awaitable futures with yet.
            running = asyncio._get_running_loop()  # noqa: SLF001
            at_once = bool(running or (self.future_loop and plan.ordered and not asynchronous))
            kind = map_results.AwaitableChunks if plan.in_chunks else map_results.AwaitableResults
            results = kind(window, deadline, at_once=at_once)
        elif plan.in_chunks:
            results = map_results.BlockingChunks(window, deadline)
        else:
            results = map_results.BlockingResults(window, deadline)
        caller = sys._getframe(2)  # noqa: SLF001 - for a warning; much quicker than `inspect`
        where = caller.f_code.co_filename, caller.f_lineno
        bounded = plan.buffersize is not None
        self.unread.add(
            results, where, bounded=bounded, asynchronous=asynchronous, needs_loop=self.awaitable
        )
        face: Any = results
        if isinstance(results, map_results.BlockingChunks):
            face = map_results.FlatResults.of(results)
        if counter is not None:
            face = (AwaitedCounted if self.awaitable else Counted)(face, counter)
        return face  # type: ignore[no-any-return]

    def cancel_streams_of_thread(self) -> None:
        """Cancel the streams that this thread reads: it could not go on reading."""
        self.manager.cancel_streams(of_this_thread())

    def cancel_streams_of_task(self) -> None:
        """Cancel those that this task reads, likewise."""
        self.manager.cancel_streams(of_this_task())

    def read_out(self) -> None:
        """Submit what is left of the input of maps that nobody has begun to iterate."""
        if not self.manager.is_shut:
            loop = self.future_loop or asyncio._get_running_loop()  # noqa: SLF001
            self.unread.read_out(loop=loop is not None)

    # -- streams --------------------------------------------------------------

    def stream(
        self,
        options: WorkOptions,
        work: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> AsyncStream[Any] | Stream[Any]:
        """Submit a stream.

        Raises:
            TypeError: The work is none, or no stream.
            RuntimeError: There is no loop; or the executor was shut down.
            BrokenPoolError: It is broken.
        """
        loop = running = None
        if self.awaitable:
            running = asyncio._get_running_loop()  # noqa: SLF001 - documented, for libraries
            loop = self.future_loop or running
            if loop is None:
                raise _no_loop("stream")
        if options.judged:
            raise ValueError(
                "a stream has no outcome to judge: slow_down, retry_on and max_concurrency='auto' "
                "are for submit and map"
            )
        lane = stream_lane_of(work)
        submitted = time.monotonic() if options.deadline is not None else 0.0
        inflow = Inflow(options.buffersize or BUFFERSIZE, loop, this_reader())
        stream: Any = (Stream if loop is None else AsyncStream)(self.manager, inflow)
        try:
            if options.time_limit is not None and lane == COROUTINE:
                within = (options.time_limit, inflow.size, work, *args)
                function, call = self._encode(produce_within, within, kwargs)
            else:
                function, call = self._encode(produce, (inflow.size, work, *args), kwargs)
        except SerializationError as failure:
            self.manager.check_open()
            inflow.end = RAISED, self._named(failure, work, args, kwargs)
            return stream  # type: ignore[no-any-return]
        item = Work(lane, function, call, options.load_balancing_meta, inflow)
        item.manager, item.options, item.target, item.is_stream = self.manager, options, work, True
        item.limited = options.time_limit is not None and lane != COROUTINE
        stream._begin(item)  # noqa: SLF001 - if Ctrl-C breaks in from here, its finalizer cancels
        take = self._watched(self.manager.submit)
        if self._in_threads and this_pool() is self._backend:
            take = functools.partial(self.manager.take_nested, take)
        take(item, loop if loop is running else None)
        if options.deadline is not None:
            self.manager.limit(item, submitted + options.deadline)
        if self._is_shared:
            self.manager.arm()
        return stream  # type: ignore[no-any-return]

    def _named(
        self,
        failure: SerializationError,
        work: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> SerializationError:
        """Return the failure as that of the user's function, and not of what calls it."""
        try:
            self._encode(work, args, kwargs)
        except SerializationError as error:
            return error
        return failure


def _submit_in(context: Context, submit: Callable[..., Any], /, *args: Any) -> Any:
    """Submit in a copy of a context: several threads, or a callback in a callback, may do so."""
    return context.copy().run(submit, *args)


def _take_and_arm(
    manager: Manager, take: Callable[..., None], work: Work, loop: Loop | None
) -> None:
    """Take a work in whose future is awaited, in a pool in which threads block, too.

    When the last thread that has read the reports leaves, perhaps nobody reads them.
    """
    take(work, loop)
    manager.arm()


def _no_loop(method: str) -> RuntimeError:
    return RuntimeError(
        f"no running event loop: with awaitable=True call {method}() in a coroutine, or give the "
        "executor a future_loop"
    )
