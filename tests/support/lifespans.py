"""Lifespans for tests, and works that look at them. What they do is written to a file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from aplex import current_worker


def note(path: str, words: str) -> None:
    """Append a line, in one write."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, f"{words}\n".encode())
    os.close(fd)


def notes(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


@contextlib.asynccontextmanager
async def noted(path: str) -> AsyncIterator[dict[str, Any]]:
    """Must be entered and left by one task, on the worker's loop."""
    worker = current_worker()
    assert worker.state is None
    async with asyncio.timeout(None):
        note(path, f"enter {worker.index}")
        yield {"loop": id(asyncio.get_running_loop()), "thread": threading.get_ident()}
        await asyncio.sleep(0)
        assert asyncio.get_running_loop() is worker.loop
        note(path, f"leave {worker.index} {worker.works_done}")


@contextlib.contextmanager
def noted_plainly(path: str) -> Iterator[dict[str, Any]]:
    worker = current_worker()
    note(path, f"enter {worker.index}")
    thread = threading.get_ident()
    yield {"thread": thread}
    assert threading.get_ident() == thread
    note(path, f"leave {worker.index} {worker.works_done}")


def state() -> Any:
    return current_worker().state


async def astate() -> Any:
    return current_worker().state


async def at_home() -> bool:
    """Whether this runs where an asynchronous lifespan does."""
    there = current_worker().state
    here = {"loop": id(asyncio.get_running_loop()), "thread": threading.get_ident()}
    return there == here


def at_home_plainly() -> bool:
    return current_worker().state == {"thread": threading.get_ident()}


def who() -> tuple[int, str, int, int, bool]:
    worker = current_worker()
    loop = isinstance(worker.loop, asyncio.AbstractEventLoop)
    return worker.index, worker.name, worker.pid, worker.works_done, loop


async def awho() -> tuple[int, str, int, int, bool]:
    worker = current_worker()
    here = worker.loop is asyncio.get_running_loop()
    return worker.index, worker.name, worker.pid, worker.works_done, here


async def leave_a_task(path: str) -> None:
    """Leave something on the loop that notes when it is cancelled."""

    async def linger() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            note(path, "task cancelled")

    current_worker().loop.task = asyncio.create_task(linger())  # type: ignore[attr-defined]
    await asyncio.sleep(0)


# -- those that go wrong ----------------------------------------------------------------------


@contextlib.asynccontextmanager
async def raises() -> AsyncIterator[None]:
    raise LookupError("no database")
    yield


@contextlib.contextmanager
def raises_plainly() -> Iterator[None]:
    raise LookupError("no database")
    yield


@contextlib.asynccontextmanager
async def never_yields() -> AsyncIterator[None]:
    if not current_worker():
        yield


@contextlib.contextmanager
def never_yields_plainly() -> Iterator[None]:
    if not current_worker():
        yield


async def undecorated() -> AsyncIterator[None]:
    yield


def undecorated_plainly() -> Iterator[None]:
    yield


async def coroutine() -> None:
    pass


def returns_a_number() -> int:
    return 7


@contextlib.asynccontextmanager
async def yields_twice() -> AsyncIterator[None]:
    yield
    yield


@contextlib.contextmanager
def yields_twice_plainly() -> Iterator[None]:
    yield
    yield


@contextlib.asynccontextmanager
async def raises_late() -> AsyncIterator[None]:
    yield
    raise LookupError("cannot say goodbye")


@contextlib.contextmanager
def raises_late_plainly() -> Iterator[None]:
    yield
    raise LookupError("cannot say goodbye")


@contextlib.asynccontextmanager
async def hangs(gate: str) -> AsyncIterator[None]:
    while not Path(gate).exists():
        await asyncio.sleep(0.01)
    yield


@contextlib.contextmanager
def hangs_plainly(gate: str) -> Iterator[None]:
    wait_for(gate)
    yield


@contextlib.asynccontextmanager
async def hangs_late() -> AsyncIterator[None]:
    yield
    await asyncio.sleep(3600)


@contextlib.contextmanager
def hangs_late_plainly(gate: str) -> Iterator[None]:
    yield
    wait_for(gate)


def wait_for(gate: str) -> None:
    """Block until the file is there: so a thread that is left alone ends after the test."""
    while not Path(gate).exists():
        time.sleep(0.01)


class Session:
    """A class as a lifespan; it wants a running loop when it is made."""

    def __init__(self, path: str) -> None:
        self.loop = asyncio.get_running_loop()
        self.path = path

    async def __aenter__(self) -> str:
        return "a session"

    async def __aexit__(self, *_: object) -> None:
        assert asyncio.get_running_loop() is self.loop
        note(self.path, "closed")


def of_path(lifespan: Any, path: Path) -> Any:
    return partial(lifespan, str(path))
