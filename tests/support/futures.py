"""What futures are tested with: outcomes, and a manager on paper."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

from aplex._common.messages import CANCELLED, COROUTINE, ERROR, PICKLED, RAISED, VALUE
from aplex._pool.state import PoolWorker, Work
from aplex._wire.exceptions import encode_exception
from aplex.exceptions import SerializationError

KEY = KeyError("x")
OUTCOMES = [
    (VALUE, 42, 42),
    (PICKLED, pickle.dumps([1, 2]), [1, 2]),
    (RAISED, KEY, KEY),
    (ERROR, encode_exception(ValueError("there")), ValueError),
    (PICKLED, b"no pickle", SerializationError),
    (RAISED, SystemExit(3), SystemExit),
]


class FakeManager:
    """Takes the requests for a cancel, and settles at once if the work waits."""

    def __init__(self, *, waiting: bool = False, stops: bool = True) -> None:
        self.waiting = waiting
        self.stops = stops
        self.asked: list[Work] = []

    def arm(self) -> None:
        """Somebody else reads."""

    def read_until(self, done: Any, end: float | None) -> None:
        """Somebody else reads."""

    def check_may_sleep(self) -> None:
        """It may."""

    def may_tell(self) -> bool:
        return True

    def may_call_back(self) -> bool:
        return True

    def cancel(self, work: Work) -> bool:
        self.asked.append(work)
        if self.waiting:
            work.future._settle(CANCELLED, None)
        return self.stops


def with_work(future: Any, manager: FakeManager, worker: PoolWorker | None = None) -> Work:
    work = Work(COROUTINE, None, None, None, future)
    work.worker = worker
    work.manager = manager
    future._work = work
    return work


def with_loop(main: Any) -> None:
    asyncio.run(asyncio.wait_for(main, 30))
