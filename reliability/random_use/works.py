"""The works of random use: each says that it runs, and where; some wait for their gate."""

from __future__ import annotations

import asyncio
import os
import select

from tests.support.works import say

PATIENCE: float = 120.0
"""Seconds after which a work gives up waiting: more than a history takes."""


class AgreedError(Exception):
    """What works raise that are to fail."""


def use(signals: str, number: int, gate: str | None, fails: bool) -> int:
    """Run on the lane of plain functions."""
    say(signals, "started", number, os.getpid())
    if gate is not None:
        fd = os.open(gate, os.O_RDONLY | os.O_NONBLOCK)
        try:
            if not select.select([fd], [], [], PATIENCE)[0]:
                raise TimeoutError(f"{gate} was not opened")
        finally:
            os.close(fd)
    return _end(number, fails)


async def ause(signals: str, number: int, gate: str | None, fails: bool) -> int:
    """Run on the event loop."""
    say(signals, "started", number, os.getpid())
    await asyncio.sleep(0)
    if gate is not None:
        await _gate_opens(gate)
    return _end(number, fails)


async def _gate_opens(gate: str) -> None:
    loop = asyncio.get_running_loop()
    fd = os.open(gate, os.O_RDONLY | os.O_NONBLOCK)
    opened = asyncio.Event()
    loop.add_reader(fd, opened.set)
    try:
        async with asyncio.timeout(PATIENCE):
            await opened.wait()
    finally:
        loop.remove_reader(fd)
        os.close(fd)


def _end(number: int, fails: bool) -> int:
    if fails:
        raise AgreedError(number)
    return number
