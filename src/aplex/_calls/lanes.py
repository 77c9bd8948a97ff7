"""What is a work, and on which lane it runs."""

from __future__ import annotations

import functools
import inspect
from types import FunctionType
from typing import Any, Final

from aplex._common.messages import COROUTINE, PLAIN
from aplex._common.names import describe

_CO_COROUTINE: Final = inspect.CO_COROUTINE
_CO_ANY: Final = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


def lane_of(work: object) -> int:
    """Return the lane of a work.

    Raises:
        TypeError: It is no work.
    """
    if type(work) is FunctionType:
        kind = work.__code__.co_flags & _CO_ANY
        if kind == _CO_COROUTINE:
            return COROUTINE
        if not kind and not work.__dict__:
            return PLAIN  # with a __dict__ it might be marked as a coroutine function
    return _examined_lane(work)


def stream_lane_of(work: object) -> int:
    """Return the lane of a work that yields.

    Raises:
        TypeError: It is no work, or a coroutine function, which yields nothing.
    """
    if inspect.isgenerator(work) or inspect.isasyncgen(work):
        raise TypeError(
            f"the work is a generator object, {work.__qualname__}(…): pass the generator function "
            "and its arguments instead, stream(f, x) and not stream(f(x))"
        )
    target = _target(work)
    if inspect.iscoroutinefunction(target):
        raise TypeError(
            f"{describe(work)} is a coroutine function, which yields nothing: use submit(), or "
            "pass an asynchronous generator function"
        )
    return COROUTINE if inspect.isasyncgenfunction(target) else PLAIN


def _examined_lane(work: object) -> int:
    target = _target(work)
    if inspect.isasyncgenfunction(target):
        raise TypeError(
            f"{describe(work)} is an asynchronous generator function: what it yields would stay in "
            "the worker. Use stream(), or pass a coroutine function that collects the items and "
            "returns them"
        )
    return COROUTINE if inspect.iscoroutinefunction(target) else PLAIN


def _target(work: object) -> Any:
    """Return the function whose kind says what a work is.

    Raises:
        TypeError: It is no work.
    """
    if inspect.iscoroutine(work):
        work.close()  # no "was never awaited" on top of the error
        raise TypeError(
            f"the work is a coroutine object, {work.__qualname__}(…): pass the coroutine function "
            "and its arguments instead, submit(f, x) and not submit(f(x))"
        )
    if not callable(work):
        raise TypeError(f"the work must be callable, not {work!r}")
    target: Any = work
    while isinstance(target, functools.partial):
        target = target.func
    if not isinstance(target, type) and not inspect.isroutine(target):
        call = type(target).__call__
        if inspect.iscoroutinefunction(call) or inspect.isasyncgenfunction(call):
            return call
    return target
