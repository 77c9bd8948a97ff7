"""Inquiries: what all workers do, asked at once. Those that do not answer are waited for a while.

The Manager asks and takes in the answers, in steps. What is known of a worker without its help is
told with them: the works that it has, and which function runs there since when.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal

from aplex._common.messages import PLAIN
from aplex._pool.state import PoolWorker, Work, WorkerState
from aplex.dumps import StackFrame, TaskDump, WorkDump, WorkerDump

if TYPE_CHECKING:
    from aplex._backends.contract import Backend

ELSE: Final = "(something that a work has left here)"


class Inquiry:
    """One question to all workers.

    Attributes:
        number: Comes back with the answers.
        workers: Who was there when it was asked.
        answers: What they do, as `_worker.stacks` tells it.
        is_over: Whether nobody waits for answers any more.
        when_complete: Is called, once, in the step in which the last answer comes.
    """

    def __init__(self, number: int, workers: list[PoolWorker]) -> None:
        self.number = number
        self.workers = workers
        self.answers: dict[PoolWorker, tuple[float, list[Any]]] = {}
        self.is_over = False
        self.when_complete: Callable[[], None] | None = None

    def take(self, worker: PoolWorker, rows: list[Any]) -> None:
        """Take in an answer."""
        self.answers[worker] = time.monotonic(), rows

    def is_complete(self) -> bool:
        """Whether no more answers will come."""
        return all(
            worker in self.answers or worker.pid is None or worker.state is WorkerState.GONE
            for worker in self.workers
        )

    def dumps(self, backend: Backend) -> list[WorkerDump]:
        """Return what is known of each worker that still is there. In a step."""
        there = [worker for worker in self.workers if worker.state is not WorkerState.GONE]
        there.sort(key=lambda worker: (worker.index, worker.id))
        return [_dump_of(worker, self.answers.get(worker), backend) for worker in there]


def _dump_of(
    worker: PoolWorker, answer: tuple[float, list[Any]] | None, backend: Backend
) -> WorkerDump:
    now, rows = answer or (time.monotonic(), _known_rows(worker, backend))
    works = dict(worker.works)
    shown: list[WorkDump] = []
    for work_id, lane, since, stack, tasks in rows:
        work = works.pop(work_id, None)
        if work is not None or not work_id:  # else it has ended since
            seconds = max(0.0, now - since) if since else None
            shown.append(_running(work, lane, seconds, stack, tasks))
    shown += [_other(work, told=answer is not None) for work in works.values()]
    return WorkerDump(
        worker.index,
        worker.id,
        worker.pid,
        worker.state.value,
        answer is not None,
        tuple(shown),
    )


def _running(
    work: Work | None, lane: int, seconds: float | None, stack: Any, tasks: Any
) -> WorkDump:
    beside = tuple(TaskDump(name, _frames(frames)) for name, frames in tasks)
    return WorkDump(
        0 if work is None else work.id,
        ELSE if work is None else work.name,
        "function" if lane == PLAIN else "coroutine",
        "runs",
        seconds,
        _frames(stack),
        beside,
    )


def _other(work: Work, *, told: bool) -> WorkDump:
    plain = work.lane == PLAIN  # if one runs, that is known: the others wait
    kind: Literal["function", "coroutine"] = "function" if plain else "coroutine"
    state: Literal["waits", "aboard"] = "waits" if told or plain else "aboard"
    return WorkDump(work.id, work.name, kind, state, None, ())


def _frames(stack: Any) -> tuple[StackFrame, ...]:
    return tuple(StackFrame(*frame) for frame in stack)


def _known_rows(worker: PoolWorker, backend: Backend) -> list[Any]:
    """Return what is known of a worker without its help."""
    try:
        seq, since = backend.running(worker)
    except ValueError:  # its memory was freed just now
        return []
    works = worker.works.values()
    return [
        (work.id, PLAIN, since, (), ())
        for work in works
        if seq and work.seq == seq and work.lane == PLAIN
    ]
