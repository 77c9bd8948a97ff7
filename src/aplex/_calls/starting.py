"""Waits until workers serve, in a thread that blocks or in an event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from aplex._common.numbers import check_count

if TYPE_CHECKING:
    from aplex._manager.manager import Manager


def start_blocking(manager: Manager, at_least: int | None) -> None:
    """Start the workers, and block until enough of them serve.

    Raises:
        RuntimeError: The executor was shut down; or this thread is needed for the start.
        BrokenPoolError: The workers cannot be started.
    """
    enough = _begin(manager, at_least)
    if manager.within(enough):
        return
    if not manager.may_wait():
        raise RuntimeError(
            "start() must not wait in a callback of a future, a load balancer, a work of the pool "
            "or a signal handler: the workers could not start meanwhile"
        )
    manager.wait_for(enough)


async def start_awaited(manager: Manager, at_least: int | None) -> None:
    """Do the same without blocking the event loop."""
    await await_change(manager, _begin(manager, at_least))


async def await_change(manager: Manager, happened: Callable[[], bool]) -> None:
    """Wait until something has happened to the pool; it is looked for in a step."""
    loop = asyncio.get_running_loop()
    waiter: asyncio.Future[None] | None = None

    def look() -> bool:
        nonlocal waiter
        waiter = None if happened() else loop.create_future()
        return waiter is None

    def wake() -> None:
        if waiter is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(_wake, waiter)

    manager.within(partial(_await_changes, manager, wake))
    try:
        # What happens before a look is seen by it; what happens after it wakes its waiter, for
        # both are steps.
        while not manager.within(look):
            assert waiter is not None
            manager.arm()
            await waiter
    finally:
        manager.within(partial(_await_no_more, manager, wake))


def _begin(manager: Manager, at_least: int | None) -> Callable[[], bool]:
    """Start the workers; return what says, in a step, whether enough of them serve.

    Raises:
        TypeError: The number is no int.
        ValueError: It is less than 1, or more than there are workers.
        RuntimeError: The executor was shut down.
        BrokenPoolError: The workers cannot be started.
    """
    check_count("at_least", at_least, optional=True)
    if at_least is not None and at_least > manager.pool.size:
        raise ValueError(f"at_least must be at most pool_size, {manager.pool.size}, got {at_least}")
    manager.start_workers(at_least)
    return partial(manager.serves, at_least)


def _await_changes(manager: Manager, wake: Callable[[], None]) -> None:
    manager.rings.append(wake)
    manager.expect(1)


def _await_no_more(manager: Manager, wake: Callable[[], None]) -> None:
    manager.rings.remove(wake)
    manager.expect(-1)


def _wake(waiter: asyncio.Future[Any]) -> None:
    if not waiter.done():
        waiter.set_result(None)
