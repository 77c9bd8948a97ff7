"""Fault: Ctrl-C in the middle of an event of the Pool, at each of its lines.

``KeyboardInterrupt`` can come on the main thread at any moment, and the main thread runs the
Pool's events. After ``mend`` the Pool must be in order again: the works that are left can end,
and so can the workers. Python's tracing says when a line of the Pool is about to run.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

import pytest

from aplex._common.messages import COROUTINE, LANES, READY, RETURNED, VALUE
from aplex._common.options import WorkOptions
from aplex._pool import ahead, dispatch, ledger, pacing, pool, recycling, retries, staff, workforce
from aplex._pool.state import Work, WorkerState
from aplex._pool.terms import Terms
from aplex.exceptions import WorkerLostError
from tests.support.pools import ALL_STARTED, DrivenPool, PinningByIndex

MODULES = (ahead, dispatch, ledger, pacing, pool, recycling, retries, staff, workforce)
FILES = {module.__file__ for module in MODULES}
"""In which Ctrl-C comes."""


class InterruptAt:
    """Raises ``KeyboardInterrupt`` before the n-th line of the Pool that runs."""

    def __init__(self, line: int) -> None:
        self.left = line
        self.where = ""

    def __enter__(self) -> Self:
        self._before = sys.gettrace()
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    def _trace(self, frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename not in FILES:
            return None
        if event == "line":
            if self.left == 0:
                self.where = frame.f_code.co_name
                raise KeyboardInterrupt
            self.left -= 1
        return self._trace


def serving() -> DrivenPool:
    """Two workers that are full, a line, and works that are pinned."""
    driven = DrivenPool(2, 2, PinningByIndex)
    for meta in (0, 0, 0, 1, 1, 1, 0):
        driven.submit(meta=meta)
    driven.plain(meta=1)
    return driven


def half_idle() -> DrivenPool:
    driven = DrivenPool(2, 5)
    driven.submit()
    driven.plain()
    return driven


def half_started() -> DrivenPool:
    driven = DrivenPool(3, ready=False)
    for worker in driven.workers[:2]:
        driven.ready(worker)
    for _ in range(3):
        driven.submit()
    return driven


def idle() -> DrivenPool:
    return DrivenPool(2)


def one_in_flight() -> DrivenPool:
    driven = DrivenPool(2)
    for lane in LANES:
        for _ in range(2):
            driven.end(driven.submit(lane))
    driven.plain()
    return driven


def submit(driven: DrivenPool) -> None:
    driven.pool.submit(Work(COROUTINE, None, None, 0, None))


def submit_many(driven: DrivenPool) -> None:
    for _ in range(9):
        driven.submitted.append(Work(COROUTINE, None, None, 0, None))
        driven.pool.add(driven.submitted[-1])
    driven.pool.dispatch()


def submit_alone(driven: DrivenPool) -> None:
    assert driven.pool.add_alone(Work(COROUTINE, None, None, 0, None))


def cancel_waiting_one(driven: DrivenPool) -> None:
    driven.pool.cancel(next(w for w in driven.submitted if w.worker is None))


def cancel_running_one(driven: DrivenPool) -> None:
    driven.pool.cancel(next(w for w in driven.submitted if w.worker is not None))


def cancel_all_waiting(driven: DrivenPool) -> None:
    driven.pool.cancel_waiting()


def close(driven: DrivenPool) -> None:
    driven.pool.close()


def close_cancelling(driven: DrivenPool) -> None:
    driven.pool.close(cancel_waiting=True)


def report(driven: DrivenPool) -> None:
    work = next(w for w in driven.submitted if w.worker is not None)
    assert work.worker is not None
    driven.pool.report(work.worker, [(work.id, VALUE, None)])
    driven.pool.dispatch()


def take_in(driven: DrivenPool) -> None:
    work = next(w for w in driven.submitted if w.worker is not None)
    assert work.worker is not None
    frame: Any = (0.1, [(work.id, VALUE, None)], [], [], [], [])
    try:
        driven.pool.take_in(work.worker, frame)
    except KeyboardInterrupt:  # then the same frame comes again
        driven.pool.recount()
        if work.worker is not None:
            driven.pool.take_in(work.worker, frame)
        raise
    driven.pool.dispatch()


def report_alone(driven: DrivenPool) -> None:
    work = driven.submitted[-1]
    worker, frame = work.worker, (0.1, [], [work.id], ["result"], [], [])
    assert worker is not None
    try:
        taken = driven.pool.take_alone(worker, frame)
    except KeyboardInterrupt:  # then the same frame comes again
        driven.pool.recount()
        driven.pool.take_in(worker, frame)
        raise
    assert taken


def pace(driven: DrivenPool) -> None:
    driven.pool.paced(driven.workers[0], 0.0001, 1)
    driven.pool.dispatch()


def started(driven: DrivenPool) -> None:
    driven.pool.report(driven.workers[2], [(0, READY, 1)])
    driven.pool.dispatch()


def shrink(driven: DrivenPool) -> None:
    driven.pool.resize(1)


def grow(driven: DrivenPool) -> None:
    driven.pool.resize(4)


def becoming_worn() -> DrivenPool:
    """Two workers with heirs: one stands by, the other still starts."""
    driven = DrivenPool(2, 5, terms=Terms(max_tasks=2))
    driven.end(*[driven.submit() for _ in range(2)])
    driven.ready(driven.pool.spares[0])
    driven.plain()
    driven.submit()
    driven.submit(options=WorkOptions(items=2))
    return driven


def hand_over(driven: DrivenPool) -> None:
    driven.pool.submit(Work(COROUTINE, None, None, 0, None))


def wear_out(driven: DrivenPool) -> None:
    driven.pool.wear(driven.workers[0])


def aging() -> DrivenPool:
    driven = DrivenPool(2, 5, terms=Terms(max_age=1.0))
    for _ in range(3):
        driven.plain()
    return driven


def worn() -> DrivenPool:
    driven = aging()
    driven.wear(driven.workers[0])
    return driven


def heir_is_ready(driven: DrivenPool) -> None:
    driven.pool.report(driven.pool.spares[-1], [(0, READY, 1)])
    driven.pool.dispatch()


def elastic() -> DrivenPool:
    return DrivenPool(4, terms=Terms(min_size=1))


def suspicious() -> DrivenPool:
    """Works that two workers have died of, in front of a worker that is about to be ready."""
    driven = DrivenPool()
    for _ in range(3):
        driven.submit(options=WorkOptions(retries=9))
    for _ in range(2):
        driven.lose(driven.workers[0], ALL_STARTED, error=WorkerLostError(1, -9, 3))
        if _ == 0:
            driven.ready(driven.workers[0])
    return driven


def lined_up() -> DrivenPool:
    """Functions that were sent ahead."""
    driven = DrivenPool()
    for _ in range(4):
        driven.plain()
    driven.pace(driven.workers[0], 1e-6)
    return driven


def give_back(driven: DrivenPool) -> None:
    work = driven.submitted[-1]
    assert work.worker is not None
    driven.pool.report(work.worker, [(work.id, RETURNED, work.seq)])
    driven.pool.dispatch()


def recall_and_give_back(driven: DrivenPool) -> None:
    worker = driven.workers[0]
    driven.pool.recall_ahead(10.0, lambda _: (1, 1.0))
    ahead = [(work.id, RETURNED, work.seq) for work in worker.works.values()][1:]
    driven.pool.report(worker, ahead)  # type: ignore[arg-type]
    driven.pool.dispatch()


def give_back_apart(driven: DrivenPool) -> None:
    driven.submitted[-1].options = WorkOptions(priority=1)
    give_back(driven)


def successor_starts(driven: DrivenPool) -> None:
    driven.pool.report(driven.workers[0], [(0, READY, 1)])
    driven.pool.dispatch()


CASES: list[tuple[Callable[[], DrivenPool], Callable[[DrivenPool], None]]] = [
    *((serving, event) for event in (submit, cancel_waiting_one, cancel_running_one)),
    *((serving, event) for event in (cancel_all_waiting, close, close_cancelling, report, pace)),
    *((half_idle, event) for event in (submit, cancel_running_one, close, report, pace)),
    *((half_started, event) for event in (submit, close, report, pace, started)),
    (half_idle, submit_many),
    (one_in_flight, report_alone),
    *((idle, event) for event in (submit, submit_alone, close, shrink, grow)),
    *((serving, event) for event in (shrink, grow)),
    *((becoming_worn, event) for event in (hand_over, take_in, shrink, close)),
    (aging, wear_out),
    *((worn, event) for event in (heir_is_ready, take_in, shrink)),
    (elastic, submit),
    *((half_started, event) for event in (shrink, grow)),
    (suspicious, successor_starts),
    *((lined_up, event) for event in (give_back, give_back_apart, recall_and_give_back)),
]


@pytest.mark.parametrize(
    ("pool", "event"), CASES, ids=[f"{event.__name__}-{pool.__name__}" for pool, event in CASES]
)
def test_a_pool_interrupted_anywhere_can_be_mended(
    pool: Callable[[], DrivenPool], event: Callable[[DrivenPool], None]
) -> None:
    """It loses no work, holds none for ever, and all its workers can be told to stop."""
    line = 0
    while True:
        driven = pool()
        works = list(driven.submitted)
        try:
            with InterruptAt(line) as interrupt:
                event(driven)
        except KeyboardInterrupt:
            driven.pool.recount()
        ended = interrupt.left > 0
        driven.take_effects()
        driven.close()
        driven.run_to_the_end()
        # In `_hand` no call is between the lines where it could be lost: no signal comes there.
        if interrupt.where != "_hand":
            assert all(work.is_done for work in works), f"a work is lost, at line {line}"
        for worker in driven.pool.everyone():
            assert worker.state is WorkerState.STOPPING
            assert worker in driven.stopped, f"{worker!r} is never told to stop, at line {line}"
        if ended:
            break
        line += 1
    assert line > 3
