"""What runs in the workers of a library under test; for those that await, the same awaited."""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from tests.support.works import apass_gate, pass_gate, say

LONG: float = 60.0
"""Seconds of a work that is still running when its program is to end."""
HUGE: int = 64 * 2**20
"""Bytes of a huge result."""


def square(x: int) -> int:
    return x * x


def hold(folder: str, number: int) -> int:
    """Say that it runs, and where; wait until the case goes on."""
    announce(folder, number)
    pass_gate(f"{folder}/gate")
    return number


async def ahold(folder: str, number: int) -> int:
    announce(folder, number)
    await apass_gate(f"{folder}/gate")
    return number


def last(folder: str, number: int) -> None:
    """Run for longer than its program."""
    announce(folder, number)
    time.sleep(LONG)


async def alast(folder: str, number: int) -> None:
    announce(folder, number)
    await asyncio.sleep(LONG)


def announce(folder: str, number: int) -> None:
    Path(folder, f"{number}.pid").write_text(str(os.getpid()))
    say(f"{folder}/signals", "started", number)


def leave() -> NoReturn:
    os._exit(3)


def system_exit() -> NoReturn:
    sys.exit("a work that ends by sys.exit")


def crash() -> None:
    ctypes.string_at(0)


def huge(number: int) -> bytes:
    return bytes([number]) * HUGE


def start_held(folder: str) -> None:
    """Initialize a worker: the first one waits to be killed."""
    try:
        os.close(os.open(f"{folder}/first", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    hold(folder, 0)


def start_badly() -> NoReturn:
    raise LookupError("no such model")


async def as_coroutine(work: Callable[..., Any], *args: Any) -> Any:
    """Run a function where only coroutine functions are taken."""
    return work(*args)


AWAITED: dict[Callable[..., Any], Callable[..., Any]] = {hold: ahold, last: alast}
"""Works that wait, as coroutine functions."""
