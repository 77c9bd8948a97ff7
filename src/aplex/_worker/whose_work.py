"""Which work runs here: asked by those who log, so they pay for the answer.

Plain functions are found by a look at the stack of their thread. Coroutines start tasks, and
hand work to threads; their lane notes the id of each work in a context variable, which all these
inherit. It does so only where it was given `note`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from aplex._common.names import as_in_parent, described
from aplex._worker.plain_lane import PlainLane
from aplex._worker.producers import CoroutineProducer, PlainProducer

if TYPE_CHECKING:
    import asyncio
    from types import FrameType

Whose: TypeAlias = tuple[int | None, str | None]
"""The id of a work, and the name of its function; None: no work, as far as is known."""
_work: ContextVar[int] = ContextVar("aplex_work")
note: Final = _work.set
"""Notes the id of the work for whatever has a copy of this context from now on."""
_PLAIN: Final = PlainLane._run.__code__  # noqa: SLF001 - its frame is looked for
_STREAMS: Final = (PlainProducer.run.__code__, CoroutineProducer.run.__code__)


def work_here(task_of: Callable[[int], asyncio.Task[Any] | None] | None) -> Whose:
    """Return which work runs in this thread and context.

    Args:
        task_of: Returns the task of a coroutine work, by its id. None: there are no coroutines.
    """
    name: str | None = None
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - documented
    while frame is not None:
        if str(frame.f_globals.get("__name__")).startswith("aplex._w"):
            if frame.f_code is _PLAIN:
                return frame.f_locals["work_id"], None if name is None else as_in_parent(name)
            name = name or _name_in(frame)
        frame = frame.f_back
    work_id = _work.get(None)
    task = None if work_id is None or task_of is None else task_of(work_id)
    if name is None and task is not None:
        coroutine: Any = task.get_coro()
        outer = getattr(coroutine, "cr_frame", None)
        name = (None if outer is None else _name_in(outer)) or _made_by(coroutine)
    return work_id, None if work_id is None or name is None else as_in_parent(name)


def _name_in(frame: FrameType) -> str | None:
    """Return the name of the user's function that a frame of ours calls, if it does."""
    if not str(frame.f_globals.get("__name__")).startswith("aplex._w"):
        return None
    if frame.f_code in _STREAMS:
        producer = frame.f_locals["self"]
        return _made_by(producer.source)
    work = frame.f_locals.get("work")
    while isinstance(work, partial):  # one of ours has the function as its first argument
        inner = work.args[0] if work.args else None
        work = inner if str(work.func.__module__).startswith("aplex._w") else work.func
    return None if work is None else described(work)


def _made_by(running: Any) -> str | None:
    """Return the name of the function that has made a coroutine or a generator."""
    name = getattr(running, "__qualname__", None)
    for kind in ("cr_frame", "gi_frame", "ag_frame"):
        frame = getattr(running, kind, None)
        if frame is not None:
            return f"{frame.f_globals.get('__name__')}.{name}"
    return name
