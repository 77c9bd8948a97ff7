"""The worker: runs works, on two lanes.

This is what a worker does wherever it was started: in a process (`_worker.process`) or
in two threads (`_backends.thread.worker`). Each lane runs on one thread and takes
works in order:

* `CoroutineLane` - on the thread of the worker's event loop, many works at a time;
* `PlainLane` - on the worker's main thread, one function at a time. The loop
  goes on serving while a function computes.

A lane knows nothing of channels: works come in by ``begin`` and ``run``, reports
go out by a function it was given.

A coroutine runs eagerly where Python can (3.12): up to its first ``await`` that
really waits, at once; one that never waits costs no turn of the loop.

In the child of an ``os.fork()`` that a work has called, the work runs on. It may start a program
(``exec``), end itself (``os._exit``), or be a process of ``multiprocessing``: none of our business.
But if it leaves the user's function, it is in our code: it would report for the work, take the
next ones, and live on. So it ends there, as if the function were its whole program. On the path
of each work nothing looks for that. Right after the fork, in the child, whatever our code uses
next is replaced by an `Ending`. Only the thread that forked is there, so nobody else uses it.
A coroutine that waits has left its function too, for a while. Loops with the ready queue of
``asyncio`` run nothing else then; others (uvloop) may run what is ready already.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Coroutine
from types import CoroutineType

from aplex._common.messages import Report, ReportBatch
from aplex._worker.producers import CoroutineProducer

TYPE_CHECKING = False  # from `typing`, which workers need not import
if TYPE_CHECKING:
    import asyncio
    from contextvars import Context
    from typing import Any, Final, NoReturn, Protocol, TypeAlias
else:
    Protocol = object

EAGER: Final = sys.version_info >= (3, 12)
"""Whether tasks can start before the next turn of the loop."""
HOLD: Final = 0.001
"""Seconds for which the outcome of a plain function may wait for the next ones."""

Detached: TypeAlias = "Coroutine[Any, Any, Any] | CoroutineProducer"


class Codec(Protocol):
    """How calls and outcomes travel to this kind of worker."""

    def run(self, function: Any, call: Any) -> Any:
        """Call the work with its arguments."""

    def put(self, batch: ReportBatch, work_id: int, value: Any) -> None:
        """Put a result into a batch; raise if it cannot travel."""

    def value(self, value: Any) -> tuple[bool, Any]:
        """Return whether a result is pickled, and what travels; raise if it cannot."""
        ...  # noqa: PIE790 - pyright wants it

    def item(self, value: Any) -> tuple[bool, Any]:
        """Return the same of an item of a stream: one comes before the next."""
        ...  # noqa: PIE790 - pyright wants it

    def error(self, work_id: int, error: BaseException) -> Report:
        """Return the report of an exception."""
        ...  # noqa: PIE790 - pyright wants it


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


# -- in a process that a work has forked off ------------------------------------------


class Ending:
    """Stands for anything of ours in a copy: who calls it, or asks for more, ends the process."""

    def __getattr__(self, _name: str) -> Ending:
        return self

    def __call__(self, *args: Any) -> NoReturn:
        end(next(filter(None, map(_error_in, args)), None))

    def __enter__(self) -> NoReturn:
        end(sys.exception())

    def __exit__(self, *_: object) -> None:
        pass

    def __bool__(self) -> NoReturn:  # noqa: PLE0304
        end()

    def __contains__(self, _item: object) -> NoReturn:
        end()

    def __setitem__(self, _key: object, _value: object) -> NoReturn:
        end()

    def __delitem__(self, _key: object) -> NoReturn:
        end()


def end(error: BaseException | None = None) -> NoReturn:
    """End this process, as the interpreter would after a program that raises this, or nothing."""
    code = 0
    try:
        if isinstance(error, SystemExit) and (error.code is None or isinstance(error.code, int)):
            code = error.code or 0
        elif error is not None:
            code = 1
            if isinstance(error, SystemExit):
                print(error.code, file=sys.stderr)  # noqa: T201 - as the interpreter does
            else:
                import traceback

                traceback.print_exception(error)
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    finally:
        os._exit(code & 0xFF)


def end_after_step(loop: asyncio.AbstractEventLoop) -> None:
    """End this process when the step that a loop runs now is over. On its thread."""
    from asyncio import Handle, current_task

    task = current_task(loop)

    def leave() -> None:
        end(task.exception() if task is not None and task.done() and not task.cancelled() else None)

    ready = getattr(loop, "_ready", None)
    if isinstance(ready, deque):
        ready.appendleft(Handle(leave, (), loop))
    else:
        loop.call_soon(leave)


def end_chunks() -> None:
    """Let the chunks that this thread is in have no more items."""
    frame = sys._getframe()  # noqa: SLF001 - documented
    while frame is not None:
        if str(frame.f_globals.get("__name__")).startswith("aplex._worker.chunks"):
            deque(frame.f_locals.get("calls", ()), maxlen=0)  # an iterator: it has no more
        frame = frame.f_back  # type: ignore[assignment]


def _error_in(value: object) -> BaseException | None:
    """Return the exception that is reported, perhaps by a chunk."""
    if type(value).__module__ == "aplex._worker.chunks":
        value = getattr(value, "error", None)
    return value if isinstance(value, BaseException) else None
