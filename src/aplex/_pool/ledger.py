"""The Ledger: which works wait, which are in flight and where, and how many of each there are.

It decides nothing: it does each move of a work from one place to another, and counts. `check`
says what must hold between two events.

A work is *waiting* (in the line of its lane, or pinned to the worker that a load balancer
insists on, or apart, see ``_pool.limits``), then *in flight* on a worker, then *done*.

Rules of this file: logic only, as in ``_pool.pool``. Ctrl-C may raise an exception in the middle
of any move. `recount_works` repairs the books then, if a work is always either all in a place or
not there at all. So a work stays in its old place until it is in the new one, and the lines that
change several fields of one work contain no call (Ctrl-C is raised at calls and loops only).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Any, Final

from aplex._common.locks import late_imports
from aplex._common.messages import CANCELLED, COROUTINE, LANES, PICKLED, PLAIN, RAISED
from aplex._pool.limits import Group, Limits
from aplex._pool.notes import Ended, Note
from aplex._pool.state import (
    DONE,
    IN_FLIGHT,
    WAITING,
    PoolWorker,
    Question,
    Work,
    WorkerState,
)
from aplex._pool.tally import Tally
from aplex._pool.terms import UNBOUND, Terms

if TYPE_CHECKING:
    from aplex.exceptions import BrokenPoolError

SUSPECT_DEATHS: Final = 2
"""Deaths after which a work that runs again is a suspect, and kept apart from other suspects.

Works that were on the same workers again and again may all have killed them. One by one, the
guilty one is found, and the others live.
"""
SUSPECT_LINE: Final = 2
"""Index of the line of suspects, behind those of the lanes."""
SERVING: Final = WorkerState.SERVING
NO_END: Final = 2**63 - 1
"""Works that are left to a worker that takes any number of them."""

Settled = tuple[Work, int, Any]
"""A work, the kind of its report, and its data."""


class Ledger:
    """The books of a pool: its works, its workers, and what the Manager is to carry out."""

    def __init__(self, max_works_per_worker: int, limits: Limits, terms: Terms = UNBOUND) -> None:
        self.max_works_per_worker = max_works_per_worker
        self.terms = terms
        self.workers: list[PoolWorker] = []  # in place: the load balancer's view shows this list
        self.spares: list[PoolWorker] = []  # heirs of workers: they start, or stand by
        self.leaving: list[PoolWorker] = []  # retiring, or asked to stop since
        self.question = Question()
        self.closing = False
        self.terminating = False  # the workers are being killed: nothing runs again
        self.broken: BrokenPoolError | None = None
        self.tally = Tally()
        self.notes: list[Note] | None = None  # a list while somebody records; taken by the Manager
        self.added = 0  # works since the last dispatch
        # A line for each lane, and one for suspects of both.
        self._lines: tuple[deque[Work], deque[Work], deque[Work]] = (deque(), deque(), deque())
        self._waiting = 0  # works that wait anywhere; those cancelled since do not count
        self._in_flight = 0
        self._starting = 0  # workers
        self._limit = max_works_per_worker  # works that a worker may have in flight now
        # Works that those in one place may have in flight together, while it changes hands. In
        # threads works may wait for works, and one that can take no more must not keep them back.
        self.capacity = min(max_works_per_worker, terms.max_tasks or max_works_per_worker)
        self._spent: list[PoolWorker] = []  # have taken all that they may take
        # Workers with room, per lane; in any order.
        self._open: tuple[dict[PoolWorker, None], dict[PoolWorker, None]] = ({}, {})
        self._pins = False  # whether a work was ever pinned
        self._limits = limits
        self._holders = self._limits.holders
        self._rare = False  # whether there may be suspects, or works apart
        self._sent_ahead = False  # whether a worker may have more than one plain function
        # Effects, taken by the Manager.
        self.outbound: set[PoolWorker] = set()
        self.settled: list[Settled] = []
        self.to_watch: list[Work] = []  # by the escalation
        self.to_start: list[PoolWorker] = []
        self.to_stop: list[PoolWorker] = []
        self.pauses: list[tuple[float, Callable[[], None]]] = []  # seconds, then what to call
        self.stalls: list[tuple[PoolWorker, Any]] = []  # to be told of, see `_worker.loop_watch`

    def __repr__(self) -> str:
        state = "broken" if self.broken else "closing" if self.closing else "open"
        return (
            f"<Pool {state}: {len(self.workers)} workers ({self._starting} starting), "
            f"{self._waiting} works waiting, {self._in_flight} in flight>"
        )

    # -- questions ------------------------------------------------------------

    @property
    def pending(self) -> int:
        """How many works are not done."""
        return self._waiting + self._in_flight

    @property
    def is_alone(self) -> bool:
        """Whether the work that was submitted last is the only one."""
        return self._waiting + self._in_flight == 1

    @property
    def idle(self) -> bool:
        """Whether there are no works."""
        return not self._waiting and not self._in_flight

    def is_quiet(self) -> bool:
        """Whether no report is to come: there are no works, and no worker starts."""
        return not (self._waiting or self._in_flight or self._starting)

    def is_full(self) -> bool:
        """Whether every worker has as many works as it may have."""
        return all(
            sum(len(each.works) for each in (worker, *worker.elders)) >= self.capacity
            for worker in self.workers
        )

    def holders_beside(self, work: Work) -> Collection[Work]:
        """Return the works that hold a place which that work needs: those of its key.

        Raises:
            TypeError: The key cannot be hashed.
        """
        return self._limits.beside(work)

    def everyone(self) -> Iterator[PoolWorker]:
        """Iterate over those that serve, or will, and those that are leaving."""
        yield from self.workers
        yield from self.spares
        yield from self.leaving

    def held(self, lane: int) -> list[Work]:
        """Return the works of a lane that are not done: those waiting, then those in flight."""
        lines = [self._limits.waiting, self._lines[lane], self._lines[SUSPECT_LINE]]
        lines += [worker.pinned[lane] for worker in self.workers]
        waiting = [work for line in lines for work in line if work.state is WAITING]
        in_flight = [work for worker in self.everyone() for work in worker.works.values()]
        return [work for work in waiting + in_flight if work.lane == lane]

    def cancellable(self) -> list[Work]:
        """Return the works that are not done and that end when they are cancelled."""
        plain = [work for work in self.held(PLAIN) if work.is_stream]
        return self.held(COROUTINE) + plain

    def holds(self, lane: int) -> bool:
        """Whether a work of the lane is not done."""
        return not self.idle and bool(self.held(lane))

    # -- moves ----------------------------------------------------------------

    def _hand(self, work: Work, worker: PoolWorker) -> None:
        """Note that a waiting work goes to a worker."""
        lane = work.lane
        if work.limited:
            self.to_watch.append(work)
        self.outbound.add(worker)
        worker.outboxes[lane].append(work)
        # No call from here on, see the rules of this file.
        worker.seqs[lane] = work.seq = worker.seqs[lane] + 1
        work.state = IN_FLIGHT
        work.worker = worker
        works = worker.works
        works[work.id] = work
        self._waiting -= 1
        self._in_flight += 1
        worker.plain += lane
        if lane and worker.plain > 1:
            self._sent_ahead = True
        if len(works) >= worker.limit or (lane and worker.plain >= worker.depth):
            self._refresh(worker)

    def _hand_many(self, works: list[Work], worker: PoolWorker, lane: int) -> None:
        """Do what `_hand` does, for works of one lane."""
        self.outbound.add(worker)
        worker.outboxes[lane] += works
        seqs, in_flight, seq = worker.seqs, worker.works, worker.seqs[lane]
        for work in works:
            if work.limited:
                self.to_watch.append(work)
            # No call from here to the end of the loop, see the rules of this file.
            seqs[lane] = work.seq = seq = seq + 1
            work.state = IN_FLIGHT
            work.worker = worker
            in_flight[work.id] = work
        self._waiting -= len(works)
        self._in_flight += len(works)
        worker.plain += lane * len(works)
        if worker.plain > 1:
            self._sent_ahead = True
        self._refresh(worker)

    def _leave(self, work: Work, worker: PoolWorker) -> None:
        """Note that a work, which was removed from the worker's ``works``, has left it."""
        self._in_flight -= 1
        worker.plain -= work.lane
        work.worker = None
        if not worker.room[work.lane]:
            self._refresh(worker)

    def _detach(self, worker: PoolWorker, work_id: int) -> None:
        """Note that a plain function returned a coroutine, which runs on the loop now."""
        work = worker.works.get(work_id)
        if work is not None and work.lane == PLAIN:
            worker.plain -= 1
            work.lane, work.seq = COROUTINE, 0
            self._refresh(worker)

    def _settle(self, work: Work, kind: int, data: Any) -> None:
        assert work.state is not DONE
        work.state = DONE
        if work.options.apart:
            self._limits.leave(work)
        if kind == CANCELLED and work.error_if_cancelled is not None:
            kind, data = RAISED, work.error_if_cancelled
        if kind > PICKLED:
            if self.notes is not None:
                self.note_end(work, kind, data)
            if not work.failed_early:
                self._count(kind)
        work.function = work.call = work.meta = work.target = None
        self.settled.append((work, kind, data))

    def note_end(self, work: Work, kind: int, data: Any) -> None:
        """Tell whoever records that a work has not ended well, or has failed and goes on."""
        if self.notes is not None:
            error = data if isinstance(data, BaseException) else None
            self.notes.append(Ended(work.id, work.lane, kind, work.name, error))

    def _count(self, kind: int) -> None:
        """Count a work that does not end well."""
        if kind == CANCELLED:
            self.tally.cancelled += 1
        else:
            self.tally.failed += 1

    def _wait_again(self, work: Work, line: deque[Work]) -> None:
        """Let a work wait that was in flight: in that line, unless it waits apart."""
        if work.options.apart:
            self._rare = True
            self._limits.add(work)
        else:
            line.append(work)
        work.state = WAITING
        self._waiting += 1

    def _unpin(self, worker: PoolWorker) -> None:
        """Put works that are pinned to this worker in front of the lines, in their order."""
        for lane in LANES:
            again = sorted(worker.pinned[lane], key=lambda work: work.id)
            for work in again:
                if work.options.apart and work.state is WAITING:
                    self._limits.add(work)
            again = [work for work in again if not work.options.apart]
            self._rare = True
            suspects = [work for work in again if len(work.deaths) >= SUSPECT_DEATHS]
            again = [work for work in again if len(work.deaths) < SUSPECT_DEATHS]
            self._lines[lane].extendleft(reversed(again))
            self._lines[SUSPECT_LINE].extend(suspects)
            worker.pinned[lane].clear()  # not before they are elsewhere

    def _drain_waiting(self) -> Iterator[Work]:
        """Empty everything in which works wait; yield each work, for the caller to settle."""
        pinned = [line for worker in self.workers for line in worker.pinned]
        for line in (self._limits.clear(), *self._lines, *pinned):
            for work in line:
                if work.state is WAITING:
                    self._waiting -= 1
                    yield work
            line.clear()

    @staticmethod
    def _head(line: deque[Work]) -> Work | None:
        """Return the first work of a line; drop those in front that were cancelled.

        So a line that is not empty always has a waiting work, the first.
        """
        while line and line[0].state is not WAITING:
            line.popleft()
        return line[0] if line else None

    def _refresh(self, worker: PoolWorker) -> None:
        """Note whether the worker can take one more work, per lane."""
        room = worker.room
        worker.limit = limit = self._limit if self.terms is UNBOUND else self._limit_of(worker)
        now = worker.state is SERVING and len(worker.works) < limit
        if room[COROUTINE] is not now:
            self._set_room(worker, COROUTINE, now=now)
        now = now and worker.plain < worker.depth
        if now and worker.elders:  # as many functions run at once as there are places
            now = not any(elder.plain for elder in worker.elders)
        if room[PLAIN] is not now:
            self._set_room(worker, PLAIN, now=now)

    def _limit_of(self, worker: PoolWorker) -> int:
        """Return how many works a worker may have in flight, as things are.

        With ``max_tasks`` this is less when a work has ended: whoever takes one out refreshes.
        """
        limit = self._limit
        if worker.elders:
            limit = min(limit, self.capacity - sum(len(elder.works) for elder in worker.elders))
        if self.terms.max_tasks is not None:
            left = self.left_to(worker)
            if left <= 0 and worker.state is SERVING and worker not in self._spent:
                self._spent.append(worker)
            limit = min(limit, len(worker.works) + left)
        return limit

    def left_to(self, worker: PoolWorker) -> int:
        """Return how many works a worker may still be handed in its life."""
        most = self.terms.max_tasks
        return NO_END if most is None else most - worker.taken

    def _given_back(self, worker: PoolWorker, work: Work) -> None:
        """Note that a worker has not started a work, which does not count as one of its own."""
        worker.given_back += 1
        worker.items_beside -= work.options.items - 1

    def _set_room(self, worker: PoolWorker, lane: int, *, now: bool) -> None:
        worker.room[lane] = now
        if now:
            self._open[lane][worker] = None
        else:
            self._open[lane].pop(worker, None)

    def take_settled(self) -> list[Settled]:
        """Return the works settled (or TOO_LATE to cancel) since the last call.

        Returns:
            Tuples of work, kind and data.
        """
        settled = self.settled
        if not settled:
            return []  # not the list itself, which goes on growing
        self.settled = []
        return settled

    def give_up(self, why: str, reason: BaseException) -> list[Settled]:
        """Fail all works that are not done: there is a bug, and all state is in doubt.

        Returns:
            What is settled, as `take_settled` does.
        """
        with late_imports.importing:
            from aplex.exceptions import BrokenPoolError
        self.broken = BrokenPoolError(f"{why}: {type(reason).__name__}: {reason}")
        self.broken.__cause__ = reason
        everyone = list(self.everyone())
        self._spent.clear()
        lines = [self._limits.waiting, *self._lines]
        lines += [line for worker in everyone for line in worker.pinned]
        lines += [worker.works.values() for worker in everyone]
        for work in [work for line in lines for work in line]:
            if work.state is not DONE:
                work.state = DONE
                self.note_end(work, RAISED, self.broken)
                work.worker = work.function = work.call = work.meta = work.target = None
                self.tally.failed += not work.failed_early
                self.settled.append((work, RAISED, self.broken))
        for worker in everyone:
            worker.state = WorkerState.GONE
            worker.works.clear()
        for line in self._lines:
            line.clear()
        self._limits = Limits(float, _no_alarm)
        self._holders = self._limits.holders
        self._waiting = self._in_flight = self._starting = self.added = 0
        self.workers.clear()
        self.spares.clear()
        self.leaving.clear()
        for effects in (self.outbound, self.to_start, self.to_stop, self.pauses, self.to_watch):
            effects.clear()
        self.stalls.clear()
        return self.take_settled()

    # -- invariants -----------------------------------------------------------

    def _recount_works(self) -> None:
        """Make the books consistent, after an exception broke into a move."""
        lines = [*self._lines, *(line for worker in self.workers for line in worker.pinned)]
        waiting = {work for line in lines for work in line if work.state is WAITING}
        for work in waiting:
            work.worker = None  # it had almost left it
        self._limits.recount(waiting)
        self._rare = self._sent_ahead = True
        self._pins = self._pins or any(line for worker in self.workers for line in worker.pinned)
        self._waiting = len(waiting) + len(self._limits.waiting)
        for worker in self.everyone():
            for work in [w for w in worker.works.values() if w.state is not IN_FLIGHT]:
                del worker.works[work.id]  # it is done, or waits again
                work.worker = None
            worker.plain = sum(work.lane for work in worker.works.values())
            for lane in LANES:
                worker.outboxes[lane] = [w for w in worker.outboxes[lane] if w.worker is worker]
            self._refresh(worker)
        self._in_flight = sum(len(worker.works) for worker in self.everyone())
        for lane in LANES:
            self._open[lane].clear()
            self._open[lane].update((w, None) for w in self.workers if w.room[lane])

    def _drop_copies(self) -> None:
        """Unpin works that are in a line already: `_unpin` was broken into."""
        in_lines = {work for line in self._lines for work in line}
        for worker in self.everyone():
            for pinned in worker.pinned:
                for work in [work for work in pinned if work in in_lines]:
                    pinned.remove(work)

    def check(self) -> None:
        """Assert what must hold between two events. For tests and long runs.

        Raises:
            AssertionError: The books are wrong: there is a bug in this room.
        """
        lines = [*self._lines, *(line for worker in self.workers for line in worker.pinned)]
        waiting = [work for line in lines for work in line if work.state is WAITING]
        apart = self._limits.waiting
        assert self._waiting == len(waiting) + len(apart), "works waiting"
        assert all(work.worker is None for work in [*waiting, *apart])
        assert all(work.state is WAITING and work.apart for work in apart)
        assert not apart.intersection(waiting)
        assert self._in_flight == sum(worker.workload for worker in self.everyone())
        for worker in self.everyone():
            works = worker.works.values()
            assert 0 <= worker.workload <= self.max_works_per_worker
            assert worker.plain == sum(work.lane for work in works)
            assert all(work.state is IN_FLIGHT and work.worker is worker for work in works)
        for worker in self.workers:
            limit = self._limit if self.terms is UNBOUND else self._limit_of(worker)
            room = worker.state is SERVING and worker.workload < limit
            assert worker.limit == limit or worker.state is not SERVING
            elders = any(elder.plain for elder in worker.elders)
            assert worker.room == [room, room and worker.plain < worker.depth and not elders]
            assert self.left_to(worker) >= 0
        for lane in LANES:
            assert set(self._open[lane]) == {w for w in self.workers if w.room[lane]}
        assert self._sent_ahead or all(worker.plain <= 1 for worker in self.workers)
        assert self._starting == sum(w.state is WorkerState.STARTING for w in self.workers)


def _no_alarm(_seconds: float, _item: Group | Work) -> None:
    """Forget an alarm: the pool is broken, and holds no work."""
