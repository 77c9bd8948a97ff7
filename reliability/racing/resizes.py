"""Pools that threads submit to, resize and shut down at the same time."""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final

from aplex import ProcessAsyncPoolExecutor, ThreadAsyncPoolExecutor
from reliability.load import works
from reliability.report.figures import Report
from reliability.system.processes import workers

MOST: Final = 4
"""Workers that a pool is resized to at most."""
SUBMITTERS, RESIZERS, CLOSERS = 3, 2, 2
WINDOW: Final = 50
"""Works that each submitter has under way at most."""


def resizes(rounds: int, rng: random.Random) -> Report:
    """Make pools, put them under load, resize and close them; process and thread engine."""
    report = Report(
        f"Resizes and shutdowns: {rounds} pools of each engine; {SUBMITTERS} threads submit, "
        f"{RESIZERS} resize, {CLOSERS} close"
    )
    for kind in ProcessAsyncPoolExecutor, ThreadAsyncPoolExecutor:
        outcomes: Counter[str] = Counter()
        faults: list[str] = []
        for _ in range(rounds):
            struggle = Struggle(kind(pool_size=rng.randint(1, MOST)), rng)
            struggle.run()
            struggle.judge(outcomes, faults)
        told = ", ".join(f"{count:,} {outcome}" for outcome, count in outcomes.most_common())
        report.tell(f"works, {kind.__name__}", told)
        report.none_of("unresolved or wrong", faults)
        report.none_of("workers left", [str(pid) for pid in workers(os.getpid())])
        threads = [str(t) for t in threading.enumerate() if t is not threading.main_thread()]
        report.none_of("threads left", threads)
    return report


class Struggle:
    """Threads that use one pool."""

    def __init__(self, pool: Any, rng: random.Random) -> None:
        self._pool = pool
        self._rng = rng
        self._cancels = rng.random() < 0.5  # whether waiting works are cancelled at the end
        self._loaded = threading.Event()
        self._closed = threading.Event()
        self._futures: list[tuple[int, Future[Any]]] = []
        self._errors: list[str] = []

    def run(self) -> None:
        """Run the threads to their ends."""
        roles = [self._submit] * SUBMITTERS + [self._resize] * RESIZERS + [self._close] * CLOSERS
        threads = [threading.Thread(target=self._do, args=(role,)) for role in roles]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def judge(self, outcomes: Counter[str], faults: list[str]) -> None:
        """Count what became of the works."""
        faults += self._errors
        for number, future in self._futures:
            if not future.done():
                outcome = "unresolved"
            elif future.cancelled():
                outcome = "cancelled"
            elif future.exception() is not None:
                outcome = "failed"
            else:
                outcome = "right" if future.result() == number else "wrong"
            outcomes[outcome] += 1
            if outcome != "right" and not (outcome == "cancelled" and self._cancels):
                faults.append(f"{outcome}: {future}")

    def _do(self, role: Callable[[random.Random], None]) -> None:
        try:
            role(random.Random(self._rng.random()))
        except RuntimeError as error:
            if "shutdown" not in str(error):
                self._errors.append(repr(error))
        except Exception as error:
            self._errors.append(repr(error))

    def _submit(self, rng: random.Random) -> None:
        room = threading.Semaphore(WINDOW)
        while True:
            room.acquire()
            number = rng.randrange(1_000_000)
            work: Any = rng.choice((works.echo, works.aecho))
            future = self._pool.submit(work, number)
            self._futures.append((number, future))
            future.add_done_callback(lambda _: room.release())
            if len(self._futures) > 2 * WINDOW * SUBMITTERS:  # most of them are done
                self._loaded.set()

    def _resize(self, rng: random.Random) -> None:
        self._loaded.wait()
        while not self._closed.wait(rng.uniform(0, 0.5)):
            self._pool.resize(rng.randint(1, MOST))

    def _close(self, rng: random.Random) -> None:
        self._loaded.wait()
        self._closed.wait(rng.uniform(0, 1))
        self._pool.shutdown(cancel_futures=self._cancels)
        self._closed.set()
