"""What workers run. Each run leaves notes in the journal, and rings when it begins."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Final

from reliability.load import journal
from reliability.load.journal import BEGAN, CANCELLED, ENDED, note
from reliability.load.works import payload
from reliability.meeting.blocks import Block
from reliability.meeting.jobs import DOOMED, ITEMS, Job

READY: Final = 4
"""That of a worker, under no work's number."""
SPOILED: Final = 3
"""What a note says of arguments that were not as they had been sent."""
NOBODY: Final = 1_000
_bell = -1  # of this process
_folder = Path()

Value = tuple[int, Any]


def prepare(folder: str) -> None:
    """Open what is written to, once in each process. The initializer of workers."""
    global _bell, _folder  # noqa: PLW0603 - one for each process
    if _bell == -1:
        journal.open_journal(f"{folder}/journal")
        _bell = os.open(f"{folder}/bell", os.O_WRONLY | os.O_CLOEXEC)
        _folder = Path(folder)
    note(NOBODY, READY)


def plain(job: Job) -> Value:
    """Run on the plain lane."""
    with _running(job):
        _begin(job)
        time.sleep(job.seconds)
        return _value(job)


async def coroutine(job: Job) -> Value:
    """Run on the loop."""
    with _running(job):
        _begin(job)
        await asyncio.sleep(job.seconds)
        return _value(job)


def generator(job: Job) -> Iterator[Value]:
    """Yield on the plain lane."""
    with _running(job):
        _check(job)
        for index in range(ITEMS):
            _step(job, index)
            time.sleep(job.seconds / 3)
            yield index, payload(job.number, job.size)


async def agenerator(job: Job) -> AsyncIterator[Value]:
    """Yield on the loop."""
    with _running(job):
        _check(job)
        for index in range(ITEMS):
            _step(job, index)
            await asyncio.sleep(job.seconds)
            yield index, payload(job.number, job.size)


def work_of(way: str, lane: str) -> Callable[..., Any]:
    """Return what is called."""
    if way == "stream":
        return generator if lane == "plain" else agenerator
    return plain if lane == "plain" else coroutine


@contextlib.contextmanager
def _running(job: Job) -> Iterator[None]:
    note(job.number, BEGAN)
    try:
        _ring(job.number)
        yield
    except BaseException:
        note(job.number, CANCELLED)
        raise
    note(job.number, ENDED)


def _begin(job: Job) -> None:
    _check(job)
    if job.role == DOOMED:
        _die_once(job)


def _check(job: Job) -> None:
    """The arguments must be as they were sent, also if another run has spoiled its own."""
    if bytes(job.data) != payload(job.number, job.size):
        note(job.number, SPOILED)
    if isinstance(job.data, Block):
        job.data.spoil()


def _step(job: Job, index: int) -> None:
    _ring(job.number)
    if job.role == DOOMED and index == job.dies_after:
        _die_once(job)


def _die_once(job: Job) -> None:
    try:
        (_folder / f"died-{job.number}").touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def _value(job: Job) -> Value:
    return job.number, payload(job.number, job.size)


def _ring(number: int) -> None:
    os.write(_bell, f"{number} {os.getpid()}\n".encode())
