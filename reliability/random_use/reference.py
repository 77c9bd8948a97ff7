"""The reference: what the contract of aplex allows to become of a work, and nothing else.

It knows what the user did and what works said, and nothing of how a pool is made.
"""

from __future__ import annotations

from dataclasses import dataclass, field

VALUE = "value"
FAILURE = "failure"
LOST = "lost"
CANCELLED = "cancelled"


@dataclass
class Expected:
    """What is known of a work."""

    number: int
    coroutine: bool
    held: bool  # whether it waits for its gate
    fails: bool
    retries: int
    opened: bool = False  # its gate
    starts: list[int] = field(default_factory=list)  # the processes in which it said it runs
    runs_in: int | None = None  # of these, the one that lives
    deaths: int = 0  # of workers that may have run it
    lost: bool = False  # it ran in a worker that was killed, once too often
    cancel_asked: bool = False
    dropped: bool = False  # the pool was shut so that it ends, unless it ran already
    outcome: str | None = None

    @property
    def waits(self) -> bool:
        """Whether it holds, or will hold, its place in a worker until its gate is opened."""
        return self.held and not self.opened and not self.lost

    def allows(self, outcome: str) -> bool:
        """Return whether it may have ended so."""
        if outcome == CANCELLED:
            return self.cancel_asked or self.dropped
        if outcome == LOST:  # unless workers were killed, it would have run again
            return self.deaths > self.retries
        return outcome == (FAILURE if self.fails else VALUE) and (self.opened or not self.held)


class Reference:
    """What is known of all works of a pool."""

    def __init__(self, size: int, limit: int) -> None:
        self.size = size
        self.limit = limit  # works that a worker may have in flight
        self.works: list[Expected] = []
        self.killed: set[int] = set()
        self.closed = False
        self.ended = False  # the workers were told to end at once

    @property
    def undone(self) -> list[Expected]:
        """The works whose futures were not done when they were last looked at."""
        return [work for work in self.works if work.outcome is None]

    # -- what the user does -------------------------------------------------------

    def submit(self, *, coroutine: bool, held: bool, fails: bool, retries: int) -> Expected:
        """A work is submitted."""
        work = Expected(len(self.works), coroutine, held, fails, retries)
        self.works.append(work)
        return work

    def kill(self, pid: int) -> None:
        """A worker is about to be killed; what works have said is known."""
        self.killed.add(pid)
        running = [work for work in self.works if work.runs_in == pid]
        busy = any(work.waits and not work.coroutine for work in running)
        for work in self.works:
            if work.outcome is not None:  # cancelled, and runs on for nobody: its place is free
                work.lost |= work in running
                continue
            # It may run there, and was about to say so; but there is one plain function at a time.
            unsaid = work.runs_in is None and (work.coroutine or not busy)
            if work in running or unsaid:
                work.deaths += 1
                work.lost |= work.runs_in == pid and work.deaths > work.retries
                work.runs_in = None

    def shut(self, *, drop: bool) -> None:
        """No more works are taken; those that wait may be dropped."""
        self.closed = True
        for work in self.undone:
            work.dropped |= drop and work.runs_in is None

    def end(self) -> None:
        """The workers are ended at once, and nothing runs again."""
        self.shut(drop=True)
        self.ended = True
        for work in self.undone:
            work.deaths = max(work.deaths, work.retries) + 1

    # -- what is seen -------------------------------------------------------------

    def saw_start(self, number: int, pid: int) -> None:
        """A work says that it runs."""
        work = self.works[number]
        work.starts.append(pid)
        work.runs_in = None if pid in self.killed else pid
        assert len(work.starts) <= 1 + min(work.retries, work.deaths), f"it ran again: {work}"

    def saw_end(self, number: int, outcome: str) -> None:
        """A future is done."""
        work = self.works[number]
        if work.outcome is None:
            assert work.allows(outcome), f"it must not end so: {outcome}, {work}"
            work.outcome = outcome
        assert work.outcome == outcome, f"it has changed to {outcome}: {work}"

    # -- what must happen without anybody's help ----------------------------------

    def must_end(self) -> list[Expected]:
        """Return the works that must end although no more gates are opened."""
        return [work for work in self.undone if self._must_end(work)]

    def must_run(self) -> tuple[list[Expected], int]:
        """Return works that wait for their gates, and how many of them must run at least."""
        if not self._is_roomy() or self.ended:
            return [], 0
        waiting = [work for work in self.undone if work.waits and not work.cancel_asked]
        stuck = [w for w in self._holding() if w.cancel_asked and not w.coroutine]
        coroutines = sum(work.coroutine for work in waiting)
        lanes = max(0, self.size - len(stuck))
        return waiting, coroutines + min(lanes, len(waiting) - coroutines)

    def _must_end(self, work: Expected) -> bool:
        if self.ended or work.lost or (work.opened and work.runs_in is not None):
            return True
        if not self._is_roomy():
            return False
        if work.coroutine:
            return not work.waits or work.cancel_asked
        plain = [other for other in self._holding() if not other.coroutine]
        return not work.waits and len(plain) < self.size

    def _holding(self) -> list[Expected]:
        """Return the works that may hold a place in a worker until their gates are opened.

        A plain function that was cancelled may have been started, and runs on: awaitable
        futures do not wait for it.
        """
        return [
            work
            for work in self.works
            if work.waits and (work.outcome is None or (work.cancel_asked and not work.coroutine))
        ]

    def _is_roomy(self) -> bool:
        """Whether no worker can be full of works that wait for their gates."""
        return len(self._holding()) < self.limit
