"""Keys of a terminal, one by one, without Enter."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Generator
from contextlib import contextmanager


class Keys:
    """What is pressed, if stdin is a terminal."""

    def __init__(self, fd: int | None) -> None:
        self._fd = fd

    def wait(self, seconds: float) -> str:
        """Return the key that is pressed within that time; nothing if none is."""
        if self._fd is None:
            select.select([], [], [], seconds)
            return ""
        ready, _, _ = select.select([self._fd], [], [], seconds)
        if not ready:
            return ""
        data = os.read(self._fd, 16)
        if not data:  # the terminal is gone
            return "q"
        return data.decode(errors="replace")[0]


@contextmanager
def pressed_keys() -> Generator[Keys]:
    """Have keys come one by one; at the end the terminal is as before."""
    if sys.platform == "win32" or not sys.stdin.isatty():
        yield Keys(None)
        return
    import termios
    import tty

    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    tty.setcbreak(fd)
    try:
        yield Keys(fd)
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
