"""Types of keyword arguments, for functions that pass them on.

For example, a function that hands its options on to a pool::

    def crawl(urls: list[str], **options: Unpack[WorkOptions]) -> None:
        pages = pool.options(**options).map(fetch, urls)
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from multiprocessing.context import BaseContext
from typing import Any, Literal, TypeAlias, TypedDict

from aplex._common.adaptive_limit import AdaptiveLimit
from aplex._common.certificates import TLS
from aplex.load_balancers import LoadBalancerFactory
from aplex.outcomes import Outcome

Sign: TypeAlias = (
    type[BaseException] | tuple[type[BaseException], ...] | Callable[[Outcome[Any]], object]
)
"""Which outcomes are meant: types of exceptions, or a predicate."""

__all__ = [
    "DaskOptions",
    "InterpreterOptions",
    "MapOptions",
    "PoolOptions",
    "ProcessOptions",
    "RayOptions",
    "RemoteOptions",
    "WorkOptions",
]


class PoolOptions(TypedDict, total=False):
    """The keyword arguments that all executors share, but for ``awaitable`` and ``pool_size``."""

    max_workers: int | None
    max_works_per_worker: int
    load_balancer: LoadBalancerFactory
    future_loop: asyncio.AbstractEventLoop | None
    worker_loop_factory: Callable[[], asyncio.AbstractEventLoop] | None
    initializer: Callable[..., object] | None
    initargs: tuple[Any, ...]
    lifespan: Callable[[], Any] | None
    context: Iterable[ContextVar[Any]]
    exit_grace: float
    retries: int
    quarantine_after: int
    max_restarts: int
    restart_window: float
    max_tasks_per_child: int | None
    max_age: float | None
    min_pool_size: int | None
    idle_timeout: float | None
    slow_callback: float | None
    max_pending: int | None
    start_timeout: float | None
    dump_signal: int | None
    record: bool | str | os.PathLike[str] | None


class ProcessOptions(PoolOptions, total=False):
    """The keyword arguments of `ProcessAsyncPoolExecutor`, but for the same two."""

    mp_context: BaseContext | str | None
    preload: Sequence[str]
    forward_logs: bool | None
    max_memory_per_worker: int | None


class RemoteOptions(PoolOptions, total=False):
    """The keyword arguments of `RemoteAsyncPoolExecutor`, but for the same two and ``command``."""

    listen: str
    port: int
    secret: str | os.PathLike[str] | None
    tls: TLS | None
    ship: Literal["auto"] | Sequence[str] | None
    max_memory_per_worker: int | None


class InterpreterOptions(PoolOptions, total=False):
    """The keyword arguments of `InterpreterAsyncPoolExecutor`, but for the same two."""

    forward_logs: bool | None


class DaskOptions(PoolOptions, total=False):
    """The keyword arguments of `DaskAsyncPoolExecutor`, but for the same two and ``client``."""

    max_pool_size: int | None
    resources: Mapping[str, float] | None
    workers: str | Iterable[str] | None
    priority: int
    connect: Literal["auto", "worker", "caller", "relay"]
    listen: str | None
    port: int
    forward_logs: bool | None
    max_memory_per_worker: int | None
    ship: Literal["auto"] | Sequence[str] | None


class RayOptions(PoolOptions, total=False):
    """The keyword arguments of `RayAsyncPoolExecutor`, but for the same two and ``address``."""

    num_cpus: float
    num_gpus: float | None
    memory: int | None
    resources: Mapping[str, float] | None
    scheduling_strategy: Any
    runtime_env: Mapping[str, Any] | None
    namespace: str | None
    log_to_driver: bool
    connect: Literal["auto", "worker", "caller", "relay"]
    max_memory_per_worker: int | None
    listen: str
    port: int
    forward_logs: bool | None
    ship: Literal["auto"] | Sequence[str] | None


class WorkOptions(TypedDict, total=False):
    """The keyword arguments of ``options``."""

    load_balancing_meta: Any
    retries: int
    quarantine_after: int
    max_concurrency: int | Literal["auto"] | AdaptiveLimit | None
    rate: float | None
    priority: int
    limit_key: Hashable
    buffersize: int | None
    time_limit: float | None
    deadline: float | None
    idle_timeout: float | None
    kill_after: float
    interruptible: bool
    slow_down: Sign | None
    retry_on: Sign | None
    max_attempts: int
    backoff: float | Callable[[int], float]


class MapOptions(TypedDict, total=False):
    """The keyword arguments of ``map``, but for ``return_outcomes``."""

    timeout: float | None
    chunksize: int | Literal["auto"]
    buffersize: int | None
    ordered: bool
    load_balancing_meta: Any
    progress: bool | str | Callable[..., object] | Any
    journal: Any  # a `Journal`, a path, or None
