"""One thread that uses a pool, and is broken into all the time by handlers and finalizers."""

from __future__ import annotations

import concurrent.futures
import contextlib
import gc
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator
from typing import Any, Final

from aplex import ProcessAsyncPoolExecutor, ThreadAsyncPoolExecutor
from reliability.report.figures import Report
from reliability.system.processes import workers

INTERVAL: Final = 0.0005
"""Seconds from the end of a handler to the next signal, on average."""
GARBAGE: Final = 30
"""Objects after which CPython looks for garbage."""
PATIENCE: Final = 30.0
MOST: Final = 300
"""Works that handlers and finalizers have under way at most."""


def square(number: int) -> int:
    return number * number


async def asquare(number: int) -> int:
    return number * number


def numbers(count: int) -> Generator[int]:
    yield from range(count)


def storm(seconds: float, rng: random.Random) -> Report:
    """Use a pool of each engine for so long."""
    report = Report(f"Signals: a handler about every {INTERVAL * 1e3:g} ms, {seconds:g} s each")
    for kind in ProcessAsyncPoolExecutor, ThreadAsyncPoolExecutor:
        one = Storm(kind(pool_size=2), rng)
        one.run(seconds)
        one.judge()
        name = kind.__name__
        report.tell(f"rounds, {name}", one.rounds)
        report.tell(f"calls of handlers and finalizers, {name}", one.calls.total())
        report.tell(f"works, {name}", len(one.futures))
        report.none_of("unresolved, wrong, or not called back once", one.faults)
        report.none_of("workers left", [str(pid) for pid in workers(os.getpid())])
    return report


class Garbage:
    """Is in a cycle, and calls something when it is collected: in any thread, at any moment."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.me = self
        self.call = call

    def __del__(self) -> None:
        self.call()


class Storm:
    """A pool under load, and what breaks into that."""

    def __init__(self, pool: Any, rng: random.Random) -> None:
        self._pool = pool
        self._rng = rng
        self._main = threading.get_ident()
        self._over = False
        self._closable: list[Any] = []
        self._recent: list[tuple[Any, int]] = []
        self._called: list[int] = []  # a counter would count two threads at once wrong
        self._expected: list[Any] = []
        self.futures: list[tuple[Any, int]] = []
        self.calls: Counter[str] = Counter()
        self.faults: list[str] = []
        self.rounds = 0
        self._actions = (
            self._submit, self._cancel, self._look, self._add_callback, self._resize,
            self._close, self._litter, self._shut_another,
        )  # fmt: skip

    def run(self, seconds: float) -> None:
        """Use the pool for so long."""
        self._pool.submit(square, 1).result()
        thresholds = gc.get_threshold()
        handler = signal.signal(signal.SIGALRM, self._handle)
        gc.set_threshold(GARBAGE, 5, 200)  # seldom all of it: that takes long
        signal.setitimer(signal.ITIMER_REAL, INTERVAL)
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end:
                self._rng.choice((self._results, self._wait, self._map, self._stream))()
                self.rounds += 1
        finally:
            self._over = True  # or a handler that is late would ask for another signal
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, handler)
            gc.set_threshold(*thresholds)

    def judge(self) -> None:
        """Every future has its end, every callback was called once, and the pool goes."""
        gc.collect()
        for future, number in self.futures:
            try:
                if future.result(PATIENCE) != number * number:
                    self.faults.append(f"{future!r} of {number}")
            except concurrent.futures.CancelledError:
                pass
            except BaseException as error:
                self.faults.append(repr(error))
        self._pool.shutdown()
        wanted = Counter(map(id, self._expected))
        end = time.monotonic() + PATIENCE
        while Counter(self._called) != wanted and time.monotonic() < end:
            time.sleep(0.01)  # the last ones may be under way, in a thread that nobody knows
        called = Counter(self._called)
        wrong = (wanted - called) + (called - wanted)
        self.faults += [f"called {called[i]} times, not {wanted[i]}" for i in wrong]

    # -- what is broken into --------------------------------------------------

    def _send(self, work: Callable[..., Any]) -> Any:
        number = self._rng.randrange(1000)
        future = self._pool.submit(work, number)
        self.futures.append((future, number))
        self._recent.append((future, number))
        return future

    def _results(self) -> None:
        some = [self._send(self._rng.choice((square, asquare))) for _ in range(5)]
        for future in some:
            with contextlib.suppress(concurrent.futures.CancelledError):
                future.result(PATIENCE)
        self._forget()

    def _wait(self) -> None:
        some = [self._send(asquare) for _ in range(5)]
        if concurrent.futures.wait(some, PATIENCE).not_done:
            self.faults.append("wait() has not seen the end of some")
        more = [self._send(square) for _ in range(5)]
        if set(concurrent.futures.as_completed(more, PATIENCE)) != set(more):
            self.faults.append("as_completed() has not seen the end of some")
        self._forget()

    def _map(self) -> None:
        results = self._pool.map(square, range(9), chunksize=2)
        self._closable.append(results)
        with contextlib.suppress(concurrent.futures.CancelledError):
            list(results)
        self._closable.clear()

    def _stream(self) -> None:
        view = self._pool.options(buffersize=4)
        with contextlib.suppress(concurrent.futures.CancelledError), view.stream(numbers, 9) as it:
            self._closable.append(it)
            list(it)
        self._closable.clear()

    def _forget(self) -> None:
        del self._recent[:-20]

    # -- what breaks in -------------------------------------------------------

    def _handle(self, _number: int, _frame: object) -> None:
        self._act()
        if not self._over:
            signal.setitimer(signal.ITIMER_REAL, self._rng.uniform(0.2, 1.8) * INTERVAL)

    def _act(self) -> None:
        action = self._rng.choice(self._actions)
        try:
            action()
        except BaseException as error:
            self.faults.append(f"{action.__name__}: {error!r}")
        self.calls[action.__name__] += 1

    def _submit(self) -> None:
        if sum(not future.done() for future, _ in self.futures[-MOST:]) < MOST:
            self._expect(self._send(self._rng.choice((square, asquare))))

    def _expect(self, future: Any) -> None:
        self._expected.append(future)
        future.add_done_callback(lambda done: self._called.append(id(done)))

    def _cancel(self) -> None:
        for future, _ in self._recent[-3:]:
            future.cancel()

    def _look(self) -> None:
        for future, number in self._recent[-9:]:
            if future.done() and not future.cancelled() and future.result() != number * number:
                self.faults.append(f"{future!r} of {number}")
            future.running()
        repr(self._pool)

    def _add_callback(self) -> None:
        for future, _ in self._recent[-2:]:
            self._expect(future)

    def _resize(self) -> None:
        """To another size seldom: processes that start take the time of those that work."""
        self._pool.resize(3 if self._rng.random() < 0.01 else 2)
        self._pool.options(retries=1)

    def _close(self) -> None:
        """Only in the thread that reads them: one at a time may do so."""
        if threading.get_ident() == self._main:
            for one in self._closable:
                one.close()

    def _litter(self) -> None:
        Garbage(self._rng.choice((self._cancel, self._submit, self._add_callback, self._look)))

    def _shut_another(self) -> None:
        """A pool that was never used, and one whose works are not waited for."""
        ThreadAsyncPoolExecutor(pool_size=1).shutdown()
        if self._rng.random() < 0.05:
            other = ThreadAsyncPoolExecutor(pool_size=1)
            other.submit(square, 1)
            other.shutdown(wait=False)
