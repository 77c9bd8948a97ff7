"""Works that log."""

from __future__ import annotations

import asyncio
import logging
import threading
import warnings

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


def log_and_end() -> None:
    import atexit

    atexit.register(_log.warning, "at exit")
