"""The works: what the pools are given to run."""

import asyncio
import fcntl
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any


def same(value: Any) -> Any:
    """Cost nothing, so that only the pool's own cost is seen."""
    return value


async def same_later(value: Any) -> Any:
    """The same as a coroutine."""
    return value


def who(_value: Any) -> int:
    """Say which process this is."""
    return os.getpid()


async def who_later(_value: Any) -> int:
    """The same as a coroutine."""
    return os.getpid()


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


_session: Any = None  # aiohttp's, one for each worker
_session_owner: Any = None


async def _own_session() -> AsyncIterator[Any]:
    """Hold a session open. A loop closes its generators at its end, and so the session."""
    import aiohttp

    # Without a limit of its own: the workload says how many requests are in flight.
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield session


async def get(url: str) -> int:
    """Get a page; return its length."""
    global _session, _session_owner  # noqa: PLW0603 - what a worker keeps
    if _session is None:
        _session_owner = _own_session()
        _session = await anext(_session_owner)
    async with _session.get(url) as response:
        return len(await response.read())


def stand(gate: str) -> int:
    """Say that this worker has come to a gate, and stand there until it opens."""
    (Path(gate).parent / f"{os.getpid()}-{threading.get_ident()}.here").touch()
    with Path(gate).open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)
    return os.getpid()


async def stand_later(gate: str) -> int:
    """The same; it holds up the whole event loop of the worker, on purpose."""
    return stand(gate)


def count_to(end: int) -> Iterator[int]:
    """Yield numbers, at no cost."""
    yield from range(end)


async def count_to_later(end: int) -> AsyncIterator[int]:
    """The same as an asynchronous generator."""
    for number in range(end):
        yield number
