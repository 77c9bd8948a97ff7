"""How messages call things of the user's. A leaf."""

from __future__ import annotations

import functools
from typing import Any


def describe(work: Any) -> str:
    """Name a callable for messages."""
    while isinstance(work, functools.partial):
        work = work.func
    name = getattr(work, "__qualname__", None) or type(work).__qualname__
    module = getattr(work, "__module__", None)
    return f"{module}.{name}" if module else name


def described(work: Any) -> str:
    """Name a callable whose attributes may raise."""
    try:
        return describe(work)
    except BaseException:  # noqa: BLE001 - user code
        return object.__repr__(work)


def shown(thing: object) -> str:
    """``repr`` of something of the user's, whose own may raise."""
    try:
        return repr(thing)
    except BaseException:  # noqa: BLE001 - user code
        return object.__repr__(thing)
