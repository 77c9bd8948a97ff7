"""The worker: runs works, on two lanes.

This is what a worker does wherever it was started: in a process (`_worker.process`) or
in two threads (`_backends.thread`). Each lane runs on one thread and takes
works in order:

* `CoroutineLane` - on the thread of the worker's event loop, many works at a time;
* `PlainLane` - on the worker's main thread, one function at a time. The loop
  goes on serving while a function computes.

A lane knows nothing of channels: works come in by ``begin`` and ``run``, reports
go out by a function it was given.

A coroutine runs eagerly where Python can (3.12): up to its first ``await`` that
really waits, at once; one that never waits costs no turn of the loop.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from aplex._common.messages import Outbox, Report
from aplex._worker.producers import CoroutineProducer

if TYPE_CHECKING:
    import asyncio
    from contextvars import Context

EAGER: Final = sys.version_info >= (3, 12)
"""Whether tasks can start before the next turn of the loop."""
HOLD: Final = 0.001
"""Seconds for which the outcome of a plain function may wait for the next ones."""

Detached: TypeAlias = Coroutine[Any, Any, Any] | CoroutineProducer


class Codec(Protocol):
    """How calls and outcomes travel to this kind of worker."""

    def run(self, function: Any, call: Any) -> Any:
        """Call the work with its arguments."""
        ...

    def put(self, outbox: Outbox, work_id: int, value: Any) -> None:
        """Put a result into an outbox; raise if it cannot travel."""
        ...

    def value(self, value: Any) -> tuple[bool, Any]:
        """Return whether a result is pickled, and what travels; raise if it cannot."""
        ...

    def error(self, work_id: int, error: BaseException) -> Report:
        """Return the report of an exception."""
        ...


def task_maker(
    loop: asyncio.AbstractEventLoop,
) -> Callable[..., asyncio.Task[Any]]:
    """Return what makes a task of a coroutine, in a context: an eager one, where Python can."""
    if not EAGER:
        return loop.create_task
    from asyncio import Task

    kind: Any = Task

    def make(
        coroutine: Coroutine[Any, Any, Any], context: Context | None = None
    ) -> asyncio.Task[Any]:
        if loop.get_task_factory() is not None:  # the user's own way
            return loop.create_task(coroutine, context=context)
        task: asyncio.Task[Any] = kind.__new__(kind)
        try:
            kind.__init__(task, coroutine, loop=loop, eager_start=True, context=context)
        except (SystemExit, KeyboardInterrupt):
            pass  # the work raised it; asyncio has given it to the task too, where it belongs
        return task

    return make


def is_coroutine(value: Any) -> bool:
    """Whether a value is a coroutine, native or of a compiler such as Cython."""
    return type(value) is CoroutineType or isinstance(value, Coroutine)


def initialize(
    initializer: Callable[..., object],
    initargs: tuple[Any, ...],
    run: Callable[[Coroutine[Any, Any, Any]], object],
) -> None:
    """Call an initializer; what is no plain function runs on the worker's loop, by ``run``.

    Raises:
        TypeError: It is a generator function: nothing of it has run.
        BaseException: What it raises.
    """
    made: Any = initializer(*initargs)
    if is_coroutine(made):
        run(made)
    elif isinstance(made, (Generator, AsyncGenerator)):
        raise TypeError(
            "the initializer is a generator function, of which nothing was run: it must be a "
            "function, or a coroutine function (without `yield`)"
        )


def run_on(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any]) -> None:
    """Run a coroutine on a loop of another thread, and wait for its end."""
    import asyncio

    asyncio.run_coroutine_threadsafe(coroutine, loop).result()


def run_until_stopped(
    runner: asyncio.Runner,
    loop: asyncio.AbstractEventLoop,
    stopping: asyncio.Future[None],
    leave: Callable[[], Coroutine[Any, Any, None]],
) -> None:
    """Run a worker's loop; at the end leave the lifespan, cancel what is left, and close it."""
    while not stopping.done():
        try:
            loop.run_until_complete(stopping)
        except (SystemExit, KeyboardInterrupt):
            # A work raised it. asyncio has given it to the work's task, where it
            # belongs, and raised it out of the loop as well: go on.
            continue
    _finish(loop, leave())
    while True:
        try:
            runner.close()
        except (SystemExit, KeyboardInterrupt):
            continue
        return


def _finish(loop: asyncio.AbstractEventLoop, leaving: Coroutine[Any, Any, None]) -> None:
    """Run the last coroutine of a loop to its end, whatever others raise out of the loop."""
    task = loop.create_task(leaving)
    while not task.done():
        try:
            loop.run_until_complete(task)
        except (SystemExit, KeyboardInterrupt):
            continue
