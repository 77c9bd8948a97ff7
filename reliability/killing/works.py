"""What the workers of a case run. Each run of a work leaves a line: which one, and where."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import select
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final

_PATIENCE: Final = 15.0
"""Seconds after which a work that is held goes on."""
PREPARED: list[str] = []
RECORDS: Final = 3
"""How many records a work logs when it begins; the first one is long."""
_LONG: Final = 20_000
LOG: Final = logging.getLogger("reliability.works")


def prepare(word: str) -> None:
    """Be the initializer."""
    PREPARED.append(word)


def run(number: int) -> None:
    """Note that a plain function runs."""
    _note(number)


def arun_begins(number: int) -> None:
    """Note that a coroutine runs."""
    _note(number)


def _note(number: int) -> None:
    fd = os.open(os.environ["APLEX_FAULTS"] + "/runs", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, f"{number} {os.getpid()}\n".encode())
    os.close(fd)
    assert PREPARED == ["prepared"]
    for index in range(RECORDS):
        LOG.info("%d %d %s", number, index, "" if index else "x" * _LONG)


@contextlib.contextmanager
def plain_life() -> Iterator[None]:
    """Be the lifespan."""
    enter()
    yield
    leave()


@contextlib.asynccontextmanager
async def life() -> AsyncIterator[None]:
    """Be the lifespan."""
    enter()
    yield
    leave()


def enter() -> None:
    """Do nothing: the lifespan begins."""


def leave() -> None:
    """Do nothing: the lifespan ends."""


def plain(number: int, result: Any = None, seconds: float = 0.0) -> Any:
    """Return the result; or as many bytes as it says."""
    run(number)
    if seconds:
        time.sleep(seconds)
    return _made(number, result)


async def coroutine(number: int, result: Any = None, seconds: float = 0.0) -> Any:
    """Return the result; or as many bytes as it says."""
    arun_begins(number)
    await asyncio.sleep(seconds)
    return _made(number, result)


async def together(number: int, result: Any, when: float) -> Any:
    """Return at that monotonic time: all that do so in the same turn of the loop."""
    arun_begins(number)
    loop = asyncio.get_running_loop()
    now = loop.create_future()
    loop.call_at(when, now.set_result, None)
    await now
    return _made(number, result)


@functools.wraps(plain)
def detached(number: int, result: Any = None) -> Any:
    """Be a plain function that returns a coroutine.

    It has another one's name, so it travels by value, by ``cloudpickle``.
    """
    return coroutine(number, result)


def length(number: int, data: bytes) -> int:
    """Take a big argument."""
    run(number)
    return len(data)


async def alength(number: int, data: bytes) -> int:
    """Take a big argument."""
    arun_begins(number)
    await asyncio.sleep(0)
    return len(data)


async def endless(number: int) -> None:
    """Wait to be cancelled."""
    arun_begins(number)
    await asyncio.Event().wait()


def held(number: int) -> None:
    """Wait at the gate, see `reliability.killing.faults.open_gate`."""
    run(number)
    gate = os.open(os.environ["APLEX_FAULTS"] + "/gate", os.O_RDONLY | os.O_NONBLOCK)
    select.select([gate], [], [], _PATIENCE)
    os.close(gate)


def fail(number: int) -> None:
    """Raise."""
    run(number)
    raise LookupError(number)


async def afail(number: int) -> None:
    """Raise."""
    arun_begins(number)
    await asyncio.sleep(0)
    raise LookupError(number)


def die(number: int) -> None:
    """End the worker."""
    run(number)
    os.kill(os.getpid(), signal.SIGKILL)


class Big:
    """A result of so many bytes, told by a short word."""

    def __init__(self, size: int) -> None:
        self.size = size

    def made(self, number: int) -> bytes:
        """Return the bytes: each work has others."""
        return number.to_bytes(8, "little") * (self.size // 8)


def _made(number: int, result: Any) -> Any:
    return result.made(number) if isinstance(result, Big) else result


Work = Callable[..., Any]
