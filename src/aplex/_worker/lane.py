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
from collections.abc import Callable, Coroutine
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from aplex._common.messages import Outbox, Report
from aplex._worker.producers import CoroutineProducer

if TYPE_CHECKING:
    import asyncio

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
) -> Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]]:
    """Return what makes a task of a coroutine: an eager one, where Python has them."""
    if not EAGER:
        return loop.create_task
    from asyncio import Task

    kind: Any = Task

    def make(coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        if loop.get_task_factory() is not None:  # the user's own way
            return loop.create_task(coroutine)
        task: asyncio.Task[Any] = kind.__new__(kind)
        try:
            kind.__init__(task, coroutine, loop=loop, eager_start=True)
        except (SystemExit, KeyboardInterrupt):
            pass  # the work raised it; asyncio has given it to the task too, where it belongs
        return task

    return make


def is_coroutine(value: Any) -> bool:
    """Whether a value is a coroutine, native or of a compiler such as Cython."""
    return type(value) is CoroutineType or isinstance(value, Coroutine)
