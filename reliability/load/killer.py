"""Strikes the workers of this process at random, each after an exponentially distributed life."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections import Counter
from typing import Final, Self

from reliability.system.processes import strike, workers

BLOWS: Final = {signal.SIGKILL: 6, signal.SIGSEGV: 2, signal.SIGSTOP: 2}
"""How often each comes, of ten."""
STOPPED: Final = 1.0
"""Seconds that a stopped worker stays so, at most."""


class Killer:
    """A Poisson process of blows, as long as the block lasts."""

    def __init__(self, life: float, rng: random.Random) -> None:
        self._life = life  # mean, in seconds, of a worker
        self._rng = rng
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="killer")
        self._resumptions: list[threading.Timer] = []
        self.struck: Counter[str] = Counter()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        for resumption in self._resumptions:
            resumption.join()

    def alive(self) -> list[int]:
        """Return who can be struck."""
        return workers(os.getpid())

    def hit(self, pid: int, number: int) -> bool:
        """Send a signal; return whether the worker was there."""
        return strike(pid, number, os.getpid())

    def _run(self) -> None:
        alive = self.alive()
        while not self._over.wait(self._rng.expovariate(max(1, len(alive)) / self._life)):
            alive = self.alive()
            if alive:
                self._strike(self._rng.choice(alive))

    def _strike(self, pid: int) -> None:
        (blow,) = self._rng.choices(list(BLOWS), list(BLOWS.values()))
        if not self.hit(pid, blow):
            return
        self.struck[blow.name] += 1
        if blow is signal.SIGSTOP:
            call = (pid, signal.SIGCONT)
            resumption = threading.Timer(self._rng.uniform(0, STOPPED), self.hit, call)
            self._resumptions.append(resumption)
            resumption.start()
