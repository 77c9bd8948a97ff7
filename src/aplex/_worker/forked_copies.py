"""Copies of a worker: a process that a work has forked off, and what is to become of it.

In the child of an ``os.fork()`` the work runs on. It may start a program (``exec``), end itself
(``os._exit``), or be a process of ``multiprocessing``: none of our business. But if it leaves
the user's function, it is in our code: it would report for the work, take the next ones, and
live on. So it ends there, as if the function were its whole program.

On the path of each work nothing looks for that. Right after the fork, in the child, whatever our
code uses next is replaced by an `Ending`. Only the thread that forked is there, so nobody else
uses it.

A coroutine that waits has left its function too, for a while. Loops with the ready queue of
``asyncio`` run nothing else then; others (uvloop) may run what is ready already.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections import deque
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    import asyncio


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
