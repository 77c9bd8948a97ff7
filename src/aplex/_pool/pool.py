"""The Pool: the state of all works and workers, and every decision about them.

Rules of this file: logic only. No IO, no clock, no thread, no lock: events come
in as method calls (under the Manager's lock), effects go out as data that the
Manager takes from ``outboxes``, ``settled``, ``to_start`` and ``to_stop``.

A work is *waiting* (in the line of its lane, or for the worker that a load
balancer insists on, or apart, see ``_pool.limits``), then *aboard* a worker, then *done*.
Invariants, which the tests check after every step of their random histories:

* each work is settled exactly once;
* ``0 <= workload <= max_works_per_worker``, and the workloads sum to the works aboard;
* a waiting work is aboard no worker; no work waits while a worker has room for it;
* a closed pool holds no works.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Any, Final

from aplex._common.messages import (
    CANCELLED,
    COROUTINE,
    DELIVERED,
    DETACHED,
    ITEMS,
    LANES,
    PICKLED,
    PLAIN,
    RAISED,
    READY,
    RETURNED,
    TOO_LATE,
    VALUE,
    Cancel,
    Credit,
    Report,
    Reports,
)
from aplex._common.names import shown
from aplex._pool.balancer_views import WorkersView, WorkloadsView
from aplex._pool.limits import Group, Limits, rank
from aplex._pool.work import ABOARD, DONE, WAITING, Work
from aplex._pool.worker import PoolWorker
from aplex._pool.workforce import STAYING, Death, RestartPolicy, WorkerState, Workforce
from aplex.exceptions import BrokenPoolError, LoadBalancerError, WorkQuarantinedError
from aplex.load_balancers import (
    BUILT_IN,
    LoadBalancer,
    LoadBalancerFactory,
    RoundRobin,
    chooser,
)

GATHERED: Final = 64
"""Works gathered for busy workers before they are dispatched without waiting for more."""
RUN: Final = 32
"""Works for each worker, on average, that are gathered at most while as many are aboard.

Each worker gets a frame of its own. Were works always dispatched when `GATHERED` of them are
there, then each of 64 workers would get frames of one work. While as many works are aboard as
gather, workers do not wait for them, or what they wait for is whoever submits.
"""
FEW: Final = 4
"""Works in a line that are given to workers one by one, and not in one go."""
LINED_UP: Final = 0.002
"""Seconds of plain functions sent ahead to a worker, at the pace of the last ones."""
FAR_AHEAD: Final = 10 * LINED_UP
"""Seconds of plain functions lined up at a worker, at its pace of now, of which those are
recalled that would not have been sent at this pace. Less is over soon."""
LONG: Final = 0.02
"""Seconds after which a function that still runs is long: those behind it are recalled. And
seconds between two looks at what was sent ahead."""
SUSPECT: Final = 2
"""Deaths after which a work that runs again does so apart from others like it.

Works that were aboard the same worker again and again may all have killed it. One by one,
the guilty one is found, and the others live.
"""
SERVING: Final = WorkerState.SERVING
SUSPECTS: Final = 2
"""Index of the line of suspects, behind those of the lanes."""


class Pool(Workforce):
    """State machine of works and workers."""

    def __init__(
        self,
        size: int,
        max_works_per_worker: int,
        load_balancer: LoadBalancerFactory,
        policy: RestartPolicy | None = None,
        max_tasks_per_child: int | None = None,
        clock: Callable[[], float] = float,
    ) -> None:
        """Have no workers yet.

        Args:
            size: How many workers there shall be.
            max_works_per_worker: How many works one may have aboard.
            load_balancer: Makes the load balancer.
            policy: When a worker is started in the place of one that never served.
            max_tasks_per_child: After how many works a worker is replaced.
            clock: Tells seconds, to works with a ``rate``; without one time stands still.
        """
        super().__init__(size, policy or RestartPolicy(), max_tasks_per_child)
        self.max_works_per_worker = max_works_per_worker
        self._short = LINED_UP / max_works_per_worker  # seconds of works of any number
        self.closing = False
        self.terminating = False  # the workers are being killed: nothing runs again
        self.broken: BrokenPoolError | None = None
        self.asked_lane = COROUTINE  # the lane of the work the load balancer is asked about
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
        self._in_turn: RoundRobin | None = None  # if it is just that, and nobody's own
        if type(self._balancer) is RoundRobin:
            self._in_turn = self._balancer
        # A line for each lane, and one for suspects of both.
        self._lines: tuple[deque[Work], deque[Work], deque[Work]] = (deque(), deque(), deque())
        self._waiting = 0  # works in the lines or pinned, without those cancelled since
        self._aboard = 0
        self._limit = max_works_per_worker  # works that a worker may have aboard now
        # Workers with room, per lane; in any order.
        self._open: tuple[dict[PoolWorker, None], dict[PoolWorker, None]] = ({}, {})
        self._work_ids = 0
        self._pins = False  # whether a work was ever pinned
        self._limits = Limits(clock, self._set_alarm)
        self._holders = self._limits.holders
        self._rare = False  # whether there may be suspects, or works apart
        self._lined_up = False  # whether a worker may have more than one plain function
        self.added = 0  # works since the last dispatch
        self.can_interrupt = False  # whether workers stop plain functions that run
        # Effects, taken by the Manager.
        self.outbound: set[PoolWorker] = set()
        self.settled: list[tuple[Work, int, Any]] = []
        self.concerns: list[Work] = []  # what the ladder is to look at

    def __repr__(self) -> str:
        state = "broken" if self.broken else "closing" if self.closing else "open"
        return (
            f"<Pool {state}: {len(self.workers)} workers ({self._starting} starting), "
            f"{self._waiting} works waiting, {self._aboard} aboard>"
        )

    def is_quiet(self) -> bool:
        """Whether no report is to come: it holds no work, and no worker starts."""
        return not (self._waiting or self._aboard or self._starting)

    def is_full(self) -> bool:
        """Whether every worker has as many works as it may have."""
        limit = self.max_works_per_worker
        return all(len(worker.works) >= limit for worker in self.workers)

    @property
    def pending(self) -> int:
        """How many works are not done."""
        return self._waiting + self._aboard

    @property
    def is_alone(self) -> bool:
        """Whether the work that was submitted last is the only one it holds."""
        return self._waiting + self._aboard == 1

    @property
    def wants_dispatch(self) -> bool:
        """Whether ``dispatch`` has anything to do."""
        return self._waiting > 0 or self.closing

    @property
    def idle(self) -> bool:
        """Whether it holds no work."""
        return not self._waiting and not self._aboard

    @property
    def wants_workers(self) -> bool:
        """Whether there may be works for a new worker."""
        return not (self.terminating or self.broken or (self.closing and self.idle))

    # -- events about works ---------------------------------------------------

    def add(self, work: Work) -> bool:
        """Take a new work, to wait in the line. Call ``dispatch`` after the last.

        Returns:
            Whether works can wait for more: the workers are busy, and they are not many yet.
        """
        self._work_ids = work.id = self._work_ids + 1
        if work.options.apart:
            self._rare = True
            self._limits.add(work)
        else:
            self._lines[work.lane].append(work)
        # No call below this line, see `mend`.
        self._waiting += 1
        self.added = added = self.added + 1
        aboard = self._aboard
        if added >= GATHERED and (added >= aboard or added >= RUN * self.size):
            return False
        return added + aboard > self.size

    def add_alone(self, work: Work) -> PoolWorker | None:
        """Take a new work and give it to a worker at once, if nothing else is there.

        What ``add`` and ``dispatch`` do, in short, for callers who send one work at a time.

        Returns:
            The worker. None: the work was not taken.
        """
        lane = work.lane
        crowded = self._waiting or self._aboard or self._starting or self.outbound
        if crowded or self._rare or self.closing or not (self._open[lane] and self._trusted):
            return None
        if work.limited or work.options.apart:
            return None
        self.asked_lane = lane
        worker = self._choose(work.meta)
        self._work_ids = work.id = self._work_ids + 1
        self._waiting = 1  # until the end of the next line
        self._hand(work, worker)  # type: ignore[arg-type] # our own load balancers choose ours
        return worker  # type: ignore[return-value]

    def submit(self, work: Work) -> None:
        """Take a new work: give it to a worker, or let it wait."""
        assert not self.closing
        assert not self.broken
        self.add(work)
        self.dispatch()

    def cancel(self, work: Work) -> None:
        """Cancel a waiting work now; ask the worker of one that is aboard."""
        if work.state is WAITING:
            self._waiting -= 1
            self._settle(work, CANCELLED, None)
            self._head(self._lines[work.lane])  # its place elsewhere in a line is skipped later
            if self._rare:  # it may have had a place that another one waits for
                self.dispatch()
            self._check_finished()
        elif work.state is ABOARD and not work.cancel_asked:
            assert work.worker is not None
            work.worker.cancels.append(Cancel(work.id, work.seq if work.lane == PLAIN else 0))
            self.outbound.add(work.worker)
            work.cancel_asked = True

    def credit(self, work: Work, count: int) -> None:
        """Let a stream yield so many items, counted from its first one."""
        if work.state is ABOARD and not work.cancel_asked:
            assert work.worker is not None
            work.worker.credits.append(Credit(work.id, count))
            self.outbound.add(work.worker)

    def expire(self, work: Work, error: BaseException) -> None:
        """Fail a waiting work: its time is over."""
        work.instead = error
        self.cancel(work)

    def can_stop(self, work: Work) -> bool:
        """Whether the ladder sees to the end of a plain function that runs."""
        return self.can_interrupt and work.options.interruptible and not work.is_stream

    def forsake(self, work: Work, error: BaseException) -> None:
        """Fail the future of a work that goes on, and stays aboard until it ends."""
        self.settled.append((work, RAISED, error))

    def expel(self, worker: PoolWorker, seq: int) -> None:
        """Retire a worker in which a plain function does not end; it has that number.

        Functions behind it are recalled. If the worker cannot answer, they will go elsewhere
        after its end.
        """
        behind = [work for work in worker.works.values() if work.lane and work.seq > seq]
        worker.recalls += [Cancel(work.id, work.seq) for work in behind]
        self.outbound.add(worker)
        if worker.state is WorkerState.SERVING:
            self._retire(worker)
            self._fit()
            self.dispatch()

    def take_in(self, worker: PoolWorker, reports: Reports) -> None:
        """Take in a frame of reports. Call ``dispatch`` after the last."""
        _, others, ids, values, pickled, pickles = reports
        if others:
            self.report(worker, others)
        if ids:
            self._results(worker, VALUE, ids, values)
        if pickled:
            self._results(worker, PICKLED, pickled, pickles)
        if self.max_tasks_per_child is not None or worker.state is not WorkerState.SERVING:
            self._reported(worker)

    def take_alone(self, worker: PoolWorker, reports: Reports) -> bool:
        """Take in a frame, if it is the result of the only work there is, and nothing else.

        What ``take_in``, ``paced`` and ``dispatch`` do, in short, for callers who send one
        work at a time.

        Returns:
            Whether it was. Else nothing has changed.
        """
        seconds, others, ids, values, pickled, pickles = reports
        if others or len(ids) + len(pickled) != 1 or self._aboard != 1 or self._waiting:
            return False
        works = worker.works
        work = works.get(ids[0] if ids else pickled[0])
        if work is None or work.state is DONE or self._holders or self.max_tasks_per_child:
            return False
        if self.closing or not worker.served or worker.doom or worker.state is not SERVING:
            return False
        if seconds and (seconds > self._short or worker.depth < self.max_works_per_worker):
            self.paced(worker, seconds, 1)
        work.state = DONE
        self.settled.append((work, VALUE, values[0]) if ids else (work, PICKLED, pickles[0]))
        work.function = work.call = None  # an alarm may know the work for long
        # No call below this line, see `mend`. Is it not reached, the same frame comes again.
        del works[work.id]
        worker.plain = 0
        work.worker = None
        self._aboard = 0
        if False in worker.room:
            self._refresh(worker)
        return True

    def _results(self, worker: PoolWorker, kind: int, ids: list[int], data: list[Any]) -> None:
        """Take in results: what ``report`` does, in short, for many works at once.

        Ctrl-C may come after any call: then the same frame comes again.
        """
        works = worker.works
        settled = self.settled
        plain = 0
        was = len(works)
        for work_id, result in zip(ids, data, strict=True):
            work = works.get(work_id)
            if work is None:  # it was rerouted, or is known already
                continue
            if work.state is not DONE:
                work.state = DONE
                settled.append((work, kind, result))
                work.function = work.call = None  # an alarm may know the work for long
            del works[work_id]
            plain += work.lane
            work.worker = None
        if len(works) < was:
            if self._holders:
                self._limits.left(settled)
            self._aboard -= was - len(works)
            worker.plain -= plain
            if not (worker.room[COROUTINE] and worker.room[PLAIN]):
                self._refresh(worker)
            if not worker.served:
                self._serves(worker)

    def report(self, worker: PoolWorker, reports: list[Report]) -> None:
        """Take in reports one by one. Call ``dispatch`` after the last."""
        works = worker.works
        returned = False
        for work_id, kind, data in reports:
            if kind < DELIVERED:
                work = works.get(work_id)
                if work is not None:  # else it was rerouted, or is known already
                    self._settle(work, kind, data)
                    del works[work_id]
                    self._leave(work, worker)
                    if not worker.served:
                        self._serves(worker)
            elif kind == DELIVERED:
                if work_id in works:
                    works[work_id].cancel_delivered = True
            elif kind == TOO_LATE:
                if work_id in works:  # not settled: it runs on, unless the ladder can stop it
                    self.concerns.append(works[work_id])
            elif kind == ITEMS:
                if work_id in works:
                    self._take_items(worker, works[work_id], *data)
            elif kind == DETACHED:
                self._detach(worker, work_id)
            elif kind == RETURNED:
                returned = True
                self._take_back(worker, work_id, data)
            elif kind == READY:
                self._ready(worker, data)
            else:
                worker.failure = data
        if returned:
            self._give_back(worker)

    def _take_items(self, worker: PoolWorker, work: Work, number: int, items: list[Any]) -> None:
        """Put items of a stream where its reader finds them, here, in their order.

        Futures are settled later, by several threads; the end of a stream must not get
        ahead of its items.
        """
        work.yielded = True
        work.future.take(number, items)
        self.settled.append((work, ITEMS, None))  # not settled: whoever waits may look
        if not worker.served:
            self._serves(worker)

    def has_idler(self) -> bool:
        """Whether plain functions wait at one worker, while another has none."""
        if not self._lined_up or self._lines[PLAIN]:
            return False
        if all(worker.plain for worker in self._open[PLAIN]):
            return False
        self._lined_up = any(worker.plain > 1 for worker in self.workers)
        return self._lined_up

    def take_over(self, has_started: Callable[[PoolWorker, int], bool]) -> None:
        """Recall plain functions that wait at busy workers, if others idle.

        They were sent ahead because those before them were short. The worker gives back
        what it has not started; then they wait in the line, and are sent one by one.

        Args:
            has_started: Whether a worker has started the function of that number. One that has
                started its last is not held up: only its reports are to be read yet.
        """
        serving = [worker for worker in self.workers if worker.state is WorkerState.SERVING]
        if self._lines[PLAIN] or self._balancer.keeps_choice or all(w.plain for w in serving):
            return
        busy = [worker for worker in serving if worker.plain > 1]
        busy = [worker for worker in busy if not has_started(worker, worker.seqs[PLAIN])]
        for worker in busy:
            self._recall(worker, 1)
        for worker in serving if busy else ():
            worker.depth, worker.pace = 1, max(worker.pace, LINED_UP)
            self._refresh(worker)

    def can_recall(self, worker: PoolWorker) -> bool:
        """Whether functions may have to be recalled that were sent ahead to a worker."""
        return worker.plain > 1 and not self._balancer.keeps_choice

    def recall_ahead(self, now: float, running: Callable[[PoolWorker], tuple[int, float]]) -> float:
        """Recall what was sent ahead to workers, if functions take longer than was thought.

        At a worker no priority counts. Nothing is reported before a long function ends, so it is
        looked at what runs, too. (Not at each report: the pace of a moment in which others had
        the CPU says nothing, and soon passes.)

        Args:
            now: The time.
            running: As for the `Ladder`.

        Returns:
            Seconds after which to look again; ``math.inf``: when functions are sent next.
        """
        again = math.inf
        for worker in self.workers:
            if worker.state is not SERVING or not self.can_recall(worker):
                continue
            seq, since = running(worker)
            age = now - since if seq else 0.0
            if age >= LONG:
                worker.depth, worker.pace = 1, max(worker.pace, age)
                self._refresh(worker)
                self._recall(worker, sum(0 < work.seq <= seq for work in worker.works.values()))
                continue
            if worker.plain > worker.depth and worker.plain * worker.pace > FAR_AHEAD:
                self._recall(worker, worker.depth)
            again = min(again, LONG - age)
        return again

    def _recall(self, worker: PoolWorker, keep: int) -> None:
        """Ask a worker to give back plain functions, all but the first ones."""
        if self._balancer.keeps_choice:
            return
        lined_up = [work for work in worker.works.values() if work.lane == PLAIN]
        for work in lined_up[keep:]:
            if work.recalled != work.seq:
                worker.recalls.append(Cancel(work.id, work.seq))
                work.recalled = work.seq
                self.outbound.add(worker)

    def _take_back(self, worker: PoolWorker, work_id: int, seq: int) -> None:
        """Let a work wait again that its worker has not started. Then call ``_give_back``."""
        work = worker.works.get(work_id)
        if work is None or work.lane != PLAIN or work.seq != seq:  # it is known already
            return
        if work.cancel_asked:
            self._settle(work, CANCELLED, None)
            del worker.works[work_id]
            self._leave(work, worker)
            return
        self._wait_again(work, worker.pinned[PLAIN])
        del worker.works[work_id]
        self._leave(work, worker)

    def paced(self, worker: PoolWorker, seconds: float, count: int) -> None:
        """Learn how long plain functions take; adapt how many are sent ahead."""
        pace = seconds / count
        # Up at once, down slowly: a line behind a long function costs more than a gap.
        if pace < worker.pace:
            pace = 0.7 * worker.pace + 0.3 * pace
        worker.pace = pace
        depth = int(LINED_UP / pace) if pace else self.max_works_per_worker
        if depth >= self.max_works_per_worker:
            depth = self.max_works_per_worker
        else:  # a power of two: so it seldom changes while the works are alike
            depth = 1 << max(0, depth.bit_length() - 1)
        if depth != worker.depth:
            worker.depth = depth
            self._refresh(worker)

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
            self._check_finished()

    def _fill(self, lane: int, line: deque[Work]) -> None:
        """Give the works of a line to workers, as long as one has room."""
        self.asked_lane = lane
        while self._in_turn and self._open[lane] and len(line) > FEW:
            self._fill_in_turn(self._in_turn, lane, line)
        while self._open[lane] and line:
            work = line[0]  # it stays in the line until it is elsewhere, see `mend`
            if work.state is WAITING:
                try:
                    worker = self._choose(work.meta)
                except BaseException as error:
                    if not isinstance(error, Exception) and not work.interrupted:
                        # Ctrl-C, not meant for us. The work stays: `mend` dispatches again. If
                        # it comes once more, it was the load balancer itself.
                        work.interrupted = True
                        raise
                    self._choice_failed(work, error)
                else:
                    if type(worker) is PoolWorker and worker.pool is self and worker.room[lane]:
                        self._hand(work, worker)
                    else:
                        self._pin(work, worker)
            line.popleft()
        if line:
            self._head(line)

    def _fill_in_turn(self, balancer: RoundRobin, lane: int, line: deque[Work]) -> None:
        """Do what `_fill` does with `RoundRobin`, for as many works as all with room can take.

        Ctrl-C may come whenever a loop goes round: each work is aboard then, or waits still.
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

    def _hand_many(self, works: list[Work], worker: PoolWorker, lane: int) -> None:
        """Do what `_hand` does, for works of one lane."""
        self.outbound.add(worker)
        worker.outboxes[lane] += works
        seqs, aboard, seq = worker.seqs, worker.works, worker.seqs[lane]
        for work in works:
            if work.limited:
                self.concerns.append(work)
            # No call below this line, up to the end of the loop, see `_hand`.
            seqs[lane] = work.seq = seq = seq + 1
            work.state = ABOARD
            work.worker = worker
            aboard[work.id] = work
        self._waiting -= len(works)
        self._aboard += len(works)
        worker.plain += lane * len(works)
        if worker.plain > 1:
            self._lined_up = True
        self._refresh(worker)

    # -- events about workers -------------------------------------------------

    def lost(self, worker: PoolWorker, death: Death, now: float) -> None:
        """Take note of a worker's end at that time; heal.

        Works that it had not started wait again, in front; so do those that it had and
        that may run again. The others fail.
        """
        was = worker.state
        if was is WorkerState.GONE:
            return
        failed = self._failed_to_serve(worker, death)
        if failed:
            self.policy.failed(now - (death.uptime or 0.0), now)
        worker.state = WorkerState.GONE
        self._refresh(worker)
        self.outbound.discard(worker)
        self._clear(worker, death)
        if was is WorkerState.STARTING:
            self._started()
        self._replace(worker, failed=failed)
        if not self.workers and not self._pauses and self.wants_workers:
            self._break(death.reason or death.error)
        self.dispatch()

    def close(self, *, cancel_waiting: bool = False) -> None:
        """Take no more works; stop the workers when the last work is done."""
        self.closing = True
        if cancel_waiting:
            self.cancel_waiting()
        self._check_finished()

    def terminate(self) -> None:
        """Cancel all that was not started; what had been started ends with its worker."""
        self.terminating = True
        self.close(cancel_waiting=True)

    def cancel_waiting(self) -> None:
        """Cancel all waiting works."""
        pinned = [line for worker in self.workers for line in worker.pinned]
        for line in (self._limits.clear(), *self._lines, *pinned):
            for work in line:
                if work.state is WAITING:
                    self._waiting -= 1
                    self._settle(work, CANCELLED, None)
            line.clear()
        self._check_finished()

    def held(self, lane: int) -> list[Work]:
        """Return the works of a lane that are not done: those waiting, then those aboard."""
        lines = [self._limits.waiting, self._lines[lane], self._lines[SUSPECTS]]
        lines += [worker.pinned[lane] for worker in self.workers]
        waiting = [w for line in lines for w in line if w.state is WAITING]
        aboard = [w for worker in self.everyone() for w in worker.works.values()]
        return [work for work in waiting + aboard if work.lane == lane]

    def cancellable(self) -> list[Work]:
        """Return the works that are not done and that end when they are cancelled."""
        plain = [work for work in self.held(PLAIN) if work.is_stream]
        return self.held(COROUTINE) + plain

    def holds(self, lane: int) -> bool:
        """Whether a work of the lane is not done."""
        return not self.idle and bool(self.held(lane))

    def mend(self) -> None:
        """Count anew, after an exception that can come at any moment broke into an event.

        That is ``KeyboardInterrupt`` on the main thread. The work that was being
        submitted may be nowhere then: its caller never gets a future.
        """
        self._drop_copies()
        self._mend_workers()
        lines = [*self._lines, *(line for worker in self.workers for line in worker.pinned)]
        waiting = {work for line in lines for work in line if work.state is WAITING}
        for work in waiting:
            work.worker = None  # it was given back, up to this
        self._limits.mend(waiting)
        self._rare = self._lined_up = True
        self._pins = self._pins or any(line for worker in self.workers for line in worker.pinned)
        self._waiting = len(waiting) + len(self._limits.waiting)
        for worker in self.everyone():
            for work in [work for work in worker.works.values() if work.state is not ABOARD]:
                del worker.works[work.id]  # it is done, or was given back and waits
                work.worker = None
            worker.plain = sum(work.lane for work in worker.works.values())
            for lane in LANES:
                worker.outboxes[lane] = [w for w in worker.outboxes[lane] if w.worker is worker]
            self._refresh(worker)
        self._aboard = sum(len(worker.works) for worker in self.everyone())
        for lane in LANES:
            self._open[lane].clear()
            self._open[lane].update((w, None) for w in self.workers if w.room[lane])
        if self.workers or self.leaving:  # else nothing was started yet
            self._fit()
        self.dispatch()

    def _drop_copies(self) -> None:
        """Unpin works that are in a line already: `_give_back` was broken into."""
        in_lines = {work for line in self._lines for work in line}
        for worker in self.everyone():
            for pinned in worker.pinned:
                for work in [work for work in pinned if work in in_lines]:
                    pinned.remove(work)

    def give_up(self, why: str, reason: BaseException) -> list[tuple[Work, int, Any]]:
        """Fail all works that are not done: there is a bug, and all state is in doubt.

        Returns:
            What is settled, as `take_settled` does.
        """
        self.broken = BrokenPoolError(f"{why}: {type(reason).__name__}: {reason}")
        self.broken.__cause__ = reason
        everyone = list(self.everyone())
        lines = [self._limits.waiting, *self._lines]
        lines += [line for worker in everyone for line in worker.pinned]
        lines += [worker.works.values() for worker in everyone]
        for work in [work for line in lines for work in line]:
            if work.state is not DONE:
                work.state = DONE
                work.worker = work.function = work.call = work.meta = work.what = None
                self.settled.append((work, RAISED, self.broken))
        for worker in everyone:
            worker.state = WorkerState.GONE
            worker.works.clear()
        for line in self._lines:
            line.clear()
        self._limits = Limits(float, self._set_alarm)
        self._holders = self._limits.holders
        self._waiting = self._aboard = self._starting = self.added = 0
        self.workers.clear()
        self.leaving.clear()
        for effects in (self.outbound, self.to_start, self.to_stop, self.pauses, self.concerns):
            effects.clear()
        return self.take_settled()

    def take_settled(self) -> list[tuple[Work, int, Any]]:
        """Return the works settled (or TOO_LATE to cancel) since the last call.

        Returns:
            Tuples of work, kind and data.
        """
        settled = self.settled
        if not settled:
            return []  # not the list itself, which goes on growing
        self.settled = []
        return settled

    # -- decisions ------------------------------------------------------------

    def _refresh(self, worker: PoolWorker) -> None:
        """Note whether the worker can take one more work, per lane."""
        room = worker.room
        now = worker.state is WorkerState.SERVING and len(worker.works) < self._limit
        if room[COROUTINE] is not now:
            self._set_room(worker, COROUTINE, now=now)
        now = now and worker.plain < worker.depth
        if room[PLAIN] is not now:
            self._set_room(worker, PLAIN, now=now)

    def _set_room(self, worker: PoolWorker, lane: int, *, now: bool) -> None:
        worker.room[lane] = now
        if now:
            self._open[lane][worker] = None
        else:
            self._open[lane].pop(worker, None)

    def _share(self) -> None:
        """Set the limit: while some workers start, those that serve leave them a fair share."""
        limit = self.max_works_per_worker
        if self._starting:
            # No work waits for the successor of a worn worker.
            worn = sum(worker.worn for worker in self.workers)
            if self._starting > worn:
                share = -(-(self._waiting + self._aboard) // (len(self.workers) - worn))
                limit = max(1, min(share, limit))
        if limit != self._limit:
            self._limit = limit
            for worker in self.workers:
                self._refresh(worker)

    @staticmethod
    def _head(line: deque[Work]) -> Work | None:
        """Return the first work of a line; drop those in front that were cancelled.

        So a line that is not empty always has a waiting work, the first.
        """
        while line and line[0].state is not WAITING:
            line.popleft()
        return line[0] if line else None

    def _choice_failed(self, work: Work, error: BaseException) -> None:
        failure = LoadBalancerError(
            f"the load balancer {shown(self._balancer)} raised {shown(error)}"
        )
        failure.__cause__ = error
        self._reject(work, failure)

    def _pin(self, work: Work, worker: Any) -> None:
        """Let a work wait for the chosen worker, which has no room; if it is one of ours."""
        if (
            type(worker) is PoolWorker
            and worker.pool is self
            and self._balancer.keeps_choice
            and worker.state in STAYING
        ):
            self._pins = True
            worker.pinned[work.lane].append(work)
        else:
            self._reject(work, self._nonsense(worker))

    def _nonsense(self, choice: Any) -> LoadBalancerError:
        return LoadBalancerError(
            f"the load balancer {shown(self._balancer)} chose {shown(choice)}, which is no "
            "available worker of this pool; get_proper_worker() must return one of self.workers"
        )

    def _reject(self, work: Work, error: LoadBalancerError) -> None:
        self._waiting -= 1
        self._settle(work, RAISED, error)

    def _hand(self, work: Work, worker: PoolWorker) -> None:
        lane = work.lane
        if work.limited:
            self.concerns.append(work)
        self.outbound.add(worker)
        worker.outboxes[lane].append(work)
        # No call below this line: Ctrl-C may raise after any, and `mend` sets right
        # only what is all here or not here at all.
        worker.seqs[lane] = work.seq = worker.seqs[lane] + 1
        work.state = ABOARD
        work.worker = worker
        works = worker.works
        works[work.id] = work
        self._waiting -= 1
        self._aboard += 1
        worker.plain += lane
        if lane and worker.plain > 1:
            self._lined_up = True
        if len(works) >= self._limit or (lane and worker.plain >= worker.depth):
            self._refresh(worker)

    def _leave(self, work: Work, worker: PoolWorker) -> None:
        """Take off a work that was removed from the worker's ``works``."""
        self._aboard -= 1
        worker.plain -= work.lane
        work.worker = None
        if not worker.room[work.lane]:
            self._refresh(worker)

    def _settle(self, work: Work, kind: int, data: Any) -> None:
        assert work.state is not DONE
        work.state = DONE
        if work.options.apart:
            self._limits.leave(work)
        work.function = work.call = work.meta = work.what = None
        if kind == CANCELLED and work.instead is not None:
            kind, data = RAISED, work.instead
        self.settled.append((work, kind, data))

    def _dispatch_rare(self) -> None:
        """Give workers the works that wait for more than a worker, each when it is due."""
        if self._limits.waiting:
            if self._pins:  # their workers had no room; they were chosen before
                for lane in LANES:
                    self._dispatch_pinned(lane)
            self._dispatch_apart()
        if self._lines[SUSPECTS]:
            self._dispatch_suspects()
        self._rare = bool(self._lines[SUSPECTS] or self._limits.waiting)

    def _dispatch_apart(self) -> None:
        """Give workers the works that wait apart, and those in the lines that come before."""
        while (work := self._limits.first(self._places())) is not None:
            line = self._lines[work.lane]
            head = self._head(line)
            if head is not None and (0, head.id) < rank(work):
                self._fill(work.lane, deque((head,)))
                line.popleft()  # it stayed there until it was elsewhere, see `mend`
                continue
            self._limits.take(work)
            if len(work.deaths) >= SUSPECT:
                self._lines[SUSPECTS].append(work)
            else:
                self._fill(work.lane, deque((work,)))

    def _places(self) -> tuple[bool, bool, bool]:
        """Whether a worker has room for a coroutine, has for a function, has none of these."""
        coroutine, plain = self._open
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
                line.popleft()  # it stayed there until it was elsewhere, see `mend`

    def _dispatch_suspects(self) -> None:
        """Give each worker one suspect at a time. The load balancer is not asked.

        Then the next death tells of one suspect only.
        """
        line = self._lines[SUSPECTS]
        while (work := self._head(line)) is not None:
            for worker in self.workers:
                if worker.suspect not in worker.works and worker.room[work.lane]:
                    break
            else:
                return
            worker.suspect = work.id
            self._hand(work, worker)
            line.popleft()  # it stayed there until it was elsewhere, see `mend`

    def _detach(self, worker: PoolWorker, work_id: int) -> None:
        """Note that a plain function returned a coroutine, which runs on the loop now."""
        work = worker.works.get(work_id)
        if work is not None and work.lane == PLAIN:
            worker.plain -= 1
            work.lane, work.seq = COROUTINE, 0
            self._refresh(worker)

    # -- life of workers ------------------------------------------------------

    def _make_worker(self, number: int) -> PoolWorker:
        return PoolWorker(self, number)

    def _failed_to_serve(self, worker: PoolWorker, death: Death) -> bool:
        """Whether the death of a worker counts as a failed start."""
        if worker.state is WorkerState.STARTING:
            return True
        if worker.state is not WorkerState.SERVING or worker.served or any(death.started):
            return False
        # It did not start what it was given; or it was there for a moment only.
        young = death.uptime is None or death.uptime <= self.policy.window
        return bool(worker.works) or young

    def _clear(self, worker: PoolWorker, death: Death) -> None:
        """Take all works off a lost worker."""
        for work in list(worker.works.values()):
            self._leave(work, worker)
            if work.seq > death.started[work.lane] or self._may_run_again(work, death):
                self._requeue(work, worker)
            del worker.works[work.id]  # not before it is elsewhere: see `give_up`
        self._give_back(worker)

    def _requeue(self, work: Work, worker: PoolWorker) -> None:
        """Let a work wait again that was aboard a lost worker."""
        if work.cancel_asked or self.terminating:
            self._settle(work, CANCELLED, None)
            return
        if self.broken:  # this was the last of those that were leaving
            self._settle(work, RAISED, self.broken)
            return
        self._wait_again(work, worker.pinned[work.lane])

    def _wait_again(self, work: Work, line: deque[Work]) -> None:
        """Let a work wait that was aboard: in that line, unless it waits apart."""
        if work.options.apart:
            self._rare = True
            self._limits.add(work)
        else:
            line.append(work)
        work.state = WAITING
        self._waiting += 1

    def _may_run_again(self, work: Work, death: Death) -> bool:
        """Note that a work had been started by a lost worker; settle it, unless it is retried."""
        assert death.error is not None
        work.deaths += (death.error,)
        if work.cancel_asked:
            return True  # to be cancelled
        if self._is_retried(work):
            if not work.seq:
                work.lane = PLAIN  # it was detached: its plain part runs again, too
            return True
        error = (
            death.error if len(work.deaths) == 1 else WorkQuarantinedError(work.name, work.deaths)
        )
        self._settle(work, RAISED, error)
        return False

    def _is_retried(self, work: Work) -> bool:
        deaths, options = len(work.deaths), work.options
        allowed = deaths <= options.retries and deaths < options.quarantine_after
        return allowed and not (work.yielded or self.terminating or self.broken)

    def _give_back(self, worker: PoolWorker) -> None:
        """Put works that wait for this worker in front of the lines, in their order."""
        for lane in LANES:
            again = sorted(worker.pinned[lane], key=lambda work: work.id)
            for work in again:
                if work.options.apart and work.state is WAITING:
                    self._limits.add(work)
            again = [work for work in again if not work.options.apart]
            self._rare = True
            suspects = [work for work in again if len(work.deaths) >= SUSPECT]
            again = [work for work in again if len(work.deaths) < SUSPECT]
            self._lines[lane].extendleft(reversed(again))
            self._lines[SUSPECTS].extend(suspects)
            worker.pinned[lane].clear()  # not before they are elsewhere, see `mend`

    def _break(self, reason: BaseException | None) -> None:
        """Give up: no worker is left and none could be started."""
        why = f": {reason}" if reason is not None else ""
        self.broken = BrokenPoolError(
            f"the pool is broken: {self.policy.failures} workers in a row ended before they "
            f"served{why}"
        )
        self.broken.__cause__ = reason
        for line in (self._limits.clear(), *self._lines):
            for work in line:
                if work.state is WAITING:
                    self._waiting -= 1
                    self._settle(work, RAISED, self.broken)
            line.clear()

    def _check_finished(self) -> None:
        if self.closing and self.idle:
            for worker in self.workers:
                if worker.state in (WorkerState.STARTING, WorkerState.SERVING):
                    self.to_stop.append(worker)  # first: nothing mends a worker never told
                    was, worker.state = worker.state, WorkerState.STOPPING
                    if was is WorkerState.STARTING:
                        self._started()
                    self._refresh(worker)
