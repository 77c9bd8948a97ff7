"""Whether a pool still has all its places: as many works as it may run at a time meet in it."""

from __future__ import annotations

import os
import select
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from reliability.load import works

PATIENCE: Final = 60.0
"""Seconds that works which run take at most to say so, and a pool to be idle."""

Submit = Callable[..., Any]


class Meeting:
    """Works that wait for each other: all of them have to run at a time."""

    def __init__(self, folder: str) -> None:
        self._arrivals, self._gate = str(Path(folder, "arrivals")), str(Path(folder, "gate"))
        for path in self._arrivals, self._gate:
            os.mkfifo(path)
        self._heard = os.open(self._arrivals, os.O_RDWR | os.O_NONBLOCK)
        self._opener = os.open(self._gate, os.O_RDWR | os.O_NONBLOCK)

    def count(self, submit: Submit, coroutines: int, functions: int) -> int:
        """Submit so many works; return how many of them run at a time."""
        # The functions first: only one fits into a worker, where coroutines could fill its place.
        for _ in range(functions):
            submit(works.meet, self._arrivals, self._gate)
        count = self._hear(functions)
        for _ in range(coroutines):
            submit(works.ameet, self._arrivals, self._gate)
        return count + self._hear(coroutines)

    def _hear(self, wanted: int) -> int:
        """Wait for so many works to arrive; return how many did."""
        count, deadline = 0, time.monotonic() + PATIENCE
        while count < wanted:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._heard], [], [], left)[0]:
                break
            count += len(os.read(self._heard, 65536))
        return count

    def close(self) -> None:
        """Let all go on."""
        os.write(self._opener, b".")
        os.close(self._opener)
        os.close(self._heard)


def places(submit: Submit, workers: int, each: int) -> int:
    """Return how many works run at a time: one function in each worker, else coroutines."""
    with tempfile.TemporaryDirectory() as folder:
        meeting = Meeting(folder)
        try:
            return meeting.count(submit, workers * (each - 1), workers)
        finally:
            meeting.close()


def wait_for_workers(submit: Submit, workers: int) -> None:
    """Wait until all workers serve."""
    assert places(submit, workers, 1) == workers


def idles(pool: Any) -> bool:
    """Whether a pool comes to hold no work; a function that was given up may still run."""
    deadline = time.monotonic() + PATIENCE
    while "0 works waiting, 0 in flight" not in repr(pool):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.001)  # nobody tells
    return True
