"""What runs in a worker around a coroutine work with a time limit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from aplex._common.names import described


async def run_within(seconds: float, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Await a coroutine function; cancel it after that time, as ``asyncio.timeout`` does.

    Raises:
        TimeoutError: It was cancelled.
        BaseException: What it raises.
    """
    scope = asyncio.timeout(seconds)
    try:
        async with scope:
            return await work(*args, **kwargs)
    except TimeoutError as error:
        if scope.expired() and not error.args:
            message = f"{described(work)} did not end within {seconds:g} s (time_limit)"
            raise TimeoutError(message) from error.__cause__
        raise
