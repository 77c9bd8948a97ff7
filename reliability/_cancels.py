"""Works that are cancelled at a random moment, and what became of them."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from reliability import _works

WINDOWS: Final = {True: 8, False: 100}
"""Functions, and coroutines, under way at a time."""
LONGEST: Final = {True: 0.002, False: 0.02}
"""Seconds that a function, and a coroutine, takes at most."""


@dataclass(slots=True)
class Trial:
    """One work and its cancel."""

    work: int
    plain: bool
    awaited: bool
    returned: bool | None = None  # by ``cancel``; None: never called
    never_after: int | None = None  # nanoseconds; it was seen cancelled then
    outcome: str = "unresolved"
    deliveries: int = 0

    def cancel(self, future: Any) -> None:
        """Cancel, and look at once what that did."""
        self.returned = future.cancel()
        if future.cancelled():
            self.never_after = time.monotonic_ns()

    def take(self, future: Any) -> None:
        """Keep the outcome."""
        self.deliveries += 1
        if future.cancelled():
            self.outcome = "cancelled"
        elif (error := future.exception()) is not None:
            self.outcome = repr(error)
        else:
            self.outcome = "right" if future.result() == (self.work, b"") else "wrong"


def submit(pool: Any, trial: Trial, rng: random.Random) -> tuple[Any, float]:
    """Submit a work; return its future, and in how many seconds to cancel it."""
    seconds = rng.uniform(0, LONGEST[trial.plain])
    function: Any = _works.plain if trial.plain else _works.coroutine
    return pool.submit(function, trial.work, seconds), rng.uniform(0, 2 * seconds)


class Alarm:
    """Makes calls at their time, in a thread of its own."""

    def __init__(self) -> None:
        self._calls: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._over = False
        self._thread = threading.Thread(target=self._run, name="canceller")
        self._thread.start()

    def set(self, seconds: float, call: Callable[[], None]) -> None:
        """Have a call made in so many seconds."""
        with self._changed:
            entry = (time.monotonic() + seconds, next(self._numbers), call)
            heapq.heappush(self._calls, entry)
            self._changed.notify()

    def finish(self) -> None:
        """Make the calls that are left, then end."""
        with self._changed:
            self._over = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while call := self._next():
            call()

    def _next(self) -> Callable[[], None] | None:
        with self._changed:
            while self._calls or not self._over:
                left = self._calls[0][0] - time.monotonic() if self._calls else None
                if left is not None and left <= 0:
                    return heapq.heappop(self._calls)[2]
                self._changed.wait(left)
        return None


def run_blocking(pool: Any, trials: list[Trial], rng: random.Random) -> None:
    """Run the works and their cancels in threads: one submits functions, one coroutines."""
    alarm = Alarm()

    def submit_all(rng: random.Random, *, plain: bool) -> None:
        room = threading.Semaphore(WINDOWS[plain])
        for trial in [trial for trial in trials if trial.plain is plain]:
            room.acquire()
            future, moment = submit(pool, trial, rng)
            future.add_done_callback(trial.take)
            future.add_done_callback(lambda _: room.release())
            alarm.set(moment, lambda trial=trial, future=future: trial.cancel(future))  # type: ignore[misc]
        for _ in range(WINDOWS[plain]):
            room.acquire()

    threads = [
        threading.Thread(
            target=submit_all, args=(random.Random(rng.random()),), kwargs={"plain": plain}
        )
        for plain in (True, False)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alarm.finish()


async def run_awaited(pool: Any, trials: list[Trial], rng: random.Random) -> None:
    """Run the works and their cancels on this loop."""
    loop = asyncio.get_running_loop()

    async def submit_all(*, plain: bool) -> None:
        room = asyncio.Semaphore(WINDOWS[plain])
        for trial in [trial for trial in trials if trial.plain is plain]:
            await room.acquire()
            future, moment = submit(pool, trial, rng)
            future.add_done_callback(trial.take)
            future.add_done_callback(lambda _: room.release())
            loop.call_later(moment, trial.cancel, future)
        for _ in range(WINDOWS[plain]):
            await room.acquire()

    await asyncio.gather(submit_all(plain=True), submit_all(plain=False))
    # The last cancels, of works that were done before: none is later than this.
    await asyncio.sleep(2 * max(LONGEST.values()))
