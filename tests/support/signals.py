"""How works of any engine and their test wait for each other: by named pipes."""

from __future__ import annotations

import asyncio
import os
import select
import time
from collections.abc import Iterable
from pathlib import Path

from tests.support.emulation.start import emulated
from tests.support.watching import watched

PATIENCE = 30.0 if emulated() else 10.0
"""Seconds to wait for a line."""


class Signals:
    """A pipe on which works ``say`` lines."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = str(path)
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self._rest = b""
        self._lines: list[str] = []

    def expect(self, *lines: str, within: float = PATIENCE) -> None:
        """Wait until each of the lines was said, in whatever order. Others stay for later."""
        deadline = time.monotonic() + within
        missing = list(lines)
        while missing:
            for line in [line for line in missing if line in self._lines]:
                self._lines.remove(line)
                missing.remove(line)
                break
            else:
                left = deadline - time.monotonic()
                if left <= 0 or not self._read(left):
                    raise AssertionError(f"not said: {missing}; said: {self._lines}")

    async def heard(self, *lines: str) -> None:
        """Await that each of the lines was said. For coroutines."""
        readable = asyncio.Event()
        with watched(self._fd, readable.set):
            async with asyncio.timeout(PATIENCE):
                while not set(lines) <= set(self.said()):
                    readable.clear()
                    await readable.wait()
        self.expect(*lines)

    def said(self) -> list[str]:
        """Return the lines said until now, and not expected yet."""
        self._read(0)
        return list(self._lines)

    def wait(self, timeout: float) -> None:
        """Wait until something was said."""
        select.select([self._fd], [], [], timeout)

    def close(self) -> None:
        os.close(self._fd)

    def _read(self, timeout: float) -> bool:
        if not select.select([self._fd], [], [], timeout)[0]:
            return False
        *lines, self._rest = (self._rest + os.read(self._fd, 65536)).split(b"\n")
        self._lines += [line.decode() for line in lines]
        return True


class Gate:
    """A pipe at which works wait until the test opens it, for good and for all of them."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = str(path)
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)

    def open(self) -> None:
        os.write(self._fd, b"\0")

    def close(self) -> None:
        self.open()
        os.close(self._fd)


def close_all(things: Iterable[Signals | Gate]) -> None:
    """Close the pipes."""
    for thing in things:
        thing.close()
