"""How messages call things of the user's. A leaf."""

from __future__ import annotations

import functools

TYPE_CHECKING = False  # from `typing`, which workers need not import
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, TypeVar

    F = TypeVar("F", bound=Callable[..., Any])

_runs: dict[Any, int] = {}
"""Functions of ours that run one of the user's: which of their arguments that is."""


def describe(work: Any) -> str:
    """Name a callable for messages."""
    while isinstance(work, functools.partial):
        place = _runs[work.func] if is_runner(work.func) else len(work.args)
        work = work.args[place] if place < len(work.args) else work.func
    name = getattr(work, "__qualname__", None) or type(work).__qualname__
    module = getattr(work, "__module__", None)
    return f"{module}.{name}" if module else name


def described(work: Any) -> str:
    """Name a callable whose attributes may raise."""
    try:
        return describe(work)
    except BaseException:  # noqa: BLE001 - user code
        return object.__repr__(work)


def as_in_parent(name: str) -> str:
    """Return what the parent calls a function: its main module has another name in workers."""
    main, dot, rest = name.partition("__mp_main__.")
    return f"__main__.{rest}" if dot and not main else name


def shown(thing: object) -> str:
    """``repr`` of something of the user's, whose own may raise."""
    try:
        return repr(thing)
    except BaseException:  # noqa: BLE001 - user code
        return object.__repr__(thing)


def runs(argument: int) -> Callable[[F], F]:
    """Mark a function of ours that runs one of the user's: the argument of that number."""

    def mark(function: F) -> F:
        _runs[function] = argument
        return function

    return mark


def is_runner(work: Any) -> bool:
    """Whether that is a function of ours that runs one of the user's."""
    return type(work) is _FUNCTION and work in _runs


def run_by(work: Any, args: Sequence[Any]) -> Any:
    """Return the user's function in a call; it may be a call of one of ours that runs it."""
    while type(work) is _FUNCTION and work in _runs:
        place = _runs[work]
        work, args = args[place], args[place + 1 :]
    return work


_FUNCTION = type(run_by)
