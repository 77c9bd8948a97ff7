"""Finds what it is that keeps a function from travelling by value."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterator
from typing import Any, Final

_DEPTH: Final = 8  # functions that use functions


def culprit_of(work: Any, dumps: Callable[[Any], object]) -> str:
    """Return what a function uses that cannot be pickled, by name; nothing if it is unknown.

    Args:
        work: The function, or what wraps one.
        dumps: Pickles a value, or raises.
    """
    return _culprit(_function_of(work), dumps, _DEPTH)


def _culprit(function: Any, dumps: Callable[[Any], object], depth: int) -> str:
    if isinstance(function, type) and depth:
        inner = (_culprit(_function_of(each), dumps, depth - 1) for each in vars(function).values())
        return next(filter(None, inner), "")
    if not isinstance(function, types.FunctionType) or not depth:
        return ""
    for kind, name, value in _used(function):
        try:
            dumps(value)
        except Exception:  # noqa: BLE001 - this one is the culprit
            further = _culprit(_function_of(value), dumps, depth - 1)
            return further or f"{kind} {name!r}, which {function.__qualname__} uses"
    return ""


def _used(function: types.FunctionType) -> Iterator[tuple[str, str, Any]]:
    closure = zip(function.__code__.co_freevars, function.__closure__ or (), strict=False)
    for name, cell in closure:
        try:
            yield "the variable", name, cell.cell_contents
        except ValueError:  # it is empty
            continue
    for name in sorted(_names(function.__code__)):
        if name in function.__globals__:
            yield "the global variable", name, function.__globals__[name]


def _names(code: types.CodeType) -> set[str]:
    inner = (_names(each) for each in code.co_consts if isinstance(each, types.CodeType))
    return set(code.co_names).union(*inner)


def _function_of(work: Any) -> Any:
    while isinstance(work, functools.partial):
        work = work.func
    return getattr(work, "__func__", getattr(work, "__wrapped__", work))
