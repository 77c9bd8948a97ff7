"""Works that are cancelled at a random moment, and what became of them."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from reliability.load import works
from reliability.load.alarm import Alarm

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
    function: Any = works.plain if trial.plain else works.coroutine
    return pool.submit(function, trial.work, seconds), rng.uniform(0, 2 * seconds)


def run_blocking(pool: Any, trials: list[Trial], rng: random.Random) -> None:
    """Run the works and their cancels in threads: one submits functions, one coroutines."""
    alarm = Alarm("canceller")

    def submit_all(rng: random.Random, *, plain: bool) -> None:
        room = threading.Semaphore(WINDOWS[plain])
        for trial in [trial for trial in trials if trial.plain is plain]:
            room.acquire()
            future, moment = submit(pool, trial, rng)
            future.add_done_callback(trial.take)
            future.add_done_callback(lambda _: room.release())
            alarm.set(moment, partial(trial.cancel, future))
        for _ in range(WINDOWS[plain]):
            room.acquire()

    threads = []
    for plain in True, False:
        rng_of_thread = random.Random(rng.random())
        submit_those = partial(submit_all, rng_of_thread, plain=plain)
        threads.append(threading.Thread(target=submit_those))
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
