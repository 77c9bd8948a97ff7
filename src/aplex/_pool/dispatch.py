"""The Dispatcher: which worker gets the next work.

Rules of this file: as in ``_pool.ledger``. The load balancer is asked here, under the Manager's
lock; it may be the user's code, and may raise or return anything.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import islice, takewhile
from typing import Any, Final

from aplex._balancers.base import LoadBalancer, LoadBalancerFactory, chooser
from aplex._common.errors import LoadBalancerError
from aplex._common.messages import COROUTINE, LANES, RAISED
from aplex._common.names import shown
from aplex._pool.balancer_views import WorkersView, WorkloadsView
from aplex._pool.ledger import SUSPECT_DEATHS, SUSPECT_LINE, Ledger
from aplex._pool.limits import Group, Limits, rank
from aplex._pool.pacing import AHEAD_SECONDS
from aplex._pool.state import STAYING, WAITING, PoolWorker, Work, WorkerState
from aplex._pool.terms import UNBOUND, Terms
from aplex.load_balancers import BUILT_IN, RoundRobin

BATCH_ABOVE_WORKS: Final = 4
"""Works in a line that are given to workers one by one; more are given out in one go."""


LOOK_FOR_STALLS: Final = 0.01
"""Seconds between two looks for loops that are blocked, at least."""
STALL_SECONDS: Final = 0.25
"""Seconds that a turn of a loop takes by now when its worker is avoided."""


class Dispatcher(Ledger):
    """Gives waiting works to workers."""

    def __init__(
        self,
        max_works_per_worker: int,
        load_balancer: LoadBalancerFactory,
        clock: Callable[[], float],
        terms: Terms = UNBOUND,
    ) -> None:
        super().__init__(max_works_per_worker, Limits(clock, self._set_alarm), terms)
        self._clock = clock
        self._looked_at = 0.0  # when it was looked which loops are blocked
        self._stalled: list[PoolWorker] = []  # those whose are, as of then
        self._elastic = terms.min_size is not None
        self._heavy = terms.max_tasks is not None  # whether it matters what a chunk counts as
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
        self._shortens = self._trusted and terms is UNBOUND  # takes works past the lines
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
            if self._elastic:
                self._grow()
            if self._starting:
                self._share()
            if self._rare:
                self._dispatch_rare()
            for lane in LANES:
                if self._pins:
                    self._dispatch_pinned(lane)
                line = self._lines[lane]
                if line:
                    self._give_out(lane, line)
        if self._spent:
            self._replace_spent()
        if self.closing:
            self._stop_if_finished()

    def _grow(self) -> None:
        """Start workers that works wait for, as far as there may be so many."""
        raise NotImplementedError

    def _replace_spent(self) -> None:
        """Put others in the place of workers that can take no more works; dispatch to them."""
        raise NotImplementedError

    # -- the load balancer's choice -------------------------------------------

    def _give_out(self, lane: int, line: deque[Work]) -> None:
        """Give the works of a line to workers, as long as one has room."""
        if not lane and len(self._open[COROUTINE]) > 1:
            self._avoid_stalled(line)
        self._fill(lane, line)

    def _avoid_stalled(self, line: deque[Work]) -> None:
        """Give the works of a line to workers whose loops are not blocked, while they have room.

        The others are looked at each `LOOK_FOR_STALLS` seconds at most, when coroutines are given
        out; they have no room meanwhile.
        """
        now = self._clock()
        if now - self._looked_at >= LOOK_FOR_STALLS:
            self._looked_at = now
            turns_of = self.question.turns_of
            busy = [worker for worker in self.workers if len(worker.works) > worker.plain]
            self._stalled = [worker for worker in busy if turns_of(worker)[0] >= STALL_SECONDS]
        if not self._stalled or self._balancer.keeps_choice:
            return
        hidden = [worker for worker in self._stalled if worker.room[COROUTINE]]
        try:
            for worker in hidden:
                self._set_room(worker, COROUTINE, now=False)
            self._fill(COROUTINE, line)
        finally:
            for worker in hidden:
                self._refresh(worker)

    def _fill(self, lane: int, line: deque[Work]) -> None:
        """Give the works of a line to workers, as long as one has room."""
        self.question.lane = lane
        while self._in_turn and self._open[lane] and len(line) > BATCH_ABOVE_WORKS:
            if self._heavy and line[0].options.items > 1:
                break
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
                        if self._heavy and not self._takes(worker, work):
                            continue  # it has no room any more: another one is chosen
                        self._hand(work, worker)
                    else:
                        self._pin(work, worker)
            line.popleft()
        if line:
            self._head(line)

    def _takes(self, worker: PoolWorker, work: Work) -> bool:
        """Whether a worker may take a work of so many items; if not, it has taken its last one."""
        assert self.terms.max_tasks is not None
        items = min(work.options.items, self.terms.max_tasks)
        left = self.left_to(worker)
        if items > 1:
            worker.items_beside += min(items - 1, left)
            self._refresh(worker)
        return items <= left

    def _fill_in_turn(self, balancer: RoundRobin, lane: int, line: deque[Work]) -> None:
        """Do what `_fill` does with `RoundRobin`, for as many works as all with room can take.

        Ctrl-C may come whenever a loop goes round: each work is in flight then, or still waits.
        """
        open_ = list(self._open[lane])
        room = min(worker.limit - len(worker.works) for worker in open_)
        if lane:
            room = min(room, *(worker.depth - worker.plain for worker in open_))
        front = list(islice(line, min(room * len(open_), len(line))))  # the limit may be huge
        if self._heavy:
            front = list(takewhile(lambda work: work.options.items == 1, front))
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
                one = deque((head,))
                self._give_out(work.lane, one)
                if not one:  # else all with room have taken their last work
                    line.popleft()  # not before it is elsewhere
                continue
            self._limits.take(work)
            if len(work.deaths) >= SUSPECT_DEATHS:
                self._lines[SUSPECT_LINE].append(work)
            else:
                one = deque((work,))
                self._give_out(work.lane, one)
                line.extendleft(one)

    def _places(self) -> tuple[bool, bool, bool]:
        """Whether there is room for a coroutine, for a function, and in a worker without any."""
        coroutine, plain = self._open
        self._limits.tidy()
        idle = self._limits.spaced and not all(worker.plain for worker in plain)
        return bool(coroutine), bool(plain), idle

    def _set_alarm(self, seconds: float, item: Group | Work) -> None:
        self.pauses.append((seconds, lambda: self._alarm(item)))

    def _alarm(self, item: Group | Work) -> None:
        self._limits.due(item)
        self._rare = True
        self.dispatch()

    def _dispatch_pinned(self, lane: int) -> None:
        for worker in self.workers:
            line = worker.pinned[lane]
            while line and worker.room[lane]:
                work = line[0]
                if work.state is WAITING:
                    if self._heavy and not self._takes(worker, work):
                        break  # it waits for the heir
                    self._hand(work, worker)
                line.popleft()  # not before it is elsewhere

    def _dispatch_suspects(self) -> None:
        """Give each worker one suspect at a time. The load balancer is not asked.

        Then the next death tells of one suspect only.
        """
        line = self._lines[SUSPECT_LINE]
        while (work := self._head(line)) is not None:
            for worker in self.workers:
                if worker.suspect in worker.works or not worker.room[work.lane]:
                    continue
                if not self._heavy or self._takes(worker, work):
                    break
            else:
                return
            worker.suspect = work.id
            self._hand(work, worker)
            line.popleft()  # not before it is elsewhere

    # -- workers that start or stop -------------------------------------------

    def _share(self) -> None:
        """Set the limit: while some workers start, those that serve leave them a fair share."""
        limit = self.max_works_per_worker
        if self._starting:
            share = -(-(self._waiting + self._in_flight) // len(self.workers))
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
            for worker in [*self.workers, *self.spares]:
                if worker.state in STAYING:
                    self.to_stop.append(worker)  # first: nothing repairs a stop that nobody sends
                    was, worker.state = worker.state, WorkerState.STOPPING
                    if was is WorkerState.STARTING and worker not in self.spares:
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
