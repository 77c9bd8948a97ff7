"""The works: what the pools are given to run."""

import asyncio
import time
from typing import Any


def same(value: Any) -> Any:
    """Cost nothing, so that only the pool's own cost is seen."""
    return value


async def same_later(value: Any) -> Any:
    """The same as a coroutine."""
    return value


async def nap(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


async def late_nap(seconds: float) -> tuple[float, float]:
    """Sleep; return by how much too long, and when it was over.

    The clock is the machine's: its readings in different processes compare.
    """
    before = time.monotonic()
    await asyncio.sleep(seconds)
    now = time.monotonic()
    return now - before - seconds, now


def burn(seconds: float) -> float:
    """Use that much CPU time of the calling thread; return when it was over."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
    return time.monotonic()


async def burn_later(seconds: float) -> float:
    """For pools that only take coroutines."""
    return burn(seconds)
