"""Trials: works whose outcome is looked at before their future gets it.

A work with ``slow_down`` or ``retry_on`` has a judge, which is the user's code and so is called
without a lock, where futures are settled. Meanwhile the work waits, *on trial*: whoever cancels
it, or closes the pool, finds it as any other that waits. Then it is settled, or waits for its next
attempt. It is one work all the time, with one number.

Only outcomes that a worker reports are judged. What becomes of works whose worker has died is
for ``retries`` to say.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from aplex._common.messages import CANCELLED
from aplex._pool.dispatch import Dispatcher
from aplex._pool.limits import Group
from aplex._pool.notes import Rerun
from aplex._pool.state import WAITING, PoolWorker, Work


class Trial:
    """Stands for a work among those that are settled: its outcome goes to the judge."""

    __slots__ = ("future", "is_done")

    def __init__(self, judge: Any) -> None:
        self.future = judge
        self.is_done = False


class Trials(Dispatcher):
    """Puts works on trial, and takes in the judgement."""

    _judges = False  # whether there ever was a work with a judge

    def _is_judged(self, work: Work, kind: int) -> bool:
        """Whether the judge is to look at an outcome."""
        if work.judge is None or kind == CANCELLED:
            return False
        return not (work.cancel_asked or work.failed_early or self.broken)

    def _try(self, work: Work, kind: int, data: Any, worker: PoolWorker) -> None:
        """Put a work on trial whose outcome has come."""
        self._rare = True
        self._limits.hold_back(work)
        self.settled.append((Trial(work.judge), kind, data))  # type: ignore[arg-type] # see there
        # No call from here on, see the rules of `_pool.ledger`.
        work.state = WAITING
        self._waiting += 1
        del worker.works[work.id]

    def judged(
        self, work: Work, kind: int, data: Any, pause: float | None, again: float | None
    ) -> None:
        """Take in the judgement.

        Args:
            work: The work on trial; nothing happens if it has ended meanwhile.
            kind: Its outcome, as a report has it.
            data: The same.
            pause: It was told to slow down: for how many seconds those of its key are to wait.
                None: it was not.
            again: Seconds after which it runs again; None: it does not.
        """
        if work.state is not WAITING or not work.on_trial:
            return
        self._rare = True
        if work.options.slow_down is not None:
            self._limits.feedback(work, pause)
        if again is None:
            work.on_trial = False
            self._waiting -= 1
            self._settle(work, kind, data)
        else:
            self.tally.retried += 1
            work.retried += 1
            if self.notes is not None:
                self.notes.append(Rerun(work.id, 0, started=True))
            self._limits.postpone(work, again)
        self.dispatch()

    def adaptations(self) -> list[tuple[Hashable, Group]]:
        """Return the keys whose bound follows what is borne, and their works. Any thread."""
        return self._limits.adaptations()
