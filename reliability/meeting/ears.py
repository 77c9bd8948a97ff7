"""Hears works begin: what happens to a pool happens at moments that its works tell."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Final

PATIENCE: Final = 10.0
"""Seconds after which it is too late: for want of works that began, something happens now."""

Hook = Callable[[int, int, int], None]
"""Is told how many have begun, which work has, and in which process."""


class Ears:
    """Listens to the bell, in a thread of its own."""

    def __init__(self, folder: str) -> None:
        path = f"{folder}/bell"
        os.mkfifo(path)
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)  # never at its end
        self._heard = threading.Condition()
        self._count = 0
        self._begun: set[int] = set()
        self.hooks: list[Hook] = []
        threading.Thread(target=self._listen, name="ears", daemon=True).start()

    def wait(self, count: int) -> bool:
        """Wait until so many have begun; return whether they have."""
        with self._heard:
            return self._heard.wait_for(lambda: self._count >= count, PATIENCE)

    def wait_for(self, number: int) -> bool:
        """Wait until that work has begun, and the hooks were told; return whether it has."""
        with self._heard:
            return self._heard.wait_for(lambda: number in self._begun, PATIENCE)

    def pass_over(self, number: int) -> None:
        """Take note that a work has ended: wait for its begin no more."""
        with self._heard:
            self._count += number not in self._begun
            self._begun.add(number)
            self._heard.notify_all()

    def has_begun(self, number: int) -> bool:
        """Whether that work has, and the hooks were told."""
        return number in self._begun

    def _listen(self) -> None:
        rest = b""
        while True:
            *lines, rest = (rest + os.read(self._fd, 65536)).split(b"\n")
            for line in lines:
                self._hear(*map(int, line.split()))

    def _hear(self, number: int, pid: int) -> None:
        with self._heard:
            self._count += 1
            count = self._count
        for hook in list(self.hooks):
            hook(count, number, pid)
        with self._heard:
            self._begun.add(number)
            self._heard.notify_all()
