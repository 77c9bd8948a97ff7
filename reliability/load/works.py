"""What the programs run in workers. Workers import this module: keep it light."""

from __future__ import annotations

import asyncio
import os
import random
import select
import signal
import time
import weakref
from collections.abc import Iterator

from reliability.load.journal import BEGAN, CANCELLED, ENDED, note
from reliability.system.processes import strike, workers


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


def pid_and(value: object) -> tuple[int, object]:
    """Return the process id, and the value."""
    return os.getpid(), value


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


def arrive(arrivals: str) -> None:
    """Tell the parent that this work runs: it counts the bytes in a named pipe."""
    fd = os.open(arrivals, os.O_WRONLY)
    os.write(fd, b".")
    os.close(fd)


def meet(arrivals: str, gate: str) -> None:
    """Arrive, and wait until the gate, a named pipe, is opened for all."""
    fd = os.open(gate, os.O_RDONLY | os.O_NONBLOCK)
    arrive(arrivals)
    select.select([fd], [], [])
    os.close(fd)


async def ameet(arrivals: str, gate: str) -> None:
    """Do what ``meet`` does, on the loop."""
    loop = asyncio.get_running_loop()
    fd = os.open(gate, os.O_RDONLY | os.O_NONBLOCK)
    opened = asyncio.Event()
    loop.add_reader(fd, opened.set)
    arrive(arrivals)
    try:
        await opened.wait()
    finally:
        loop.remove_reader(fd)
        os.close(fd)


def kill_another(work: int) -> int | None:
    """Kill a worker of the same parent, or this one if there is no other; return its pid."""
    note(work, BEGAN)
    parent = os.getppid()
    others = [pid for pid in workers(parent) if pid != os.getpid()]
    random.shuffle(others)
    for victim in others or [os.getpid()]:
        if strike(victim, signal.SIGKILL, parent):
            return victim
    return None


async def akill_another(work: int) -> int | None:
    """Do so on the loop."""
    return kill_another(work)


def numbers(count: int) -> Iterator[int]:
    """Yield the first numbers."""
    yield from range(count)


def fail(value: object) -> None:
    """Raise."""
    raise LookupError(value)


# -- what becomes of objects --------------------------------------------------


class Thing:
    """Something that can be watched."""


class ThingError(Exception):
    """Something that is raised, and watched."""

    def __init__(self) -> None:
        super().__init__()
        watched.append(weakref.ref(self))


watched: list[weakref.ref[object]] = []  # in this process


def take(thing: Thing) -> Thing:
    """Watch the argument, and a result."""
    result = Thing()
    watched.extend((weakref.ref(thing), weakref.ref(result)))
    return result


async def atake(thing: Thing) -> Thing:
    """Do so on the loop."""
    await asyncio.sleep(0)
    return take(thing)


def throw(thing: Thing) -> None:
    """Watch the argument, and an exception; had it a name here, its traceback would keep it."""
    watched.append(weakref.ref(thing))
    raise ThingError


async def athrow(thing: Thing) -> None:
    """Do so on the loop."""
    await asyncio.sleep(0)
    throw(thing)


async def alive() -> int:
    """Return how many of the things watched in this worker are alive."""
    return sum(ref() is not None for ref in watched)
