"""What runs in a worker where an item is not the only argument of the function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Fixed = dict[str, Any]


def call_args(function: Callable[..., Any], fixed: Fixed, item: list[Any]) -> Any:
    """Call a function with the elements of an array."""
    return function(*item, **fixed)


def call_kwargs(function: Callable[..., Any], fixed: Fixed, item: dict[str, Any]) -> Any:
    """Call a function with the members of an object."""
    return function(**{**fixed, **item})


async def await_args(function: Callable[..., Any], fixed: Fixed, item: list[Any]) -> Any:
    """Await a coroutine function with the elements of an array."""
    return await function(*item, **fixed)


async def await_kwargs(function: Callable[..., Any], fixed: Fixed, item: dict[str, Any]) -> Any:
    """Await a coroutine function with the members of an object."""
    return await function(**{**fixed, **item})
