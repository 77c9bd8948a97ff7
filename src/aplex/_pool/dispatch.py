"""The Dispatcher: which worker gets the next work, and which works are called back from one.

Rules of this file: as in ``_pool.ledger``. The load balancer is asked here, under the Manager's
lock; it may be the user's code, and may raise or return anything.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Any, Final

from aplex._common.errors import LoadBalancerError
from aplex._common.messages import CANCELLED, LANES, PLAIN, RAISED, Cancel
from aplex._common.names import shown
from aplex._pool import pacing
from aplex._pool.balancer_views import WorkersView, WorkloadsView
from aplex._pool.ledger import SERVING, SUSPECT_DEATHS, SUSPECT_LINE, Ledger
from aplex._pool.limits import Group, Limits, rank
from aplex._pool.notes import Rerun
from aplex._pool.pacing import AHEAD_SECONDS, LONG_SECONDS
from aplex._pool.state import STAYING, WAITING, PoolWorker, Work, WorkerState
from aplex.load_balancers import (
    BUILT_IN,
    LoadBalancer,
    LoadBalancerFactory,
    RoundRobin,
    chooser,
)

BATCH_ABOVE_WORKS: Final = 4
"""Works in a line that are given to workers one by one; more are given out in one go."""


class Dispatcher(Ledger):
    """Gives waiting works to workers."""

    def __init__(
        self,
        max_works_per_worker: int,
        load_balancer: LoadBalancerFactory,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(max_works_per_worker, Limits(clock, self._set_alarm))
        self._short = AHEAD_SECONDS / max_works_per_worker  # functions as short: no bound
        self._balancer = load_balancer(
            WorkersView(self.workers), WorkloadsView(self.workers), max_works_per_worker
        )
        if not isinstance(self._balancer, LoadBalancer):
            raise TypeError(
                f"load_balancer must make a LoadBalancer, not {shown(self._balancer)}; derive "
                "your class from aplex.LoadBalancer"
            )
        self._choose = chooser(self._balancer)
        self._trusted = type(self._balancer) in BUILT_IN  # to choose a worker with room
        self._in_turn: RoundRobin | None = None  # if it is just that, and no subclass
        if type(self._balancer) is RoundRobin:
            self._in_turn = self._balancer

    @property
    def keeps_choice(self) -> bool:
        """Whether works wait for the worker that the load balancer has chosen."""
        return self._balancer.keeps_choice

    @property
    def wants_dispatch(self) -> bool:
        """Whether ``dispatch`` has anything to do."""
        return self._waiting > 0 or self.closing

    def dispatch(self) -> None:
        """Give waiting works to workers with room."""
        self.added = 0
        if self._waiting:
            if self._starting:
                self._share()
            if self._rare:
                self._dispatch_rare()
            for lane in LANES:
                if self._pins:
                    self._dispatch_pinned(lane)
                line = self._lines[lane]
                if line:
                    self._fill(lane, line)
        if self.closing:
            self._stop_if_finished()

    # -- the load balancer's choice -------------------------------------------

    def _fill(self, lane: int, line: deque[Work]) -> None:
        """Give the works of a line to workers, as long as one has room."""
        self.question.lane = lane
        while self._in_turn and self._open[lane] and len(line) > BATCH_ABOVE_WORKS:
            self._fill_in_turn(self._in_turn, lane, line)
        while self._open[lane] and line:
            work = line[0]  # it stays in the line until it is elsewhere
            if work.state is WAITING:
                try:
                    worker = self._choose(work.meta)
                except BaseException as error:
                    if not isinstance(error, Exception) and not work.interrupted:
                        # Ctrl-C, not meant for us. The work stays: `recount` dispatches again.
                        # If it comes once more, the load balancer itself raises it.
                        work.interrupted = True
                        raise
                    self._choice_failed(work, error)
                else:
                    if (
                        type(worker) is PoolWorker
                        and worker.question is self.question
                        and worker.room[lane]
                    ):
                        self._hand(work, worker)
                    else:
                        self._pin(work, worker)
            line.popleft()
        if line:
            self._head(line)

    def _fill_in_turn(self, balancer: RoundRobin, lane: int, line: deque[Work]) -> None:
        """Do what `_fill` does with `RoundRobin`, for as many works as all with room can take.

        Ctrl-C may come whenever a loop goes round: each work is in flight then, or still waits.
        """
        open_ = list(self._open[lane])
        room = self._limit - max(len(worker.works) for worker in open_)
        if lane:
            room = min(room, *(worker.depth - worker.plain for worker in open_))
        front = list(islice(line, min(room * len(open_), len(line))))  # the limit may be huge
        works = [work for work in front if work.state is WAITING]
        if works:
            order: Any = balancer._choose_many(len(works), open_)  # noqa: SLF001 - one of ours
            for place, worker in enumerate(order[: len(works)]):
                self._hand_many(works[place :: len(order)], worker, lane)
        for _ in front:
            line.popleft()

    def _choice_failed(self, work: Work, error: BaseException) -> None:
        failure = LoadBalancerError(
            f"the load balancer {shown(self._balancer)} raised {shown(error)}"
        )
        failure.__cause__ = error
        self._reject(work, failure)

    def _pin(self, work: Work, worker: Any) -> None:
        """Let a work wait for the chosen worker, if that is ours and only lacks room."""
        if (
            type(worker) is PoolWorker
            and worker.question is self.question
            and self._balancer.keeps_choice
            and worker.state in STAYING
        ):
            self._pins = True
            worker.pinned[work.lane].append(work)
        else:
            self._reject(work, self._bad_choice(worker))

    def _bad_choice(self, choice: Any) -> LoadBalancerError:
        return LoadBalancerError(
            f"the load balancer {shown(self._balancer)} chose {shown(choice)}, which is no "
            "available worker of this pool; get_proper_worker() must return one of self.workers"
        )

    def _reject(self, work: Work, error: LoadBalancerError) -> None:
        self._waiting -= 1
        self._settle(work, RAISED, error)

    # -- works that wait elsewhere than in the lines of the lanes --------------

    def _dispatch_rare(self) -> None:
        """Give out suspects, and works that wait for more than a worker, if they may start."""
        if self._limits.waiting:
            if self._pins:  # their workers had no room; they were chosen before
                for lane in LANES:
                    self._dispatch_pinned(lane)
            self._dispatch_apart()
        if self._lines[SUSPECT_LINE]:
            self._dispatch_suspects()
        self._rare = bool(self._lines[SUSPECT_LINE] or self._limits.waiting)

    def _dispatch_apart(self) -> None:
        """Give out the works that wait apart, and those in the lines that come before them."""
        while (work := self._limits.first(self._places())) is not None:
            line = self._lines[work.lane]
            head = self._head(line)
            if head is not None and (0, head.id) < rank(work):
                self._fill(work.lane, deque((head,)))
                line.popleft()  # not before it is elsewhere
                continue
            self._limits.take(work)
            if len(work.deaths) >= SUSPECT_DEATHS:
                self._lines[SUSPECT_LINE].append(work)
            else:
                self._fill(work.lane, deque((work,)))

    def _places(self) -> tuple[bool, bool, bool]:
        """Whether there is room for a coroutine, for a function, and in a worker without any."""
        coroutine, plain = self._open
        self._limits.tidy()
        idle = self._limits.spaced and not all(worker.plain for worker in plain)
        return bool(coroutine), bool(plain), idle

    def _set_alarm(self, seconds: float, group: Group) -> None:
        self.pauses.append((seconds, lambda: self._alarm(group)))

    def _alarm(self, group: Group) -> None:
        self._limits.due(group)
        self.dispatch()

    def _dispatch_pinned(self, lane: int) -> None:
        for worker in self.workers:
            line = worker.pinned[lane]
            while line and worker.room[lane]:
                work = line[0]
                if work.state is WAITING:
                    self._hand(work, worker)
                line.popleft()  # not before it is elsewhere

    def _dispatch_suspects(self) -> None:
        """Give each worker one suspect at a time. The load balancer is not asked.

        Then the next death tells of one suspect only.
        """
        line = self._lines[SUSPECT_LINE]
        while (work := self._head(line)) is not None:
            for worker in self.workers:
                if worker.suspect not in worker.works and worker.room[work.lane]:
                    break
            else:
                return
            worker.suspect = work.id
            self._hand(work, worker)
            line.popleft()  # not before it is elsewhere

    # -- how many functions are sent ahead, and which are called back ----------

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
        busy = [worker for worker in serving if worker.plain > 1]
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
        for worker in self.workers:
            if worker.state is not SERVING or not self.can_recall(worker):
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
        del worker.works[work_id]
        self._leave(work, worker)

    # -- workers that start or stop -------------------------------------------

    def _share(self) -> None:
        """Set the limit: while some workers start, those that serve leave them a fair share."""
        limit = self.max_works_per_worker
        if self._starting:
            # No work waits for the successor of a worker that is due for recycling.
            old = sum(worker.due_for_recycling for worker in self.workers)
            if self._starting > old:
                share = -(-(self._waiting + self._in_flight) // (len(self.workers) - old))
                limit = max(1, min(share, limit))
        if limit != self._limit:
            self._limit = limit
            for worker in self.workers:
                self._refresh(worker)

    def _started(self) -> None:
        """Note that one worker fewer is starting."""
        self._starting -= 1
        self._share()

    def _stop_if_finished(self) -> None:
        """Stop all workers if the pool is closing and the last work is done."""
        if self.closing and self.idle:
            for worker in self.workers:
                if worker.state in STAYING:
                    self.to_stop.append(worker)  # first: nothing repairs a stop that nobody sends
                    was, worker.state = worker.state, WorkerState.STOPPING
                    if was is WorkerState.STARTING:
                        self._started()
                    self._refresh(worker)

    # -- invariants -----------------------------------------------------------

    def check(self) -> None:
        """Assert, besides, that no work waits while a worker has room for it."""
        super().check()
        assert not self._limits.waiting or self._limits.first(self._places()) is None
        for lane in LANES:
            assert not self._open[lane] or not any(w.is_waiting for w in self._lines[lane])
            for worker in self.workers:
                assert not worker.room[lane] or not any(w.is_waiting for w in worker.pinned[lane])
        suspect = self._head(self._lines[SUSPECT_LINE])
        for worker in self.workers:
            if suspect is not None and worker.room[suspect.lane]:
                assert worker.suspect in worker.works
        in_flight = [work for worker in self.everyone() for work in worker.works.values()]
        for work in in_flight + [work for line in self._lines for work in line]:
            assert len(work.deaths) < work.options.quarantine_after
            assert len(work.deaths) <= work.options.retries
        for worker in self.everyone():
            suspects = [w.id for w in worker.works.values() if len(w.deaths) >= SUSPECT_DEATHS]
            assert suspects in ([], [worker.suspect]), "one suspect at most"
