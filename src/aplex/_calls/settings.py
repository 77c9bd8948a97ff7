"""What an executor is made with: all its options, checked in one place. Logic only.

Those of single works are checked where they belong, in `WorkOptions`. Each message names the
option, says what was given and what is allowed. A bool is no int here: ``retries=True`` is a
mistake. Infinite seconds mean that there is no limit.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from aplex._common.numbers import as_limit, as_seconds, check_count
from aplex._common.options import WorkOptions
from aplex.load_balancers import LoadBalancerFactory, RoundRobin

Loop = asyncio.AbstractEventLoop


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolSettings:
    """The options of an executor; see `AsyncPoolExecutor` for what they mean.

    Attributes:
        works: The options of its usual works.
    """

    awaitable: bool = False
    pool_size: int | None = None
    max_workers: int | None = None
    max_works_per_worker: int = 300
    load_balancer: LoadBalancerFactory = RoundRobin
    future_loop: Loop | None = None
    worker_loop_factory: Callable[[], Loop] | None = None
    initializer: Callable[..., object] | None = None
    initargs: tuple[Any, ...] = ()
    lifespan: Callable[[], Any] | None = None
    context: tuple[ContextVar[Any], ...] = ()
    forward_logs: bool | None = None
    exit_grace: float = 5.0
    retries: int = 0
    quarantine_after: int = 3
    max_restarts: int = 3
    restart_window: float = 5.0
    max_tasks_per_child: int | None = None
    max_age: float | None = None
    max_memory_per_worker: int | None = None
    min_pool_size: int | None = None
    idle_timeout: float | None = None
    slow_callback: float | None = 0.5
    max_pending: int | None = None
    start_timeout: float | None = None
    dump_signal: int | None = None
    record: bool | str | os.PathLike[str] | None = None
    works: WorkOptions = field(init=False)

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            TypeError: A value is of the wrong kind.
            ValueError: A value is out of range.
        """
        if not isinstance(self.awaitable, bool):
            raise TypeError(f"awaitable must be a bool, not {self.awaitable!r}")
        note = object.__setattr__  # frozen
        if self.max_workers is not None:
            if self.pool_size is not None:
                raise TypeError("pool_size and max_workers are the same: give one of them")
            check_count("max_workers", self.max_workers, optional=True)
            note(self, "pool_size", self.max_workers)
        check_count("pool_size", self.pool_size, optional=True)
        check_count("max_works_per_worker", self.max_works_per_worker)
        check_count("max_restarts", self.max_restarts, least=0)
        check_count("max_tasks_per_child", self.max_tasks_per_child, optional=True)
        check_count("max_memory_per_worker", self.max_memory_per_worker, optional=True)
        check_count("min_pool_size", self.min_pool_size, optional=True)
        least, most = self.min_pool_size, self.pool_size
        if least is not None and most is not None and least > most:
            raise ValueError(f"min_pool_size must be at most pool_size, {most}, got {least}")
        check_count("max_pending", self.max_pending, optional=True)
        check_callable("load_balancer", self.load_balancer)
        check_callable("worker_loop_factory", self.worker_loop_factory, optional=True)
        check_callable("initializer", self.initializer, optional=True)
        check_callable("lifespan", self.lifespan, optional=True)
        if self.record is not None and not isinstance(self.record, (bool, str, os.PathLike)):
            raise TypeError(f"record must be a bool, a path or None, not {self.record!r}")
        check_loop("future_loop", self.future_loop)
        if self.future_loop is not None and not self.awaitable:
            raise ValueError("future_loop needs awaitable=True")
        note(self, "initargs", _arguments("initargs", self.initargs))
        if self.forward_logs is not None and not isinstance(self.forward_logs, bool):
            raise TypeError(f"forward_logs must be a bool or None, not {self.forward_logs!r}")
        note(self, "context", _variables("context", self.context))
        note(self, "exit_grace", as_seconds("exit_grace", self.exit_grace))
        note(self, "restart_window", as_seconds("restart_window", self.restart_window))
        note(self, "start_timeout", as_limit("start_timeout", self.start_timeout))
        check_count("dump_signal", self.dump_signal, optional=True)
        note(
            self,
            "slow_callback",
            as_limit("slow_callback", _positive("slow_callback", self.slow_callback)),
        )
        note(self, "max_age", _positive("max_age", self.max_age))
        if self.idle_timeout is not None and self.min_pool_size is None:
            note(self, "min_pool_size", 1)
        note(self, "idle_timeout", _positive("idle_timeout", self.idle_timeout))
        works = WorkOptions(retries=self.retries, quarantine_after=self.quarantine_after)
        note(self, "works", works)


def _positive(name: str, value: float | None) -> float | None:
    """Return an option that is None, or a number of seconds, more than none."""
    as_limit(name, value)  # its message says that None will do
    if value == 0:
        raise ValueError(f"{name} must be more than 0 (seconds), got {value}")
    return value


def check_callable(name: str, value: object, *, optional: bool = False) -> None:
    """Check an option that is called.

    Raises:
        TypeError: It is not callable.
    """
    if not callable(value) and not (optional and value is None):
        raise TypeError(f"{name} must be callable{' or None' if optional else ''}, not {value!r}")


def check_loop(name: str, value: object) -> None:
    """Check an option that is an event loop, or None.

    Raises:
        TypeError: It is neither.
    """
    if value is not None and not isinstance(value, Loop):
        raise TypeError(f"{name} must be an event loop or None, not {value!r}")


def _variables(name: str, value: Any) -> tuple[ContextVar[Any], ...]:
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise TypeError(f"{name} must be a list of context variables, not {value!r}")
    given: Iterable[Any] = value
    variables = tuple(given)
    for variable in variables:
        if not isinstance(variable, ContextVar):
            raise TypeError(f"{name} must have only context variables, not {variable!r}")
    return variables


def _arguments(name: str, value: Any) -> tuple[Any, ...]:
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise TypeError(f"{name} must be a tuple of arguments, not {value!r}")
    arguments: Iterable[Any] = value
    return tuple(arguments)
