"""A load of mixed works: submits them, cancels some, and keeps what became of each."""

from __future__ import annotations

import logging
import random
import threading
import time
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from typing import Any, Final, Self

from aplex import AplexError, ProcessAsyncPoolExecutor, WorkerLostError, WorkQuarantinedError
from reliability.load import works

UNRESOLVED, RIGHT, WRONG, CANCELLED, LOST, QUARANTINED = (
    "unresolved", "right", "wrong", "cancelled", "lost", "quarantined",
)  # fmt: skip
RETRIES: Final = 2
"""Of the works that may run again."""
RECENT: Final = 1.5
"""Windows of works of which one is cancelled: some wait, some run, some are done."""


@dataclass(slots=True)
class Fate:
    """What was wanted of one work, and what became of it."""

    work: int
    plain: bool
    retries: int
    size: int  # of its result, in bytes
    future: Future[Any] | None = None
    outcome: str = UNRESOLVED
    deliveries: int = 0
    cancel_asked: bool = False
    never_after: int | None = None  # nanoseconds; it was seen cancelled then
    dead: list[int | None] = field(default_factory=list)  # workers it is said to have died with
    trouble: str = ""

    def take(self, future: Future[Any]) -> None:
        """Keep the outcome, not the result."""
        self.deliveries += 1
        self.future = None
        try:
            value = future.result()
        except CancelledError:
            self.outcome = CANCELLED
        except WorkQuarantinedError as error:
            self.outcome, self.dead = QUARANTINED, [death.pid for death in error.deaths]
        except WorkerLostError as error:
            self.outcome, self.dead = LOST, [error.pid]
        except AplexError as error:
            self.outcome, self.trouble = WRONG, repr(error)
        else:
            right = value == (self.work, works.payload(self.work, self.size))
            self.outcome = RIGHT if right else WRONG


class Complaints(logging.Handler):
    """Collects what aplex logs, and what ``concurrent.futures`` does about futures set twice."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []
        self._loggers = [logging.getLogger(name) for name in ("aplex", "concurrent.futures")]

    def __enter__(self) -> Self:
        for logger in self._loggers:
            logger.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        for logger in self._loggers:
            logger.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        self.messages.append(f"{record.getMessage()} {error!r}")


class Load:
    """Submits mixed works to a pool of processes."""

    def __init__(
        self, pool: ProcessAsyncPoolExecutor[Any], rng: random.Random, window: int
    ) -> None:
        self._window = window  # works under way at a time
        self._views = {0: pool.options(retries=0), RETRIES: pool.options(retries=RETRIES)}
        self._rng = rng
        self._room = threading.Semaphore(window)
        self.fates: list[Fate] = []

    def submit(self, works: int, seconds: float) -> None:
        """Submit so many works, at most for that time."""
        end = time.monotonic() + seconds
        while len(self.fates) < works and time.monotonic() < end:
            self._room.acquire()
            self._submit(len(self.fates))
            if self._rng.random() < 0.1:
                self._cancel(self._rng.choice(self.fates[-int(RECENT * self._window) :]))

    def drain(self) -> None:
        """Wait for all; a hang here is ended, and shown, by the time limit of the program."""
        for _ in range(self._window):
            self._room.acquire()

    def _submit(self, work: int) -> None:
        rng = self._rng
        size = rng.choices((0, 300_000, 3_000_000), (970, 29, 1))[0]
        fate = Fate(work, rng.random() < 0.5, rng.choice((0, RETRIES)), size)
        self.fates.append(fate)
        function, most = (works.plain, 0.02) if fate.plain else (works.coroutine, 0.2)
        view = self._views[fate.retries]
        future: Any = view.submit(function, work, rng.uniform(0, most), size)
        fate.future = future
        future.add_done_callback(lambda future: self._done(fate, future))

    def _done(self, fate: Fate, future: Future[Any]) -> None:
        try:
            fate.take(future)
        finally:
            self._room.release()

    def _cancel(self, fate: Fate) -> None:
        future = fate.future
        if future is None:
            return
        fate.cancel_asked = True
        future.cancel()
        if future.cancelled():
            fate.never_after = time.monotonic_ns()
