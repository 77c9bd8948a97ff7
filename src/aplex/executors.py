"""The executors: what users see.

The path of a work: ``submit`` makes a future and encodes the call, in the
caller's thread, before any lock; the `Manager` takes the work through the `Pool`
to a worker, and the worker's report back to the future.

Worker processes import this with the main module, and few of them make a pool: so what one is
made of is not imported here, but by `_assembly`.
"""

from __future__ import annotations

import concurrent.futures
import importlib
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack, overload

from aplex._calls.lifetime import Lifetime
from aplex._common.in_main import imports_main
from aplex._common.locks import late_imports
from aplex.load_balancers import RoundRobin
from aplex.views import _Viewable

if TYPE_CHECKING or not imports_main():  # for who asks for the types of parameters
    import os
    from collections.abc import Callable, Iterable, Sequence
    from contextvars import ContextVar
    from multiprocessing.context import BaseContext

    from aplex._backends.contract import Backend, Setup
    from aplex._calls.settings import Loop, PoolSettings
    from aplex._manager.manager import Manager
    from aplex.load_balancers import LoadBalancerFactory
    from aplex.typing import PoolOptions, ProcessOptions

__all__ = ["AsyncPoolExecutor", "ProcessAsyncPoolExecutor", "ThreadAsyncPoolExecutor"]

Awaits = TypeVar("Awaits", bound=bool)
"""Whether results are awaited: ``Literal[True]`` or ``Literal[False]``."""


def _import_rest() -> None:
    """Import what a pool is made of, and what its first death needs, unless it is here already."""
    with late_imports.importing:
        importlib.import_module("aplex._assembly")
        importlib.import_module("aplex.exceptions")


if not imports_main():
    _import_rest()  # else this is a worker that imports the main module: it seldom makes a pool


def _thread_backend(setup: Setup) -> Backend:
    from aplex._backends.thread.backend import ThreadBackend

    return ThreadBackend(setup)


class AsyncPoolExecutor(  # pyright: ignore[reportIncompatibleMethodOverride]  # results may be awaited
    _Viewable[Awaits], Lifetime[Awaits], concurrent.futures.Executor
):
    """Base of the executors: runs coroutine functions and plain functions in workers.

    It is a ``concurrent.futures.Executor``. What the standard library promises of
    executors holds, unless the documentation of aplex says otherwise. Use
    `ProcessAsyncPoolExecutor` or `ThreadAsyncPoolExecutor`.
    """

    _in_threads = False  # whether works run in threads of this process
    _manager_class: type[Manager] | None = None  # another one than usual

    def __init__(self, backend: Callable[[Setup], Backend], settings: PoolSettings) -> None:
        """Start nothing: that comes with the first work."""
        _import_rest()
        from aplex._assembly import assemble

        self._gateway = assemble(
            type(self).__name__,
            backend,
            settings,
            self._manager_class,
            in_threads=self._in_threads,
        )
        self._manager = self._gateway.manager
        self._options = settings.works

    def __repr__(self) -> str:
        """Show the state of the pool."""
        return repr(self._gateway)


class ProcessAsyncPoolExecutor(AsyncPoolExecutor[Awaits]):
    """Runs works in processes, each with an event loop of its own.

    The pool heals: a worker that dies is replaced, and only the works it had
    started fail.
    """

    @overload
    def __init__(
        self: ProcessAsyncPoolExecutor[Literal[False]],
        pool_size: int | None = ...,
        *,
        awaitable: Literal[False] = ...,
        **options: Unpack[ProcessOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: ProcessAsyncPoolExecutor[Literal[True]],
        pool_size: int | None = ...,
        *,
        awaitable: Literal[True],
        **options: Unpack[ProcessOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: ProcessAsyncPoolExecutor[bool],
        pool_size: int | None = ...,
        *,
        awaitable: bool,
        **options: Unpack[ProcessOptions],
    ) -> None: ...
    def __init__(
        self,
        pool_size: int | None = None,
        *,
        awaitable: bool = False,
        mp_context: BaseContext | str | None = None,
        preload: Sequence[str] = (),
        forward_logs: bool | None = None,
        start_timeout: float | None = 60.0,
        max_workers: int | None = None,
        max_works_per_worker: int = 300,
        load_balancer: LoadBalancerFactory = RoundRobin,
        future_loop: Loop | None = None,
        worker_loop_factory: Callable[[], Loop] | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        lifespan: Callable[[], Any] | None = None,
        context: Iterable[ContextVar[Any]] = (),
        exit_grace: float = 5.0,
        retries: int = 0,
        quarantine_after: int = 3,
        max_restarts: int = 3,
        restart_window: float = 5.0,
        max_tasks_per_child: int | None = None,
        max_age: float | None = None,
        max_memory_per_worker: int | None = None,
        min_pool_size: int | None = None,
        idle_timeout: float | None = None,
        slow_callback: float | None = 0.5,
        max_pending: int | None = None,
        dump_signal: int | None = None,
        record: bool | str | os.PathLike[str] | None = None,
    ) -> None:
        """Make an executor; the workers start with the first work.

        Args:
            pool_size: Number of workers. None: the CPUs this process may use, by
                affinity and cgroup quota.
            awaitable: Whether `submit` returns futures to be awaited, and `map` an
                asynchronous iterator.
            mp_context: How processes start: ``"template"``, ``"spawn"``, ``"forkserver"``,
                ``"fork"``, or a context of ``multiprocessing``. None: ``"template"``, a
                process of the pool's own which starts as ``"spawn"`` does, imports the main
                module once, and forks the workers; on systems other than Linux, and where
                the main module starts threads as it is imported: ``"spawn"``.
            preload: Names of modules that the template process imports besides, so that no
                worker has to. Without a template they are not imported.
            forward_logs: Whether what workers log goes to the handlers of this process, by its
                levels. None: if the root logger has a handler when the first worker starts.
            start_timeout: Seconds after which a worker that is not ready (that still
                imports, or runs the ``initializer``) is killed, which is a failed start.
                None, or infinite: never.
            max_workers: Another name of ``pool_size``, that of ``concurrent.futures``.
            max_works_per_worker: How many works a worker may have at a time.
            load_balancer: A `LoadBalancer` class, or what is called like one.
            future_loop: The loop that awaitable futures belong to. None: the running
                one at each `submit`.
            worker_loop_factory: Makes the event loop of a worker (``uvloop.new_event_loop``).
                None: the loop of ``asyncio``.
            initializer: Called in each worker before it serves; a coroutine function runs
                on the worker's event loop.
            initargs: Its arguments. Locks, queues and shared values of ``multiprocessing``
                are inherited by worker processes.
            lifespan: Makes a context manager, asynchronous or plain, that each worker enters
                before it serves, after the ``initializer``, and leaves before it ends. What it
                yields is ``current_worker().state``. An asynchronous one lives on the worker's
                event loop, a plain one in the thread of plain functions.
            context: Context variables whose values travel with each work, as they are at
                `submit`. Each must be a global name of a module. Worker threads need none:
                works run in a copy of the caller's whole context.
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
            max_tasks_per_child: How many works a worker takes at most, ever; an item of a chunk
                counts as one. Its successor is started before, and takes its place; so there
                may be twice as many processes as workers for a moment, and with 1 always. None:
                any number.
            max_age: Seconds after which a worker is replaced by one that is ready; it finishes
                what it has. None, or infinite: never.
            max_memory_per_worker: Bytes of resident memory above which a worker is replaced
                likewise. Looked at between works, and once a second while works run; where there
                is no ``/proc``, never. None: any size.
            min_pool_size: How many workers there are at least, when there is little to do. None:
                ``pool_size``, or 1 if there is an ``idle_timeout``.
            idle_timeout: Seconds after which workers end that were not needed, as far as
                ``min_pool_size`` allows. None: 60, if that is given. Infinite: never.
            slow_callback: Seconds after which a coroutine that blocks its worker's event loop is
                named in a warning of the logger ``aplex``, with its stack, while it does so;
                once for each place. None, or infinite: never.
            max_pending: How many works may be submitted and not done. `submit` then blocks
                until there is room; with ``awaitable=True`` see `submit_when_free`. None: no bound.
            dump_signal: A signal (``signal.SIGUSR1``) by which ``aplex dump PID``, in another
                terminal, gets the stacks of all works. Its handler is set now, so only in the
                main thread; a handler that was there is called, too. None: no handler is set.
            record: Whether to record all that the pool does, as `recording`; or the path of a
                file to write that to. None: if ``APLEX_RECORD`` is in the environment, to that
                file.

        Raises:
            ValueError: An option is out of range; or the ``dump_signal`` is none, cannot be
                handled, or this is not the main thread.
            TypeError: An option is of the wrong kind; or both ``pool_size`` and ``max_workers``
                are given.
            SerializationError: ``initializer``, ``initargs``, ``lifespan`` or
                ``worker_loop_factory`` cannot be pickled.
            OSError: The file to ``record`` to cannot be made.
        """
        _import_rest()
        from aplex._assembly import PoolSettings, process_backend

        super().__init__(
            process_backend(mp_context, preload),
            PoolSettings(
                awaitable=awaitable,
                pool_size=pool_size,
                max_workers=max_workers,
                max_works_per_worker=max_works_per_worker,
                load_balancer=load_balancer,
                future_loop=future_loop,
                worker_loop_factory=worker_loop_factory,
                initializer=initializer,
                initargs=initargs,
                lifespan=lifespan,
                context=context,  # type: ignore[arg-type] # made a tuple there, once checked
                exit_grace=exit_grace,
                retries=retries,
                quarantine_after=quarantine_after,
                max_restarts=max_restarts,
                restart_window=restart_window,
                max_tasks_per_child=max_tasks_per_child,
                max_age=max_age,
                min_pool_size=min_pool_size,
                idle_timeout=idle_timeout,
                max_memory_per_worker=max_memory_per_worker,
                slow_callback=slow_callback,
                max_pending=max_pending,
                record=record,
                start_timeout=start_timeout,
                forward_logs=forward_logs,
                dump_signal=dump_signal,
            ),
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
        self._gateway.finalizer.detach()
        self._manager.end_workers(kill=kill)


class ThreadAsyncPoolExecutor(AsyncPoolExecutor[Awaits]):
    """Runs works in threads, each worker with an event loop of its own.

    A worker has two threads: one for its event loop, one for plain functions.
    Nothing is pickled. A plain function that runs cannot be stopped.

    A work may submit works to its own executor. It must not block until they are done
    (``RuntimeError``); a coroutine can await them.
    """

    _in_threads = True
    _backend: Callable[[Setup], Backend] = staticmethod(_thread_backend)

    @overload
    def __init__(
        self: ThreadAsyncPoolExecutor[Literal[False]],
        pool_size: int | None = ...,
        *,
        awaitable: Literal[False] = ...,
        **options: Unpack[PoolOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: ThreadAsyncPoolExecutor[Literal[True]],
        pool_size: int | None = ...,
        *,
        awaitable: Literal[True],
        **options: Unpack[PoolOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: ThreadAsyncPoolExecutor[bool],
        pool_size: int | None = ...,
        *,
        awaitable: bool,
        **options: Unpack[PoolOptions],
    ) -> None: ...
    def __init__(
        self,
        pool_size: int | None = None,
        *,
        awaitable: bool = False,
        max_workers: int | None = None,
        max_works_per_worker: int = 300,
        load_balancer: LoadBalancerFactory = RoundRobin,
        future_loop: Loop | None = None,
        worker_loop_factory: Callable[[], Loop] | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        lifespan: Callable[[], Any] | None = None,
        context: Iterable[ContextVar[Any]] = (),
        exit_grace: float = 5.0,
        retries: int = 0,
        quarantine_after: int = 3,
        max_restarts: int = 3,
        restart_window: float = 5.0,
        max_tasks_per_child: int | None = None,
        max_age: float | None = None,
        min_pool_size: int | None = None,
        idle_timeout: float | None = None,
        slow_callback: float | None = 0.5,
        max_pending: int | None = None,
        start_timeout: float | None = 60.0,
        dump_signal: int | None = None,
        record: bool | str | os.PathLike[str] | None = None,
    ) -> None:
        """Make an executor; the workers start with the first work.

        All arguments are those of `ProcessAsyncPoolExecutor`. The ``initializer`` is called in
        each worker's thread for plain functions. The ``start_timeout`` holds only where there
        is a ``lifespan``: a thread that hangs there is left alone, for nothing can end it.

        Raises:
            ValueError: An option is out of range.
            TypeError: An option is of the wrong kind; or both ``pool_size`` and ``max_workers``
                are given.
            OSError: The file to ``record`` to cannot be made.
        """
        _import_rest()
        from aplex._assembly import PoolSettings

        super().__init__(
            self._backend,
            PoolSettings(
                awaitable=awaitable,
                pool_size=pool_size,
                max_workers=max_workers,
                max_works_per_worker=max_works_per_worker,
                load_balancer=load_balancer,
                future_loop=future_loop,
                worker_loop_factory=worker_loop_factory,
                initializer=initializer,
                initargs=initargs,
                lifespan=lifespan,
                context=context,  # type: ignore[arg-type] # made a tuple there, once checked
                exit_grace=exit_grace,
                retries=retries,
                quarantine_after=quarantine_after,
                max_restarts=max_restarts,
                restart_window=restart_window,
                max_tasks_per_child=max_tasks_per_child,
                max_age=max_age,
                min_pool_size=min_pool_size,
                idle_timeout=idle_timeout,
                slow_callback=slow_callback,
                max_pending=max_pending,
                record=record,
                start_timeout=None if lifespan is None else start_timeout,
                dump_signal=dump_signal,
            ),
        )
