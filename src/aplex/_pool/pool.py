"""The Pool: the state of all works and workers, and every decision about them.

A chain of classes, each of which uses only what lies below it, and one object: a `Ledger` counts,
a `Dispatcher` gives works to workers, `Trials` hold works whose outcome is judged, `Ahead` calls
some back, a `Staff` starts and retires single workers, `Recycling` replaces them, a `Workforce`
knows how many there are to be, and the Pool takes the events. (A chain and no parts, so that no
attribute is looked up twice on the way of a work.)

Rules of this file: logic only. No IO, no clock, no thread, no lock: events come in as method
calls (under the Manager's lock), effects go out as data that the Manager takes from ``outbound``,
``settled``, ``to_watch``, ``to_start``, ``to_stop`` and ``pauses``.

``check`` asserts the invariants; tests call it after every step of their random histories:

* each work is settled exactly once;
* ``0 <= workload <= max_works_per_worker``, and the workloads sum to the works in flight;
* a waiting work is on no worker; no work waits while a worker has room for it;
* a closed pool holds no works.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from aplex._common.messages import (
    CANCELLED,
    COROUTINE,
    DELIVERED,
    DETACHED,
    DUMPED,
    FREED,
    ITEMS,
    PICKLED,
    PLAIN,
    RAISED,
    READY,
    RETURNED,
    STALLED,
    TOO_LATE,
    VALUE,
    Report,
    Reports,
)
from aplex._common.requests import Cancel, Credit
from aplex._pool.ledger import SERVING
from aplex._pool.restarts import RestartPolicy
from aplex._pool.stamps import Stamps
from aplex._pool.state import DONE, IN_FLIGHT, WAITING, PoolWorker, Work, WorkerState
from aplex._pool.tally import Counts
from aplex._pool.terms import UNBOUND, Terms
from aplex._pool.workforce import Workforce
from aplex.load_balancers import LoadBalancerFactory

MAX_GATHERED_WORKS: Final = 64
"""Works gathered for busy workers before they are dispatched without waiting for more."""
MAX_GATHERED_PER_WORKER: Final = 32
"""Works for each worker, on average, that are gathered at most while as many are in flight.

Each worker gets a frame of its own. If works were dispatched whenever `MAX_GATHERED_WORKS` of
them are there, each of 64 workers would get frames of one work. While as many works are in
flight as gather, workers have enough to do, or whatever they wait for is the submitter's turn.
"""


class Pool(Workforce):
    """State machine of works and workers."""

    def __init__(
        self,
        size: int,
        max_works_per_worker: int,
        load_balancer: LoadBalancerFactory,
        policy: RestartPolicy | None = None,
        terms: Terms = UNBOUND,
        clock: Callable[[], float] = float,
    ) -> None:
        """Have no workers yet.

        Args:
            size: How many workers there shall be.
            max_works_per_worker: How many works one may have in flight.
            load_balancer: Makes the load balancer.
            policy: When a worker is started in the place of one that never served.
            terms: When workers are replaced that could go on, and how few there may be.
            clock: Tells seconds, to works with a ``rate``, and when works were submitted; without
                one time stands still.
        """
        policy = policy or RestartPolicy()
        super().__init__(size, max_works_per_worker, load_balancer, policy, terms, clock)
        self.can_interrupt = False  # whether workers stop plain functions that run
        self._work_ids = 0
        self.stamps = Stamps(self._oldest)
        self.told: list[tuple[PoolWorker, int, Any]] = []  # answers of workers to inquiries

    def _oldest(self) -> int:
        """Return the number of the oldest work that is not done."""
        heads = [line[0].id for line in self._lines if line]
        heads += [next(iter(worker.works)) for worker in self.everyone() if worker.works]
        heads += [work.id for work in self._limits.waiting]
        return min(heads, default=self._work_ids)

    # -- events about works ---------------------------------------------------

    def add(self, work: Work) -> bool:
        """Take a new work, to wait in the line. Call ``dispatch`` after the last.

        Returns:
            Whether works can wait for more: the workers are busy, and they are not many yet.
        """
        if not self.added:
            self.stamps.add(self._work_ids + 1, self._clock())
        self._work_ids = work.id = self._work_ids + 1
        if work.options.apart:
            self._rare = True
            self._judges = self._judges or work.judge is not None
            try:
                self._limits.add(work)
            except TypeError:  # its key cannot be hashed: it is none of ours
                self._work_ids -= 1
                raise
        else:
            self._lines[work.lane].append(work)
        # No call from here on, see the rules of `_pool.ledger`.
        self._waiting += 1
        self.added = added = self.added + 1
        in_flight = self._in_flight
        if added >= MAX_GATHERED_WORKS and (
            added >= in_flight or added >= MAX_GATHERED_PER_WORKER * self.size
        ):
            return False
        return added + in_flight > self.size

    def submit(self, work: Work) -> None:
        """Take a new work: give it to a worker, or let it wait."""
        assert not self.closing
        assert not self.broken
        self.add(work)
        self.dispatch()

    def cancel(self, work: Work) -> None:
        """Cancel a waiting work now; ask the worker of one that is in flight."""
        if work.state is WAITING:
            self._waiting -= 1
            self._settle(work, CANCELLED, None)
            self._head(self._lines[work.lane])  # its place elsewhere in a line is skipped later
            if self._rare:  # it may have had a place that another one waits for
                self.dispatch()
            self._stop_if_finished()
        elif work.state is IN_FLIGHT and not work.cancel_asked:
            assert work.worker is not None
            cancel = Cancel(work.id, work.seq if work.lane == PLAIN else 0)
            # No call between these two: an answer to what nobody knows to have asked breaks us.
            work.cancel_asked = True
            work.worker.cancels.append(cancel)
            self.outbound.add(work.worker)

    def credit(self, work: Work, count: int) -> None:
        """Let a stream yield so many items, counted from its first one."""
        if work.state is IN_FLIGHT and not work.cancel_asked:
            assert work.worker is not None
            work.worker.credits.append(Credit(work.id, count))
            self.outbound.add(work.worker)

    def expire(self, work: Work, error: BaseException) -> None:
        """Fail a waiting work: its time is over."""
        work.error_if_cancelled = error
        self.cancel(work)

    def can_stop(self, work: Work) -> bool:
        """Whether the escalation can stop a plain function that runs.

        A generator that is closed ends at its next ``yield``; one out of time is interrupted.
        """
        if work.is_stream and work.error_if_cancelled is None and not work.interrupted_at:
            return False
        return self.can_interrupt and work.options.interruptible

    def fail_early(self, work: Work, error: BaseException) -> None:
        """Fail the future of a work that goes on, and stays in flight until it ends."""
        self.settled.append((work, RAISED, error))
        self.note_end(work, RAISED, error)
        if not work.failed_early:
            work.failed_early = True
            self.tally.failed += 1
            self.tally.early += 1

    # -- reports of workers ---------------------------------------------------

    def take_in(self, worker: PoolWorker, reports: Reports) -> None:
        """Take in a frame of reports. Call ``dispatch`` after the last."""
        _, others, ids, values, pickled, pickles = reports
        if others:
            self.report(worker, others)
        if ids:
            self._results(worker, VALUE, ids, values)
        if pickled:
            self._results(worker, PICKLED, pickled, pickles)
        if self.terms is not UNBOUND or worker.state is not SERVING:
            self._reported(worker)

    def _results(self, worker: PoolWorker, kind: int, ids: list[int], data: list[Any]) -> None:
        """Take in results: what ``report`` does, in short, for many works at once.

        Ctrl-C may come after any call: then the same frame comes again.
        """
        if self._judges:
            ids, data = self._judge(worker, kind, ids, data)
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
                work.function = work.call = None  # a deadline may keep the work for long
            del works[work_id]
            plain += work.lane
            work.worker = None
        if len(works) < was:
            if self._holders:
                self._limits.left(settled)
            self._in_flight -= was - len(works)
            worker.plain -= plain
            if not (worker.room[COROUTINE] and worker.room[PLAIN]):
                self._refresh(worker)
            if not worker.served:
                self._serves(worker)

    def _judge(
        self, worker: PoolWorker, kind: int, ids: list[int], data: list[Any]
    ) -> tuple[list[int], list[Any]]:
        """Put works on trial that have a judge; return the results of the others."""
        rest: tuple[list[int], list[Any]] = ([], [])
        for work_id, result in zip(ids, data, strict=True):
            work = worker.works.get(work_id)
            if work is not None and self._is_judged(work, kind):
                self.report(worker, [(work_id, kind, result)])
            else:
                rest[0].append(work_id)
                rest[1].append(result)
        return rest

    def report(self, worker: PoolWorker, reports: list[Report]) -> None:
        """Take in reports one by one. Call ``dispatch`` after the last."""
        works = worker.works
        returned = False
        for work_id, kind, data in reports:
            if kind < DELIVERED:
                work = works.get(work_id)
                if work is not None:  # else it was rerouted, or is known already
                    if self._is_judged(work, kind):
                        self._try(work, kind, data, worker)
                    else:
                        if kind == CANCELLED and data is not None and data == work.seq:
                            self._given_back(worker, work)
                        self._settle(work, kind, data)
                        del works[work_id]
                    self._leave(work, worker)
                    if not worker.served:
                        self._serves(worker)
            elif kind == DELIVERED:
                if work_id in works:
                    works[work_id].cancel_delivered = True
            elif kind == TOO_LATE:
                if work_id in works:  # not settled: it runs on, unless it can be interrupted
                    self.to_watch.append(works[work_id])
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
            elif kind == DUMPED:
                self.told.append((worker, work_id, data))
            elif kind == STALLED:
                self.stalls.append((worker, data))
            elif kind != FREED:  # which is for the back end
                worker.failure = data
        if returned:
            self._unpin(worker)

    def _take_items(self, worker: PoolWorker, work: Work, number: int, items: list[Any]) -> None:
        """Put items of a stream where its reader finds them: here, in their order.

        Futures are settled later, by several threads; the end of a stream must not get
        ahead of its items.
        """
        work.yielded = True
        inflow = work.future  # None if it was settled early: its time is over, and it goes on
        if inflow is not None:
            inflow.take(number, items)
        self.settled.append((work, ITEMS, None))  # not settled: whoever waits may look
        if not worker.served:
            self._serves(worker)

    # -- the end ---------------------------------------------------------------

    def close(self, *, cancel_waiting: bool = False) -> None:
        """Take no more works; stop the workers when the last work is done."""
        self.closing = True
        if cancel_waiting:
            self.cancel_waiting()
        self._stop_if_finished()

    def terminate(self) -> None:
        """Cancel all that was not started; what had been started ends with its worker."""
        self.terminating = True
        self.close(cancel_waiting=True)

    def cancel_waiting(self) -> None:
        """Cancel all waiting works."""
        for work in self._drain_waiting():
            self._settle(work, CANCELLED, None)
        self._stop_if_finished()

    # -- counts ---------------------------------------------------------------

    @property
    def last_id(self) -> int:
        """The number of the work that was submitted last."""
        return self._work_ids

    def counts(self) -> tuple[int, int, int, int, int, int, int]:
        """Return what `counted` takes. Nothing is called: no other thread gets into it."""
        tally = self.tally
        return (
            self._work_ids,
            self._waiting,
            self._in_flight,
            tally.failed,
            tally.cancelled,
            tally.retried,
            tally.restarts,
        )

    def counted(self, counts: tuple[int, int, int, int, int, int, int]) -> Counts:
        """Return what `counts` has read, with the number of works that have ended well."""
        submitted, waiting, in_flight, failed, cancelled, retried, restarts = counts
        done = submitted - waiting - in_flight - failed - cancelled
        if self.tally.early:  # they count as failed, and are in flight
            works = (work for worker in self.everyone() for work in list(worker.works.values()))
            done += sum(work.failed_early for work in works)
        return Counts(waiting, in_flight, max(0, done), failed, cancelled, retried, restarts)

    # -- invariants -----------------------------------------------------------

    def recount(self) -> None:
        """Repair the books, after an exception that can come at any moment broke into an event.

        That is ``KeyboardInterrupt`` on the main thread. The work that was being
        submitted may be nowhere then: its caller never gets a future.
        """
        self._drop_copies()
        self._recount_workers()
        self._recount_works()
        for worker in self.leaving:
            if worker.state is WorkerState.RETIRING:  # its last work may have been done just now
                self._stop_if_idle(worker)
        if self.workers or self.leaving:  # else nothing was started yet
            self._fit()
        self.dispatch()

    def check(self) -> None:
        """Assert, besides, what holds of a pool that is closing, or broken."""
        super().check()
        if self.closing and self.idle and not self.terminating:
            assert all(worker.state is WorkerState.STOPPING for worker in self.workers)
        if self.broken:
            assert not self._waiting
            assert not self.workers

    # -- the short way of a work that is alone --------------------------------

    def add_alone(self, work: Work) -> PoolWorker | None:
        """Take a new work and give it to a worker at once, if nothing else is there.

        What ``add`` and ``dispatch`` do, in short, for callers who send one work at a time.

        Returns:
            The worker. None: the work was not taken.
        """
        lane = work.lane
        crowded = self._waiting or self._in_flight or self._starting or self.outbound
        if crowded or self._rare or self.closing or not (self._open[lane] and self._shortens):
            return None
        if work.limited or work.options.apart:
            return None
        self.question.lane = lane
        worker = self._choose(work.meta)
        self.stamps.add(self._work_ids + 1, self._clock())
        self._work_ids = work.id = self._work_ids + 1
        self._waiting = 1  # until the end of the next line
        self._hand(work, worker)  # type: ignore[arg-type] # our own load balancers choose ours
        return worker  # type: ignore[return-value]

    def take_alone(self, worker: PoolWorker, reports: Reports) -> bool:
        """Take in a frame, if it is the result of the only work there is, and nothing else.

        What ``take_in``, ``paced`` and ``dispatch`` do, in short, for callers who send one
        work at a time.

        Returns:
            Whether it was. Else nothing has changed.
        """
        seconds, others, ids, values, pickled, pickles = reports
        if others or len(ids) + len(pickled) != 1 or self._in_flight != 1 or self._waiting:
            return False
        works = worker.works
        work = works.get(ids[0] if ids else pickled[0])
        if work is None or work.state is DONE or self._holders or self._judges:
            return False
        if self.terms is not UNBOUND:
            return False
        if self.closing or not worker.served or worker.condemned_for:
            return False
        if worker.state is not SERVING:
            return False
        if seconds and (seconds > self._short or worker.depth < self.max_works_per_worker):
            self.paced(worker, seconds, 1)
        work.state = DONE
        self.settled.append((work, VALUE, values[0]) if ids else (work, PICKLED, pickles[0]))
        work.function = work.call = None  # a deadline may keep the work for long
        # No call from here on, see the rules of `_pool.ledger`. If Ctrl-C comes before, the same
        # frame comes again.
        del works[work.id]
        worker.plain = 0
        work.worker = None
        self._in_flight = 0
        if False in worker.room:
            self._refresh(worker)
        return True
