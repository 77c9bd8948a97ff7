"""Functions that are sent ahead to workers: how many, and which are called back.

Rules of this file: as in ``_pool.ledger``.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from aplex._common.messages import CANCELLED, PLAIN
from aplex._common.requests import Cancel
from aplex._pool import pacing
from aplex._pool.ledger import SERVING
from aplex._pool.notes import Rerun
from aplex._pool.pacing import AHEAD_SECONDS, LONG_SECONDS
from aplex._pool.state import PoolWorker
from aplex._pool.terms import UNBOUND
from aplex._pool.trials import Trials


class Ahead(Trials):
    """Sends short functions ahead, and calls back those that are held up."""

    def paced(self, worker: PoolWorker, seconds: float, count: int) -> None:
        """Learn how long plain functions take; adapt how many are sent ahead."""
        worker.pace = pace = pacing.smoothed(worker.pace, seconds / count)
        depth = pacing.depth(pace, self.max_works_per_worker)
        if depth != worker.depth:
            worker.depth = depth
            self._refresh(worker)

    def has_idle_worker(self) -> bool:
        """Whether plain functions wait at one worker while another has none."""
        if not self._sent_ahead or self._lines[PLAIN]:
            return False
        if all(worker.plain for worker in self._open[PLAIN]):
            return False
        self._sent_ahead = any(worker.plain > 1 for worker in self.workers)
        return self._sent_ahead

    def steal(self, has_started: Callable[[PoolWorker, int], bool]) -> None:
        """Recall plain functions that wait at busy workers, if others are idle.

        They were sent ahead because those before them were short. The worker gives back
        what it has not started; then they wait in the line, and are sent one by one.

        Args:
            has_started: Whether a worker has started the function of that number. One that has
                started its last is not stuck: only its reports have not been read yet.
        """
        serving = [worker for worker in self.workers if worker.state is SERVING]
        if self._lines[PLAIN] or self._balancer.keeps_choice or all(w.plain for w in serving):
            return
        busy = [worker for worker in self._runners() if worker.plain > 1]
        busy = [worker for worker in busy if not has_started(worker, worker.seqs[PLAIN])]
        for worker in busy:
            self._recall(worker, 1)
        for worker in serving if busy else ():
            self._send_singly(worker, AHEAD_SECONDS)

    def can_recall(self, worker: PoolWorker) -> bool:
        """Whether functions that were sent ahead to a worker may have to be recalled."""
        return worker.plain > 1 and not self._balancer.keeps_choice

    def recall_ahead(self, now: float, running: Callable[[PoolWorker], tuple[int, float]]) -> float:
        """Recall functions that were sent ahead, if those before them turn out to be long.

        A worker does not know priorities. It reports nothing before a long function ends, so
        what it runs is looked at, too. (Not at each report: the pace of a moment in which other
        processes had the CPU says nothing, and soon passes.)

        Args:
            now: The time.
            running: As for the `Escalation`.

        Returns:
            Seconds after which to look again; ``math.inf``: when functions are sent next.
        """
        again = math.inf
        for worker in self._runners():
            if not self.can_recall(worker):
                continue
            seq, since = running(worker)
            age = now - since if seq else 0.0
            if age >= LONG_SECONDS:
                self._send_singly(worker, age)
                self._recall(worker, pacing.begun(worker, seq))
                continue
            if pacing.is_far_ahead(worker):
                self._recall(worker, worker.depth)
            again = min(again, LONG_SECONDS - age)
        return again

    def _runners(self) -> list[PoolWorker]:
        """Return the workers that run works: those that serve, and that have taken their last."""
        runners = [worker for worker in self.workers if worker.state is SERVING]
        if self.terms is not UNBOUND:
            runners += [worker for worker in self.leaving if worker.plain]
        return runners

    def _send_singly(self, worker: PoolWorker, pace: float) -> None:
        """Send no function ahead to a worker until it has proved to be faster than that pace."""
        worker.depth, worker.pace = 1, max(worker.pace, pace)
        self._refresh(worker)

    def _recall(self, worker: PoolWorker, keep: int) -> None:
        """Ask a worker to give back plain functions, all but the first ones."""
        if self._balancer.keeps_choice:
            return
        for work in pacing.to_recall(worker, keep):
            worker.recalls.append(Cancel(work.id, work.seq))
            work.recalled = work.seq
            self.outbound.add(worker)

    def _take_back(self, worker: PoolWorker, work_id: int, seq: int) -> None:
        """Let a work wait again that its worker has not started. Then call ``_unpin``."""
        work = worker.works.get(work_id)
        if work is None or work.lane != PLAIN or work.seq != seq:  # it is known already
            return
        if work.cancel_asked:
            self._settle(work, CANCELLED, None)
        else:
            if self.notes is not None:
                self.notes.append(Rerun(work_id, worker.id, started=False))
            self._wait_again(work, worker.pinned[PLAIN])
        self._given_back(worker, work)
        del worker.works[work_id]
        self._leave(work, worker)
