"""Waits for the answers of workers, in a thread that blocks or in an event loop."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from aplex._calls.starting import await_change
from aplex.dumps import PoolDump

if TYPE_CHECKING:
    from aplex._manager.manager import Manager


def dump_blocking(manager: Manager, timeout: float) -> PoolDump:
    """Ask all workers what they do, and block until they have answered, or the time is over."""
    inquiry = manager.inquire()
    # In the middle of our own code answers cannot be waited for: what is known is told.
    if manager.may_wait():
        manager.wait_for(inquiry.is_complete, time.monotonic() + timeout)
    return manager.told(inquiry, timeout)


async def dump_awaited(manager: Manager, timeout: float) -> PoolDump:  # noqa: ASYNC109
    """Do the same without blocking the event loop."""
    inquiry = manager.inquire()
    try:
        async with asyncio.timeout(timeout):
            await await_change(manager, inquiry.is_complete)
    except TimeoutError:
        pass
    finally:
        dump = manager.told(inquiry, timeout)
    return dump
