"""What ``pool.dump()`` returns: every work, where it is, and where it stands. Frozen records.

``print(pool.dump())`` shows it as text, the innermost call of a stack last, as tracebacks are.
"""

from __future__ import annotations

import linecache
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

__all__ = ["PoolDump", "StackFrame", "TaskDump", "WorkDump", "WorkerDump"]


@dataclass(frozen=True, slots=True)
class StackFrame:
    """A call that has not returned.

    Attributes:
        file: The path of the source.
        line: The line in it; 0 if it is not known.
        function: The qualified name of the function.
    """

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        """Show it as a traceback does."""
        if not self.function:
            return f"  {self.file}"
        source = linecache.getline(self.file, self.line).strip()
        place = f'  File "{self.file}", line {self.line}, in {self.function}'
        return f"{place}\n    {source}" if source else place


@dataclass(frozen=True, slots=True)
class TaskDump:
    """A task that a work awaits with others: of a ``TaskGroup``, or a ``gather``.

    Attributes:
        name: That of the task.
        stack: Where it stands, the outermost call first.
    """

    name: str
    stack: tuple[StackFrame, ...]


@dataclass(frozen=True, slots=True)
class WorkDump:
    """A work that a worker has.

    Attributes:
        id: Its number, that of ``future.id``; 0 of what is no work: a task, or a callback, that a
            work has left on the loop.
        name: Its qualified name with its module.
        kind: ``"function"`` or ``"coroutine"``.
        state: ``"runs"``; or ``"waits"``: it was sent, and has not begun; or ``"aboard"``: its
            worker has not answered, so nobody knows which of these it does.
        seconds: For how long it has run; None if that is not known.
        stack: Where it stands, the outermost call first: of a coroutine the calls that it awaits,
            also those in a task that it awaits. Empty if that is not known, and of a function
            without code of Python.
        tasks: The tasks that it awaits together.
    """

    id: int
    name: str
    kind: Literal["function", "coroutine"]
    state: Literal["runs", "waits", "aboard"]
    seconds: float | None
    stack: tuple[StackFrame, ...]
    tasks: tuple[TaskDump, ...] = ()

    def _lines(self) -> Iterator[str]:
        since = "" if self.seconds is None else f" for {self.seconds:.3g} s"
        number = f"work {self.id}" if self.id else "on the loop"
        yield f"{number}: {self.kind} {self.name} {self.state}{since}"
        yield from _lines_of(self.stack)
        for task in self.tasks:
            yield f"  awaits task {task.name}"
            yield from (f"  {line}" for line in _lines_of(task.stack))


@dataclass(frozen=True, slots=True)
class WorkerDump:
    """What a worker does.

    Attributes:
        slot: The place that it and its successors hold.
        id: Its number.
        pid: Its process; None of a worker of threads, and until it is ready.
        state: As in `WorkerStats`.
        answered: Whether it has told where its works stand.
        works: The works it has: those that run, then the others.
    """

    slot: int
    id: int
    pid: int | None
    state: Literal["starting", "standby", "serving", "retiring", "stopping", "gone"]
    answered: bool
    works: tuple[WorkDump, ...]

    def _lines(self, timeout: float) -> Iterator[str]:
        process = "" if self.pid is None else f", process {self.pid}"
        yield f"worker {self.id} in slot {self.slot}{process}: {self.state}"
        if not self.answered and self.state != "starting":
            yield (
                f"  It has not answered within {timeout:g} s: it is stopped, or in code that keeps "
                "the interpreter. This is what is known without it:"
            )
        running = [work for work in self.works if work.state == "runs"]
        for work in running:
            yield from (f"  {line}" for line in work._lines())  # noqa: SLF001 - of this file
        for state, said in (("waits", "not begun"), ("aboard", "begun or not")):
            works = [work for work in self.works if work.state == state]
            if works:
                yield f"  {said}: {_some(works)}"
        if not self.works:
            yield "  It has no work."


@dataclass(frozen=True, slots=True)
class PoolDump:
    """What a pool does at one moment.

    Attributes:
        name: That of the pool.
        pid: The process of the pool.
        time: When, in seconds on the clock of ``time.time``.
        timeout: Seconds that the workers had for their answer.
        waiting: Works that wait for a worker.
        workers: Those that are there.
    """

    name: str
    pid: int
    time: float
    timeout: float
    waiting: int
    workers: tuple[WorkerDump, ...]

    @property
    def works(self) -> tuple[WorkDump, ...]:
        """The works of all workers."""
        return tuple(work for worker in self.workers for work in worker.works)

    def __str__(self) -> str:
        """Show everything, as text."""
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.time))
        aboard = f"{len(self.works)} aboard, {self.waiting} waiting, {len(self.workers)} workers"
        lines = [f"{self.name}, process {self.pid}, {when}: {aboard}"]
        for worker in self.workers:
            lines += ["", *worker._lines(self.timeout)]  # noqa: SLF001 - of this file
        return "\n".join(lines)


def _lines_of(stack: Iterable[StackFrame]) -> Iterator[str]:
    for frame in stack:
        yield from (f"  {line}" for line in str(frame).split("\n"))


def _some(works: list[WorkDump]) -> str:
    shown = [f"{work.name} (work {work.id})" for work in works[:5]]
    more = len(works) - len(shown)
    return ", ".join(shown) + (f", and {more} more" if more else "")


def make_dump(name: str, timeout: float, waiting: int, workers: Iterable[WorkerDump]) -> PoolDump:
    """Return the dump of a pool of this process, now."""
    return PoolDump(name, os.getpid(), time.time(), timeout, waiting, tuple(workers))
