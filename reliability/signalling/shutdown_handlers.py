"""Handlers that shut a pool down in the middle of whatever its thread does with it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from aplex import ProcessAsyncPoolExecutor, ThreadAsyncPoolExecutor, WorkerLostError
from reliability.report.figures import Report
from reliability.signalling.storm import asquare, square
from reliability.system.processes import workers

LATEST: Final = 0.01
"""Seconds after which the signal comes, at the latest."""
ENOUGH: Final = 5_000
"""Works after which a pool is shut down if no signal has come."""
PATIENCE: Final = 30.0
Kind = type[ProcessAsyncPoolExecutor[Any]] | type[ThreadAsyncPoolExecutor[Any]]


def shutdowns(count: int, rng: random.Random) -> Report:
    """Shut down so many pools of each engine and face."""
    report = Report(f"Shutdowns in handlers: {count} pools of each engine and face")
    for kind in ProcessAsyncPoolExecutor, ThreadAsyncPoolExecutor:
        for awaitable in (False, True):
            faults: list[str] = []
            outcomes: Counter[str] = Counter()
            for _ in range(count):
                one = Shutdown(kind, rng, awaitable=awaitable)
                one.run()
                one.judge(outcomes, faults)
            name = f"{kind.__name__}, {'awaitable' if awaitable else 'blocking'}"
            told = ", ".join(f"{n:,} {outcome}" for outcome, n in outcomes.most_common())
            report.tell(f"works, {name}", told)
            report.none_of("unresolved or wrong", faults)
    report.none_of("workers left", [str(pid) for pid in workers(os.getpid())])
    return report


class Shutdown:
    """One pool, and a handler that ends it."""

    def __init__(self, kind: Kind, rng: random.Random, *, awaitable: bool) -> None:
        self._pool: Any = kind(pool_size=1, awaitable=awaitable)
        self._rng = rng
        self._awaitable = awaitable
        self._futures: list[tuple[Any, int]] = []
        pool = self._pool
        ways: list[Callable[[], object]] = [
            pool.shutdown,
            lambda: pool.shutdown(wait=False),
            lambda: pool.shutdown(cancel_futures=True),
            lambda: pool.__exit__(None, None, None),
        ]
        if kind is ProcessAsyncPoolExecutor:
            ways.append(lambda: (pool.kill_workers(), pool.shutdown()))
        self._way = rng.choice(ways)

    def run(self) -> None:
        """Use the pool until it is shut down."""
        before = signal.signal(signal.SIGALRM, lambda *_: self._way())
        try:
            if self._awaitable:
                asyncio.run(self._use_awaiting())
            else:
                self._use()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        self._pool.shutdown()

    def judge(self, outcomes: Counter[str], faults: list[str]) -> None:
        """Every future has its end."""
        for future, number in self._futures:
            if not future.done():
                faults.append(f"{future!r} is pending")
            elif future.cancelled():
                outcomes["cancelled"] += 1
            elif isinstance(future.exception(), WorkerLostError):
                outcomes["lost"] += 1
            elif future.exception() is not None or future.result() != number * number:
                faults.append(repr(future))
            else:
                outcomes["done"] += 1

    def _submit(self) -> Any:
        number = len(self._futures)
        future = self._pool.submit((square, asquare)[number % 2], number)
        self._futures.append((future, number))
        return future

    def _use(self) -> None:
        self._submit().result(PATIENCE)
        signal.setitimer(signal.ITIMER_REAL, self._rng.uniform(1e-6, LATEST))
        try:
            while len(self._futures) < ENOUGH:
                some = [self._submit() for _ in range(self._rng.choice((1, 1, 3, 9)))]
                if self._rng.random() < 0.3:
                    concurrent.futures.wait(some, PATIENCE)
                for future in some:
                    future.exception(PATIENCE)
        except (RuntimeError, concurrent.futures.CancelledError):
            pass  # no more works are taken
        for future, _ in self._futures:
            concurrent.futures.wait((future,), PATIENCE)

    async def _use_awaiting(self) -> None:
        await self._submit()
        signal.setitimer(signal.ITIMER_REAL, self._rng.uniform(1e-6, LATEST))
        try:
            while len(self._futures) < ENOUGH:
                await asyncio.wait([self._submit() for _ in range(self._rng.choice((1, 3, 9)))])
        except RuntimeError:
            pass  # no more works are taken
        await asyncio.wait([future for future, _ in self._futures], timeout=PATIENCE)
