"""A terminal for programs that draw, read by pyte."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Sequence

import pyte

DEADLINE = 20.0


class Terminal:
    """A program of Python in a pseudo-terminal."""

    def __init__(self, arguments: Sequence[str], columns: int = 80, lines: int = 24) -> None:
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self._master, slave = pty.openpty()
        self._set_size(slave)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")}
        environment.pop("COLUMNS", None)
        environment.pop("LINES", None)
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**environment, "TERM": "xterm-256color"},
            start_new_session=True,
        )
        os.close(slave)

    def resize(self, columns: int, lines: int) -> None:
        self.screen.resize(lines, columns)
        self._set_size(self._master)
        self.process.send_signal(signal.SIGWINCH)

    def _set_size(self, fd: int) -> None:
        size = struct.pack("HHHH", self.screen.lines, self.screen.columns, 0, 0)
        fcntl.ioctl(fd, termios.TIOCSWINSZ, size)

    def press(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.screen.display]

    def wait_until(self, seen: Callable[[str], bool]) -> str:
        """Read until the whole screen is as wanted; return it."""
        deadline = time.monotonic() + DEADLINE
        while not seen(text := "\n".join(self.lines)):
            left = deadline - time.monotonic()
            if left <= 0 or not self._read(left):
                raise AssertionError(f"never seen; the screen is\n{text}")
        return text

    def _read(self, seconds: float) -> bool:
        if not select.select([self._master], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # the program has ended
            return False
        self._stream.feed(data)
        return bool(data)

    def finish(self) -> int:
        """Read until the program ends; return its exit code."""
        while self._read(DEADLINE):
            pass
        return self.process.wait(DEADLINE)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)
