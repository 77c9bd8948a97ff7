"""What runs in a worker, beside the function: before the first item, and around each."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from typing import Any

from aplex._common.names import runs

Fixed = dict[str, Any]


def outlive_terminal() -> None:
    """Ignore SIGHUP: a terminal that closes sends it to all, and the parent's word counts.

    Else items would fail, by the deaths of their workers, before the parent knows why.
    """
    if sys.platform != "win32":
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


@runs(0)
def call_args(function: Callable[..., Any], fixed: Fixed, item: list[Any]) -> Any:
    """Call a function with the elements of an array."""
    return function(*item, **fixed)


@runs(0)
def call_kwargs(function: Callable[..., Any], fixed: Fixed, item: dict[str, Any]) -> Any:
    """Call a function with the members of an object."""
    return function(**{**fixed, **item})


@runs(0)
async def await_args(function: Callable[..., Any], fixed: Fixed, item: list[Any]) -> Any:
    """Await a coroutine function with the elements of an array."""
    return await function(*item, **fixed)


@runs(0)
async def await_kwargs(function: Callable[..., Any], fixed: Fixed, item: dict[str, Any]) -> Any:
    """Await a coroutine function with the members of an object."""
    return await function(**{**fixed, **item})
