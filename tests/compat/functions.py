"""What the other libraries run in workers."""

import asyncio
import contextvars
import os
import signal
import time
from pathlib import Path
from typing import Any

begun = contextvars.ContextVar("begun", default=0)
started: list[Any] = []


def square(x: Any) -> Any:
    return x * x


def fail_at(bad: int, x: int) -> int:
    if x == bad:
        raise LookupError(f"no {x}")
    return x


def die_once(path: str, x: int) -> int:
    """End the worker, the first time."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return x
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def note_and_nap(folder: str, x: int) -> None:
    """Leave a file, and another one when it was interrupted."""
    Path(folder, f"began {x}").touch()
    try:
        time.sleep(30)
    except BaseException:
        Path(folder, f"interrupted {x}").touch()
        raise


def nested(x: int) -> int:
    import joblib

    jobs = (joblib.delayed(square)(n) for n in range(x))
    return sum(joblib.Parallel(n_jobs=2, backend="aplex")(jobs))


def threads() -> str | None:
    return os.environ.get("OMP_NUM_THREADS")


def mean(array: Any) -> float:
    return float(array.mean())


async def double(x: Any) -> Any:
    await asyncio.sleep(0)
    return x * 2


async def pid(_: Any = None) -> int:
    await asyncio.sleep(0.01)
    return os.getpid()


async def leave() -> None:
    raise SystemExit(3)


async def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def hang(path: str) -> None:
    Path(path, "began").touch()
    try:
        await asyncio.Event().wait()
    finally:
        Path(path, "cleaned up").touch()


def start(name: str) -> None:
    started.append((name, asyncio.get_running_loop()))


async def has_started() -> list[tuple[str, bool]]:
    loop = asyncio.get_running_loop()
    return [(name, its is loop) for name, its in started]
