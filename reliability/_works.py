"""What the programs run in workers. Workers import this module: keep it light."""

from __future__ import annotations

import asyncio
import os
import time

from reliability._journal import BEGAN, CANCELLED, ENDED, note


def payload(work: int, size: int) -> bytes:
    """Return the result of a work: as large as wanted, and different for its neighbours."""
    return bytes([work % 251]) * size


def plain(work: int, seconds: float, size: int = 0) -> tuple[int, bytes]:
    """Take some time, on the plain lane."""
    note(work, BEGAN)
    time.sleep(seconds)
    note(work, ENDED)
    return work, payload(work, size)


async def coroutine(work: int, seconds: float, size: int = 0) -> tuple[int, bytes]:
    """Take some time, on the loop."""
    note(work, BEGAN)
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        note(work, CANCELLED)
        raise
    note(work, ENDED)
    return work, payload(work, size)


def pid() -> int:
    """Return the worker's."""
    return os.getpid()


def echo(value: object) -> object:
    """Return the argument."""
    return value


async def aecho(value: object) -> object:
    """Return the argument, a turn of the loop later."""
    await asyncio.sleep(0)
    return value
