"""Settles futures, each on the thread it belongs to; and notices the end of an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncGenerator, Callable
from typing import Any, TypeAlias

from aplex._common.messages import DELIVERED
from aplex._futures.awaitable import AsyncioFuture
from aplex._pool.inflow import Inflow
from aplex._pool.state import Work

_log = logging.getLogger("aplex")

Loop = asyncio.AbstractEventLoop
Settled: TypeAlias = list[tuple[Work, int, Any]]
"""Works, and what is to be told to their futures: kind and data of a report."""


def settle(settled: Settled) -> bool:
    """Settle futures, each on the thread it belongs to, one wake-up per loop.

    Returns:
        Whether other threads may wait for one of them.
    """
    current = asyncio._get_running_loop()  # noqa: SLF001 - documented, for libraries
    elsewhere: dict[Loop, Settled] = {}
    blocking = False
    for item in settled:
        future = item[0].future
        kind = type(future)
        if kind is not AsyncioFuture and (kind is not Inflow or future.loop is None):
            blocking = True
        elif (loop := future.get_loop()) is not current:
            elsewhere.setdefault(loop, []).append(item)
            continue
        _settle_one(*item)
    for loop, items in elsewhere.items():
        try:
            loop.call_soon_threadsafe(_settle_all, items)
        except RuntimeError:
            pass  # the loop is closed: nobody can await these futures any more
    return blocking


def _settle_all(items: Settled) -> None:
    """Settle futures of the running loop."""
    try:
        for item in items:
            _settle_one(*item)
    except BaseException:  # of a signal handler: once more, those that are done do not mind
        asyncio.get_running_loop().call_soon(_settle_all, items)
        raise


def _settle_one(work: Work, kind: int, data: Any) -> None:
    future = work.future
    if future is None:  # it was settled before Ctrl-C came
        return
    try:
        future._settle(kind, data)  # noqa: SLF001 - private to the package
    except KeyboardInterrupt:
        if threading.current_thread() is threading.main_thread():
            raise
    except BaseException:  # noqa: BLE001 - a callback of the user's: the next futures live on
        with contextlib.suppress(Exception):  # of a handler of the user's
            _log.exception("exception in a callback of %r", future)
    if kind < DELIVERED:  # else its outcome is still to come
        work.future = None


def at_end_of_loop(callback: Callable[[], None]) -> AsyncGenerator[None]:
    """Have the running loop call back when it ends, as long as what is returned is kept.

    Loops close the asynchronous generators that were begun on them before they are
    closed themselves (``loop.shutdown_asyncgens``, which ``asyncio.run`` calls).
    """

    async def wait() -> AsyncGenerator[None]:
        try:
            yield
        finally:
            callback()

    generator = wait()
    with contextlib.suppress(StopIteration):
        anext(generator).__await__().__next__()  # up to the yield
    return generator
