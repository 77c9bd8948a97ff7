"""The executor whose workers are subinterpreters of this process (CPython 3.14)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any, Literal, Unpack, overload

from aplex._backends.interpreter.available import check_available
from aplex._backends.interpreter.backend import InterpreterBackend
from aplex._calls.settings import Loop, PoolSettings
from aplex.executors import AsyncPoolExecutor, Awaits
from aplex.load_balancers import LoadBalancerFactory, RoundRobin
from aplex.typing import InterpreterOptions

__all__ = ["InterpreterAsyncPoolExecutor"]


class InterpreterAsyncPoolExecutor(AsyncPoolExecutor[Awaits]):
    """Runs works in subinterpreters of this process, each with an event loop and a GIL of its own.

    Experimental. Needs CPython 3.14 or newer, and does not run on Windows.

    What travels is pickled, as to processes; what is defined in ``__main__`` travels by value. A
    plain function that runs can be stopped when it comes back from C to Python code. One that
    never does is left behind in its thread, and another worker takes the place of its own: an
    interpreter cannot be killed. A crash in C ends the whole program.

    Many extension modules (numpy among them) refuse to be imported in a subinterpreter. A work
    that needs one fails with an ``ImportError`` that names the module: use
    `ProcessAsyncPoolExecutor` for that.
    """

    @overload
    def __init__(
        self: InterpreterAsyncPoolExecutor[Literal[False]],
        pool_size: int | None = ...,
        *,
        awaitable: Literal[False] = ...,
        **options: Unpack[InterpreterOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: InterpreterAsyncPoolExecutor[Literal[True]],
        pool_size: int | None = ...,
        *,
        awaitable: Literal[True],
        **options: Unpack[InterpreterOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: InterpreterAsyncPoolExecutor[bool],
        pool_size: int | None = ...,
        *,
        awaitable: bool,
        **options: Unpack[InterpreterOptions],
    ) -> None: ...
    def __init__(
        self,
        pool_size: int | None = None,
        *,
        awaitable: bool = False,
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
        min_pool_size: int | None = None,
        idle_timeout: float | None = None,
        slow_callback: float | None = 0.5,
        max_pending: int | None = None,
        dump_signal: int | None = None,
        record: bool | str | os.PathLike[str] | None = None,
    ) -> None:
        """Make an executor; the workers start with the first work.

        All arguments are those of `ProcessAsyncPoolExecutor`. A worker that is not ready after
        ``start_timeout`` seconds cannot be killed, and is left behind. Locks and queues of
        ``multiprocessing`` cannot be among the ``initargs``, and loops of extension modules that
        subinterpreters refuse (``uvloop``) cannot be had.

        Raises:
            NotImplementedError: This is no CPython 3.14 or newer, or it is Windows.
            ValueError: An option is out of range.
            TypeError: An option is of the wrong kind; or both ``pool_size`` and ``max_workers``
                are given.
            SerializationError: ``initializer``, ``initargs``, ``lifespan`` or
                ``worker_loop_factory`` cannot travel.
            OSError: The file to ``record`` to cannot be made.
        """
        check_available()
        super().__init__(
            InterpreterBackend,
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
                start_timeout=start_timeout,
                forward_logs=forward_logs,
                dump_signal=dump_signal,
            ),
        )
