"""Works that log."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import warnings
from collections.abc import AsyncIterator, Iterator
from multiprocessing import util
from pathlib import Path
from typing import Any

from tests.support import works

from aplex import ProcessAsyncPoolExecutor

_log = logging.getLogger("tests.works")


def log(number: int = 0, level: int = logging.INFO) -> int:
    _log.log(level, "number %d", number, extra={"number": number})
    return number


async def alog(number: int = 0, level: int = logging.INFO) -> int:
    await asyncio.sleep(0)
    return log(number, level)


def log_many(first: int, count: int) -> None:
    for number in range(first, first + count):
        _log.info("number %d", number)


def log_error() -> None:
    try:
        raise LookupError("lost")
    except LookupError:
        _log.exception("it failed", stack_info=True)


def log_awkward() -> None:
    _log.warning("a %s", threading.Lock(), extra={"lock": threading.Lock()})
    _log.warning("two %d %d", 1)
    _log.warning("mapping %(a)s", {"a": 1})


def warn() -> None:
    warnings.warn("beware", UserWarning, stacklevel=1)


def say(words: str) -> None:
    print(words, flush=True)


def enabled(level: int) -> bool:
    return _log.isEnabledFor(level)


async def log_in_tasks() -> None:
    """Log in a task, in a thread, and in the coroutine itself."""

    async def inner() -> None:
        await asyncio.sleep(0)
        log(1)

    await asyncio.gather(inner(), asyncio.to_thread(log, 2))
    log(3)


def log_in_stream(count: int) -> Iterator[int]:
    for number in range(count):
        yield log(number)


async def alog_in_stream(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield await alog(number)


def log_late() -> Any:
    """Return a coroutine that logs."""
    return alog(1)


def log_and_die(count: int, how: str) -> None:
    log_many(0, count)
    works.die(how)


def log_at_exit() -> None:
    util.Finalize(None, _log.warning, args=("at exit",), exitpriority=0)


def log_forked() -> int:
    """Log in a process that this one forks off."""
    pid = os.fork()
    if not pid:
        _log.warning("in a copy")
        os._exit(0)
    return os.waitpid(pid, 0)[1]


def log_nested(engine: str) -> tuple[int, int]:
    """Log in a worker of this worker; return its process id, and the id of the work there."""
    with ProcessAsyncPoolExecutor(1, mp_context=engine) as pool:
        future = pool.submit(log, 1)
        future.result()
        assert future.id is not None
        return pool.submit(os.getpid).result(), future.id


def log_until_stopped() -> None:
    while True:
        log(1)


class Awkward:
    """Cannot be unpickled, and says something different each time."""

    def __init__(self) -> None:
        self.count = 0

    def __repr__(self) -> str:
        self.count += 1
        return f"awkward {self.count}"

    def __reduce__(self) -> tuple[Any, ...]:
        return _fail, ()


def _fail() -> None:
    raise LookupError("not here")


def log_objects() -> None:
    _log.info("an %s", Awkward(), extra={"other": Awkward(), "path": Path("a/b")})
    _log.info({"a": [1, 2]})
    _log.info(Awkward())
