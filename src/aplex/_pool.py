"""The Pool: the state of all works and workers, and every decision about them.

Rules of this file: logic only. No IO, no clock, no thread, no lock: events come
in as method calls (under the Manager's lock), effects go out as data that the
Manager takes from ``outboxes``, ``settled``, ``to_start`` and ``to_stop``.

A work is *waiting* (in the line of its lane, or for the worker that a load
balancer insists on), then *aboard* a worker, then *done*. Invariants, checked by
``check`` after every step of the tests' random histories:

* each work is settled exactly once;
* ``0 <= workload <= max_works_per_worker``, and the workloads sum to the works aboard;
* a waiting work is aboard no worker; no work waits while a worker has room for it;
* a closed pool holds no works.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, overload

from aplex._messages import (
    CANCELLED,
    COROUTINE,
    DELIVERED,
    DETACHED,
    LANES,
    PICKLED,
    PLAIN,
    RAISED,
    READY,
    TOO_LATE,
    VALUE,
    Cancel,
    Report,
    Reports,
)
from aplex._options import DEFAULTS
from aplex.exceptions import BrokenPoolError, LoadBalancerError, WorkerLostError
from aplex.load_balancers import LoadBalancer, LoadBalancerFactory, Worker, chooser

GATHERED: Final = 64
"""Works gathered for busy workers before they are dispatched without waiting for more."""
LINED_UP: Final = 0.002
"""Seconds of plain functions sent ahead to a worker, at the pace of the last ones."""
EXTRA_STARTS: Final = 2
"""Failed starts in a row, beyond one per worker, after which no more are tried.

The pool is broken then if no worker is left; otherwise those left serve on, and
a later success closes the gaps.
"""


class WorkState(enum.Enum):
    """Where a work is."""

    WAITING = "waiting"
    ABOARD = "aboard"
    DONE = "done"


class WorkerState(enum.Enum):
    """Where a worker is in its life."""

    STARTING = "starting"
    SERVING = "serving"
    STOPPING = "stopping"
    GONE = "gone"


WAITING: Final = WorkState.WAITING  # the members of an enum are slow to look up
ABOARD: Final = WorkState.ABOARD
DONE: Final = WorkState.DONE


class Work:
    """One submitted call."""

    # Most works never need another value of these. (No slots: they would all have to be
    # set for each work, which costs more than it saves.)
    id = 0
    seq = 0  # number in its lane on its worker, from 1
    state = WAITING
    worker: PoolWorker | None = None
    manager: Any = None  # who is to be asked for a cancel; the pool does not look at it
    cancel_wanted = False  # the future's own note
    cancel_asked = False
    cancel_delivered = False  # the coroutine has got it, and answers by its outcome
    options = DEFAULTS
    what: Any = None  # the callable, for messages that name it
    deaths: tuple[WorkerLostError, ...] = ()  # of workers that ran it

    def __init__(self, lane: int, function: Any, call: Any, meta: Any, future: Any) -> None:
        self.lane = lane
        self.function = function
        self.call = call
        self.meta = meta
        self.future = future

    def __repr__(self) -> str:
        where = f" on {self.worker!r}" if self.worker else ""
        return f"<Work {self.id} {self.state.value}{where}>"


class PoolWorker:
    """What the Pool knows of one worker; load balancers see it as a `Worker`."""

    __slots__ = (
        "cancels",
        "depth",
        "failure",
        "id",
        "outboxes",
        "pace",
        "pid",
        "pinned",
        "plain",
        "pool",
        "room",
        "seqs",
        "served",
        "state",
        "works",
    )

    def __init__(self, pool: Pool, number: int) -> None:
        self.pool = pool
        self.id = number
        self.pid: int | None = None
        self.state = WorkerState.STARTING
        self.works: dict[int, Work] = {}  # aboard
        self.plain = 0  # of them, plain functions
        self.depth = 1  # how many plain functions may be aboard
        self.pace = 0.0  # seconds per plain function, lately
        self.room = [False, False]  # for one more work, per lane
        self.served = False  # whether it has reported the end of a work
        self.failure: Any = None  # what it said before it ended without ever serving
        self.seqs = [0, 0]  # works handed out so far, per lane
        self.outboxes: tuple[list[Work], list[Work]] = ([], [])  # works to send, per lane
        self.cancels: list[Cancel] = []  # to be sent after them
        # Works that a load balancer insists on giving to this worker, per lane.
        self.pinned: tuple[deque[Work], deque[Work]] = (deque(), deque())

    @property
    def workload(self) -> int:
        """Works aboard."""
        return len(self.works)

    @property
    def available(self) -> bool:
        """Whether it has room for the work that the load balancer is asked about."""
        return self.room[self.pool.asked_lane]

    def __repr__(self) -> str:
        return f"<worker {self.id} {self.state.value}, {len(self.works)} aboard>"


class WorkersView(Sequence[PoolWorker]):
    """The workers, read-only, for load balancers."""

    __slots__ = ("_workers",)

    def __init__(self, workers: list[PoolWorker]) -> None:
        self._workers = workers

    @overload
    def __getitem__(self, index: int) -> PoolWorker: ...
    @overload
    def __getitem__(self, index: slice) -> list[PoolWorker]: ...
    def __getitem__(self, index: int | slice) -> PoolWorker | list[PoolWorker]:
        return self._workers[index]

    def __len__(self) -> int:
        return len(self._workers)

    def __iter__(self) -> Iterator[PoolWorker]:
        return iter(self._workers)

    def __repr__(self) -> str:
        return repr(tuple(self._workers))


class WorkloadsView(Mapping[Worker, int]):
    """Worker -> works aboard, read-only, for load balancers."""

    __slots__ = ("_workers",)

    def __init__(self, workers: list[PoolWorker]) -> None:
        self._workers = workers

    def __getitem__(self, worker: Worker) -> int:
        if worker not in self._workers:
            raise KeyError(worker)
        return worker.workload

    def __iter__(self) -> Iterator[Worker]:
        return iter(self._workers)

    def __len__(self) -> int:
        return len(self._workers)

    def __repr__(self) -> str:
        return repr(dict(self))


class Pool:
    """State machine of works and workers."""

    def __init__(
        self, size: int, max_works_per_worker: int, load_balancer: LoadBalancerFactory
    ) -> None:
        self.size = size
        self.max_works_per_worker = max_works_per_worker
        self.workers: list[PoolWorker] = []
        self.closing = False
        self.broken: BrokenPoolError | None = None
        self.asked_lane = COROUTINE  # the lane of the work the load balancer is asked about
        self._balancer = load_balancer(
            WorkersView(self.workers), WorkloadsView(self.workers), max_works_per_worker
        )
        if not isinstance(self._balancer, LoadBalancer):
            raise TypeError(
                f"load_balancer must make a LoadBalancer, not {_shown(self._balancer)}; derive "
                "your class from aplex.LoadBalancer"
            )
        self._choose = chooser(self._balancer)
        self._lines: tuple[deque[Work], deque[Work]] = (deque(), deque())
        self._waiting = 0  # works in the lines or pinned, without those cancelled since
        self._aboard = 0
        self._starting = 0
        self._limit = max_works_per_worker  # works that a worker may have aboard now
        self._open = [0, 0]  # workers with room, per lane
        self._failed_starts = 0  # in a row
        self._work_ids = 0
        self._worker_ids = 0
        self._pins = False  # whether a work was ever pinned
        self.added = 0  # works since the last dispatch
        # Effects, taken by the Manager.
        self.outbound: set[PoolWorker] = set()
        self.settled: list[tuple[Work, int, Any]] = []
        self.to_start: list[PoolWorker] = []
        self.to_stop: list[PoolWorker] = []

    def __repr__(self) -> str:
        state = "broken" if self.broken else "closing" if self.closing else "open"
        return (
            f"<Pool {state}: {len(self.workers)} workers ({self._starting} starting), "
            f"{self._waiting} works waiting, {self._aboard} aboard>"
        )

    def is_quiet(self) -> bool:
        """Whether no report is to come: it holds no work, and no worker starts."""
        return not (self._waiting or self._aboard or self._starting)

    @property
    def is_alone(self) -> bool:
        """Whether the work that was submitted last is the only one it holds."""
        return self._waiting + self._aboard == 1

    @property
    def wants_dispatch(self) -> bool:
        """Whether ``dispatch`` has anything to do."""
        return self._waiting > 0 or self.closing

    @property
    def has_effects(self) -> bool:
        """Whether there is anything to be carried out."""
        return bool(self.outbound or self.to_start or self.to_stop or not self.workers)

    @property
    def idle(self) -> bool:
        """Whether it holds no work."""
        return not self._waiting and not self._aboard

    # -- events about works ---------------------------------------------------

    def open(self) -> None:
        """Begin to start the workers that are missing."""
        while len(self.workers) < self.size:
            self.workers.append(self._new_worker())

    def add(self, work: Work) -> bool:
        """Take a new work, to wait in the line. Call ``dispatch`` after the last.

        Returns:
            Whether works can wait for more: the workers are busy, and they are not many yet.
        """
        self._work_ids = work.id = self._work_ids + 1
        self._lines[work.lane].append(work)
        # No call below this line, see `mend`.
        self._waiting += 1
        self.added = added = self.added + 1
        return added < GATHERED and added + self._aboard > self.size

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
            self._check_finished()
        elif work.state is ABOARD and not work.cancel_asked:
            assert work.worker is not None
            work.cancel_asked = True
            work.worker.cancels.append(Cancel(work.id, work.seq if work.lane == PLAIN else 0))
            self.outbound.add(work.worker)

    def take_in(self, worker: PoolWorker, reports: Reports) -> None:
        """Take in a frame of reports. Call ``dispatch`` after the last."""
        _, others, ids, values, pickled, pickles = reports
        if others:
            self.report(worker, others)
        if ids:
            self._results(worker, VALUE, ids, values)
        if pickled:
            self._results(worker, PICKLED, pickled, pickles)

    def _results(self, worker: PoolWorker, kind: int, ids: list[int], data: list[Any]) -> None:
        """Take in results: what ``report`` does, in short, for many works at once."""
        works = worker.works
        settled = self.settled
        plain = 0
        was = len(works)
        for work_id, result in zip(ids, data, strict=True):
            work = works.pop(work_id, None)
            if work is None:  # it was rerouted, or is known already
                continue
            plain += work.lane
            work.state = DONE
            work.worker = None
            settled.append((work, kind, result))
        if len(works) < was:
            self._aboard -= was - len(works)
            worker.plain -= plain
            if not (worker.room[COROUTINE] and worker.room[PLAIN]):
                self._refresh(worker)
            if not worker.served:
                self._serves(worker)

    def report(self, worker: PoolWorker, reports: list[Report]) -> None:
        """Take in reports one by one. Call ``dispatch`` after the last."""
        works = worker.works
        for work_id, kind, data in reports:
            if kind < DELIVERED:
                work = works.pop(work_id, None)
                if work is not None:  # else it was rerouted, or is known already
                    self._leave(work, worker)
                    self._settle(work, kind, data)
                    if not worker.served:
                        self._serves(worker)
            elif kind == DELIVERED:
                if work_id in works:
                    works[work_id].cancel_delivered = True
            elif kind == TOO_LATE:
                if work_id in works:  # not settled: whoever awaits it need not wait for it
                    self.settled.append((works[work_id], kind, None))
            elif kind == DETACHED:
                self._detach(worker, work_id)
            elif kind == READY:
                self._ready(worker, data)
            else:
                worker.failure = data

    def paced(self, worker: PoolWorker, seconds: float, count: int) -> None:
        """Learn how long plain functions take; adapt how many are sent ahead."""
        pace = seconds / count
        # Up at once, down slowly: a line behind a long function costs more than a gap.
        worker.pace = pace if pace > worker.pace else 0.7 * worker.pace + 0.3 * pace
        depth = int(LINED_UP / worker.pace) if worker.pace else self.max_works_per_worker
        depth = max(1, min(depth, self.max_works_per_worker))
        if depth != worker.depth:
            worker.depth = depth
            self._refresh(worker)

    def dispatch(self) -> None:
        """Give waiting works to workers with room."""
        self.added = 0
        if self._waiting:
            if self._starting:
                self._share()
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
        while self._open[lane] and line:
            work = line[0]  # it stays in the line until it is elsewhere, see `mend`
            if work.state is WAITING:
                try:
                    worker = self._choose(work.meta)
                except BaseException as error:
                    self._choice_failed(work, error)
                    if isinstance(error, KeyboardInterrupt):  # it is not meant for us
                        raise
                else:
                    if type(worker) is PoolWorker and worker.pool is self and worker.room[lane]:
                        self._hand(work, worker)
                    else:
                        self._pin(work, worker)
            line.popleft()
        if line:
            self._head(line)

    # -- events about workers -------------------------------------------------

    def lost(
        self, worker: PoolWorker, started: tuple[int, int], reason: BaseException | None
    ) -> list[Work]:
        """Take note of a worker's end; heal.

        Works that it had not started wait again, in front. ``reason`` says why
        it never served, if it is known.

        Returns:
            The works it had started, no longer aboard, for the caller to ``fail``.
        """
        was = worker.state
        if was is WorkerState.GONE:
            return []
        # It failed to start if it never served; also if it did not start what it was given.
        if was is WorkerState.STARTING or (worker.works and not worker.served and not any(started)):
            self._failed_starts += 1
        worker.state = WorkerState.GONE
        self._refresh(worker)
        self.outbound.discard(worker)
        failed = self._clear(worker, started)
        if was is WorkerState.STARTING:
            self._started()
        self._replace(worker, was)
        if not self.workers and not (self.closing and self.idle):
            self._break(reason)
        self.dispatch()
        return failed

    def fail(self, works: list[Work], error: BaseException) -> None:
        """Settle works that were lost with their worker."""
        for work in works:
            kind = CANCELLED if work.cancel_asked else RAISED
            self._settle(work, kind, error)

    def close(self, *, cancel_waiting: bool = False) -> None:
        """Take no more works; stop the workers when the last work is done."""
        self.closing = True
        if cancel_waiting:
            self.cancel_waiting()
        self._check_finished()

    def cancel_waiting(self) -> None:
        """Cancel all waiting works."""
        pinned = [line for worker in self.workers for line in worker.pinned]
        for line in (*self._lines, *pinned):
            for work in line:
                if work.state is WAITING:
                    self._waiting -= 1
                    self._settle(work, CANCELLED, None)
            line.clear()
        self._check_finished()

    def held(self, lane: int) -> list[Work]:
        """Return the works of a lane that are not done: those waiting, then those aboard."""
        lines = [self._lines[lane], *(worker.pinned[lane] for worker in self.workers)]
        waiting = [w for line in lines for w in line if w.state is WAITING]
        aboard = [w for worker in self.workers for w in worker.works.values() if w.lane == lane]
        return waiting + aboard

    def holds(self, lane: int) -> bool:
        """Whether a work of the lane is not done."""
        return not self.idle and bool(self.held(lane))

    def mend(self) -> None:
        """Count anew, after an exception that can come at any moment broke into an event.

        That is ``KeyboardInterrupt`` on the main thread. The work that was being
        submitted may be nowhere then: its caller never gets a future.
        """
        lines = [*self._lines, *(line for worker in self.workers for line in worker.pinned)]
        waiting = {work for line in lines for work in line if work.state is WAITING}
        self._waiting = len(waiting)
        for worker in self.workers:
            worker.plain = sum(work.lane for work in worker.works.values())
            self._refresh(worker)
        self._aboard = sum(len(worker.works) for worker in self.workers)
        self._starting = sum(worker.state is WorkerState.STARTING for worker in self.workers)
        self._open = [sum(worker.room[lane] for worker in self.workers) for lane in LANES]
        self.dispatch()

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
        room = worker.state is WorkerState.SERVING and len(worker.works) < self._limit
        for lane, now in (COROUTINE, room), (PLAIN, room and worker.plain < worker.depth):
            if worker.room[lane] is not now:
                worker.room[lane] = now
                self._open[lane] += 1 if now else -1

    def _share(self) -> None:
        """Set the limit: while some workers start, those that serve leave them a fair share."""
        limit = self.max_works_per_worker
        if self._starting:
            share = -(-(self._waiting + self._aboard) // len(self.workers))
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
            f"the load balancer {_shown(self._balancer)} raised {_shown(error)}"
        )
        failure.__cause__ = error
        self._reject(work, failure)

    def _pin(self, work: Work, worker: Any) -> None:
        """Let a work wait for the chosen worker, which has no room; if it is one of ours."""
        if (
            type(worker) is PoolWorker
            and worker.pool is self
            and self._balancer.keeps_choice
            and worker.state is not WorkerState.GONE
        ):
            self._pins = True
            worker.pinned[work.lane].append(work)
        else:
            self._reject(work, self._nonsense(worker))

    def _nonsense(self, choice: Any) -> LoadBalancerError:
        return LoadBalancerError(
            f"the load balancer {_shown(self._balancer)} chose {_shown(choice)}, which is no "
            "available worker of this pool; get_proper_worker() must return one of self.workers"
        )

    def _reject(self, work: Work, error: LoadBalancerError) -> None:
        self._waiting -= 1
        self._settle(work, RAISED, error)

    def _hand(self, work: Work, worker: PoolWorker) -> None:
        lane = work.lane
        worker.seqs[lane] = work.seq = worker.seqs[lane] + 1
        self.outbound.add(worker)
        worker.outboxes[lane].append(work)
        # No call below this line: Ctrl-C may raise after any, and `mend` sets right
        # only what is all here or not here at all.
        work.state = ABOARD
        work.worker = worker
        works = worker.works
        works[work.id] = work
        self._waiting -= 1
        self._aboard += 1
        worker.plain += lane
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
        work.function = work.call = work.meta = work.what = None
        self.settled.append((work, kind, data))

    def _dispatch_pinned(self, lane: int) -> None:
        for worker in self.workers:
            line = worker.pinned[lane]
            while line and worker.room[lane]:
                work = line.popleft()
                if work.state is WAITING:
                    self._hand(work, worker)

    def _detach(self, worker: PoolWorker, work_id: int) -> None:
        """Note that a plain function returned a coroutine, which runs on the loop now."""
        work = worker.works.get(work_id)
        if work is not None and work.lane == PLAIN:
            worker.plain -= 1
            work.lane, work.seq = COROUTINE, 0
            self._refresh(worker)

    # -- life of workers ------------------------------------------------------

    def _ready(self, worker: PoolWorker, pid: int | None) -> None:
        """Let a started worker serve."""
        worker.pid = pid
        if worker.state is WorkerState.STARTING:
            worker.state = WorkerState.SERVING
            self._started()
            self._refresh(worker)

    def _serves(self, worker: PoolWorker) -> None:
        """A worker has ended its first work: workers can be started here."""
        worker.served = True
        self._failed_starts = 0
        if not self.closing:
            self.open()

    def _started(self) -> None:
        """One worker fewer is starting."""
        self._starting -= 1
        self._share()

    def _new_worker(self) -> PoolWorker:
        self._worker_ids += 1
        self._starting += 1
        worker = PoolWorker(self, self._worker_ids)
        self.to_start.append(worker)
        return worker

    def _clear(self, worker: PoolWorker, started: tuple[int, int]) -> list[Work]:
        """Take all works off a lost worker; return those that it had started."""
        failed: list[Work] = []
        works, worker.works = worker.works, {}
        for work in works.values():
            self._leave(work, worker)
            if work.seq <= started[work.lane]:
                failed.append(work)
            elif work.cancel_asked:
                self._settle(work, CANCELLED, None)
            else:
                work.state = WAITING
                self._waiting += 1
                worker.pinned[work.lane].append(work)
        for lane in LANES:
            # In front, in their order; the load balancer is asked anew.
            again = sorted(worker.pinned[lane], key=lambda work: work.id)
            self._lines[lane].extendleft(reversed(again))
            worker.pinned[lane].clear()
        return failed

    def _replace(self, worker: PoolWorker, was: WorkerState) -> None:
        """Put a new worker in the place of a lost one, or close the gap."""
        place = self.workers.index(worker)
        wanted = was is not WorkerState.STOPPING and not (self.closing and self.idle)
        hopeless = self._failed_starts >= self.size + EXTRA_STARTS
        if wanted and not hopeless:
            self.workers[place] = self._new_worker()
        else:
            del self.workers[place]

    def _break(self, reason: BaseException | None) -> None:
        """Give up: no worker is left and none could be started."""
        why = f": {reason}" if reason is not None else ""
        self.broken = BrokenPoolError(
            f"the pool is broken: {self._failed_starts} workers in a row ended before they "
            f"served{why}"
        )
        self.broken.__cause__ = reason
        for line in self._lines:
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

    # -- for tests ------------------------------------------------------------

    def check(self) -> None:
        """Assert the invariants named on top of this file."""
        waiting = [w for line in self._lines for w in line if w.state is WAITING]
        pinned = [
            w
            for worker in self.workers
            for line in worker.pinned
            for w in line
            if w.state is WAITING
        ]
        assert self._waiting == len(waiting) + len(pinned)
        assert all(w.worker is None for w in waiting + pinned)
        assert self._aboard == sum(worker.workload for worker in self.workers)
        for worker in self.workers:
            assert 0 <= worker.workload <= self.max_works_per_worker
            assert worker.plain == sum(w.lane for w in worker.works.values())
            assert all(w.state is ABOARD for w in worker.works.values())
            assert all(w.worker is worker for w in worker.works.values())
        for lane in LANES:
            rooms = [worker for worker in self.workers if worker.room[lane]]
            assert self._open[lane] == len(rooms)
            assert not rooms or not any(w.lane == lane for w in waiting)
            for worker in self.workers:
                room = worker.state is WorkerState.SERVING and worker.workload < self._limit
                assert worker.room[lane] is (room and (not lane or worker.plain < worker.depth))
                assert not worker.room[lane] or not any(
                    w.state is WAITING for w in worker.pinned[lane]
                )
        if self.closing and self.idle:
            assert all(worker.state is WorkerState.STOPPING for worker in self.workers)
        if self.broken:
            assert self.idle


def _shown(thing: object) -> str:
    """``repr`` of something of the user's, whose own may raise."""
    try:
        return repr(thing)
    except BaseException:  # noqa: BLE001 - user code
        return object.__repr__(thing)
