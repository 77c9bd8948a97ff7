"""What a worker does at one moment: its works, since when, and where each of them stands.

Called on a thread that runs no user's code, so it answers also while the loop is blocked and while
a function computes. Nothing is imported here then: an import that hangs may be what is looked for.
Nor are sources read: lines are shown by whoever shows the stacks.

A coroutine stands where the chain of what it awaits ends: from coroutine to coroutine (PEP 492:
``cr_await``, ``gi_yieldfrom``, ``ag_await``), and on from its task to the task that it awaits.
Tasks of a ``gather`` or a ``TaskGroup`` are told beside it. What runs in this moment on the loop's
thread stands where that thread does.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from itertools import dropwhile
from types import CodeType, FrameType

from aplex._common.frames import frames_of, walking
from aplex._common.messages import COROUTINE, PLAIN
from aplex._worker.loop_thread import run_until_stopped
from aplex._worker.plain_lane import PlainLane

TYPE_CHECKING = False  # from `typing`, which workers need not import
if TYPE_CHECKING:
    from typing import Any, Final, TypeAlias

Frame: TypeAlias = tuple[str, int, str]
"""A file, a line, the name of a function."""
Row: TypeAlias = tuple[int, int, float, list[Frame], list[tuple[str, list[Frame]]]]
"""A work: its id, its lane, since when (seconds, monotonic; 0: not known), its stack from the
outermost frame on, and the names and stacks of tasks that it awaits."""

DEEPEST: Final = 100
"""Frames of a stack, at most; what is left out is in the middle."""
MOST: Final = 1000
"""Works of a worker, at most, that are told; and of a work, tasks that it awaits."""
_ENTRIES: Final = (PlainLane._run.__code__, run_until_stopped.__code__)  # noqa: SLF001
"""What of ours runs the user's: outside of it everything is ours."""
_LEFT_OUT: Final = ("…", 0, "")
_AWAITED: Final = ("cr_await", "gi_yieldfrom", "ag_await")
_OF_GENERATORS: Final = ("async_generator_asend", "async_generator_athrow", "anext_awaitable")
"""What is awaited in ``async for``; only the garbage collector knows of which generator it is."""
_FRAMES: Final = ("cr_frame", "gi_frame", "ag_frame")


def rows_of(lane: Any, main: int | None, loop_thread: int | None, since: int) -> list[Row]:
    """Return what a worker does.

    Args:
        lane: Its coroutine lane; None: it has no loop.
        main: The thread of the plain lane.
        loop_thread: The thread of the loop.
        since: When the plain function that runs began, in nanoseconds; 0: none runs.
    """
    rows: list[Row] = []
    with walking:
        frames = frames_of(main or 0)
        if since and frames:
            work_id = _local(frames, PlainLane._run.__code__, "work_id")  # noqa: SLF001 - of this room
            if work_id:
                rows.append((work_id, PLAIN, since / 1e9, _cut(_users(frames)), []))
        if lane is not None:
            rows += _coroutines(lane, frames_of(loop_thread or 0))
    return rows


def _coroutines(lane: Any, frames: list[FrameType]) -> Iterator[Row]:
    """Yield the works of a loop, first the one that has its thread now."""
    tasks = lane.tasks()
    current = _current_task(lane.loop) if frames else None
    running = _cut(_users(frames))
    if running and all(task is not current for _, task, _ in tasks):
        # One that has begun just now, and has no task yet; or a callback, or a task, of a work.
        work_id = 0
        for code in lane.beginnings():
            work_id = work_id or _local(frames, code, "work_id")
        yield work_id, COROUTINE, lane.began / 1e9 if work_id else 0.0, running, []
    for work_id, task, began in tasks[:MOST]:
        if task is current and running:
            yield work_id, COROUTINE, began, running, []
        else:
            yield work_id, COROUTINE, began, *stack_of(task)


def _current_task(loop: Any) -> Any:
    asyncio = sys.modules.get("asyncio")
    try:
        return None if asyncio is None else asyncio.current_task(loop)
    except RuntimeError:  # a loop that is not asyncio's own
        return None


def stack_of(task: Any) -> tuple[list[Frame], list[tuple[str, list[Frame]]]]:
    """Return where a task stands, and the tasks that it awaits besides."""
    frames: list[Frame] = []
    beside: list[tuple[str, list[Frame]]] = []
    seen: set[int] = set()
    while task is not None and id(task) not in seen and len(seen) < DEEPEST:
        seen.add(id(task))
        group = _follow(task.get_coro(), frames)
        awaited = getattr(task, "_fut_waiter", None)  # not of public asyncio, nor of every loop
        children = list(group) or list(getattr(awaited, "_children", ()))
        for child in children[:MOST]:
            if id(child) not in seen and hasattr(child, "get_coro") and not child.done():
                inner: list[Frame] = []
                _follow(child.get_coro(), inner)
                beside.append((child.get_name(), _cut(inner)))
        task = awaited if hasattr(awaited, "get_coro") else None
    return _cut(frames), beside


def _follow(awaited: Any, frames: list[Frame]) -> Any:
    """Add the frames of a chain of coroutines; return the tasks of a TaskGroup it waits in."""
    group: Any = ()
    for _ in range(10 * DEEPEST):
        frame = next((getattr(awaited, name) for name in _FRAMES if hasattr(awaited, name)), None)
        if frame is None:
            break
        code = frame.f_code
        frames.append((code.co_filename, frame.f_lineno or code.co_firstlineno, code.co_qualname))
        if code.co_qualname in ("TaskGroup.__aexit__", "TaskGroup._aexit"):
            group = getattr(frame.f_locals.get("self"), "_tasks", ())
        awaited = next(
            (getattr(awaited, name) for name in _AWAITED if hasattr(awaited, name)), None
        )
        if type(awaited).__name__ in _OF_GENERATORS:
            awaited = next(
                (one for one in gc.get_referents(awaited) if hasattr(one, "ag_frame")), 0
            )
    return group


def _users(frames: list[FrameType]) -> list[Frame]:
    """Return the stack of a thread without our own frames outside of the user's."""
    stack = frames[::-1]
    entered = [at for at, one in enumerate(stack) if one.f_code in _ENTRIES]
    kept = stack[entered[-1] + 1 :] if entered else []
    kept = list(dropwhile(_is_ours, kept))
    return [(one.f_code.co_filename, one.f_lineno or 0, one.f_code.co_qualname) for one in kept]


def _is_ours(frame: FrameType) -> bool:
    name = str(frame.f_globals.get("__name__"))
    return name.startswith(("aplex.", "asyncio.", "selectors", "uvloop"))


def _local(frames: list[FrameType], code: CodeType, name: str) -> int:
    """Return a variable of the innermost frame that runs a code; 0 if there is none."""
    frame = next((one for one in frames if one.f_code is code), None)
    value: int = 0 if frame is None else frame.f_locals.get(name, 0)
    return value


def _cut(frames: list[Frame]) -> list[Frame]:
    if len(frames) <= DEEPEST:
        return frames
    return [*frames[: DEEPEST // 2], _LEFT_OUT, *frames[-DEEPEST // 2 :]]
