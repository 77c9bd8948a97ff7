"""The Workforce: how many workers there are, and what follows from the death of one.

Rules of this file: logic only, as in ``_pool.pool``. Time comes in as a number; a restart that has
to wait goes out as a number of seconds, and comes back in as ``restart_due``.

A pool with ``min_size`` is *elastic*: it has as many workers as there were works, lately.
"""

from __future__ import annotations

import itertools

from aplex._common.locks import late_imports
from aplex._common.messages import CANCELLED, PLAIN, RAISED
from aplex._common.requests import Cancel
from aplex._pool import retries
from aplex._pool.failures import sign_of
from aplex._pool.ledger import SERVING
from aplex._pool.notes import Gone, Ready, Rerun, Resized
from aplex._pool.recycling import Recycling
from aplex._pool.state import Death, PoolWorker, Work, WorkerState
from aplex._pool.terms import UNBOUND


class Workforce(Recycling):
    """Has as many workers as it should, whatever becomes of them."""

    # -- events ---------------------------------------------------------------

    def open(self) -> None:
        """Begin to start the workers that are missing."""
        if self._missing() > 0:
            places = self._free_places()
            while self._missing() > 0:
                self.workers.append(self._new_worker(next(places)))
            self._look_later()

    def resize(self, size: int) -> None:
        """Have another number of workers: start some, or retire some."""
        self.size = size
        if self.notes is not None:
            self.notes.append(Resized(size))
        self._fit()
        self.dispatch()

    def restart_due(self) -> None:
        """Make a restart whose pause is over, if it is still wanted."""
        self._pauses -= 1
        if self._missing() > 0:
            self.tally.restarts += 1
            self.workers.append(self._new_worker(next(self._free_places())))

    def retire_for(self, worker: PoolWorker, stuck: Work) -> None:
        """Retire a worker because a plain function in it does not end.

        Functions behind it are recalled. If the worker cannot answer, they go elsewhere when
        it has ended.
        """
        behind = [work for work in worker.works.values() if work.lane and work.seq > stuck.seq]
        worker.recalls += [Cancel(work.id, work.seq) for work in behind]
        self.outbound.add(worker)
        if worker.state is SERVING:
            self._retire(worker)
            self._fit()
            self.dispatch()
        elif worker.heir is not None:  # which need not wait for what does not end
            worker.heir.elders = [each for each in worker.heir.elders if each is not worker]
            self._refresh(worker.heir)
            self.dispatch()

    def let_go(self, worker: PoolWorker) -> None:
        """Retire a worker that has to go, as its machine wants; another one is started at once.

        Functions that it has not started are recalled; it finishes what runs.
        """
        if worker.state is SERVING:
            aboard = worker.works.values()
            worker.recalls += [Cancel(work.id, work.seq) for work in aboard if work.lane]
            self.outbound.add(worker)
            self._retire(worker)
            self._fit()
            self.dispatch()

    # -- decisions ------------------------------------------------------------

    def _missing(self) -> int:
        """How many workers to start."""
        if not self.wants_workers:
            return 0
        return self.wanted - len(self.workers) - self._pauses

    def _fit(self) -> None:
        """Retire workers if there are too many, start those that are missing."""
        while len(self.workers) > self.wanted:
            self._retire(min(self.workers, key=_worth))
        self.open()

    def _ready(self, worker: PoolWorker, pid: int | None) -> None:
        """Let a started worker serve, or stand by."""
        worker.pid = pid
        if worker.state is not WorkerState.STARTING:
            return
        if self.notes is not None:
            self.notes.append(Ready(worker))
        if worker in self.spares:
            worker.state = WorkerState.STANDBY
        else:
            worker.state = WorkerState.SERVING
            self._started()
            self._refresh(worker)
        if self.terms is not UNBOUND:
            self._entered(worker)

    def _serves(self, worker: PoolWorker) -> None:
        """Note that a worker has ended its first work: workers can be started here."""
        worker.served = True
        self.policy.succeeded()
        self.open()

    def _reported(self, worker: PoolWorker) -> None:
        """Note that a worker that retires, or may be replaced, has reported works."""
        if worker.state is WorkerState.RETIRING:
            self._stop_if_idle(worker)
        if self.terms is not UNBOUND:
            self._worked(worker)

    # -- as many as are needed ------------------------------------------------

    @property
    def wanted(self) -> int:
        """How many workers there are to be."""
        least = self.terms.min_size
        return self.size if least is None else min(self.size, max(least, self._needed))

    def want(self, count: int) -> None:
        """Have so many workers at least, for a while."""
        self._needed = max(self._needed, count)
        self._peaks = (self._peaks[0], max(self._peaks[1], count))
        self.open()

    def _grow(self) -> None:
        """Have a worker for each work, as far as there may be so many."""
        works = self._waiting + self._in_flight
        if works > self._peaks[1]:
            self._peaks = (self._peaks[0], works)
        if works > self._needed:
            self._needed = works
            hopeless = self.policy.failures and self.policy.exhausted
            if len(self.workers) < self.size and not hopeless:
                self.open()

    def _look_later(self) -> None:
        """Look, after a while, whether so many workers are needed."""
        least = self.terms.min_size
        if least is not None and not self._looks and len(self.workers) > least:
            self._looks = True
            self.pauses.append((self.terms.idle_timeout / 2, self._shrink))

    def _shrink(self) -> None:
        """Retire workers that were not needed since the last look but one."""
        works = self._waiting + self._in_flight
        self._needed = max(works, *self._peaks)
        self._peaks = (self._peaks[1], works)
        self._looks = False
        if not self.wants_workers:
            return
        while len(self.workers) > self.wanted:
            idle = min(self.workers, key=_worth)
            if idle.works:
                break
            self._retire(idle)
        self._look_later()

    # -- deaths ---------------------------------------------------------------

    def lost(self, worker: PoolWorker, death: Death, now: float) -> None:
        """Take note of a worker's end at that time, and replace it.

        Works that it had not started wait again, in front; so do those that it had and
        that may run again. The others fail.
        """
        was = worker.state
        if was is WorkerState.GONE:
            return
        if self.notes is not None:
            self.notes.append(Gone(worker, death, was is WorkerState.STOPPING))
        failed = self._failed_to_serve(worker, death)
        if failed:
            began = now - (death.uptime or 0.0)
            self.policy.failed(began, now, sign_of(death.reason))
        worker.state = WorkerState.GONE
        self._refresh(worker)
        self.outbound.discard(worker)
        for work in list(worker.works.values()):
            self._leave(work, worker)
            self._reroute(work, worker, death)
            del worker.works[work.id]  # not before it is elsewhere: see `give_up`
        self._unpin(worker)
        if was is WorkerState.STARTING and worker not in self.spares:
            self._started()
        self._replace(worker, failed=failed)
        if worker.heir is not None:
            self._refresh(worker.heir)
        if self.policy.hopeless:
            self._despair()
        awaited = self._pauses and not self.policy.hopeless
        if not self.workers and not awaited and self.wants_workers:
            self._break(death.reason or death.error)
        self.dispatch()

    def _reroute(self, work: Work, worker: PoolWorker, death: Death) -> None:
        """Let a work of a lost worker wait again, or settle it."""
        started = retries.had_started(work, death)
        if started:
            assert death.error is not None
            work.deaths += (death.error,)
        fate = retries.verdict(
            work, started=started, terminating=self.terminating, broken=self.broken
        )
        if fate is retries.CANCELLED:
            self._settle(work, CANCELLED, None)
        elif fate is retries.AGAIN:
            if started and not work.seq:
                work.lane = PLAIN  # it was detached: its plain part runs again, too
            self.tally.retried += started
            work.retried += started
            if self.notes is not None:
                self.notes.append(Rerun(work.id, worker.id, started))
            self._wait_again(work, worker.pinned[work.lane])
        else:
            self._settle(work, RAISED, fate)

    def _failed_to_serve(self, worker: PoolWorker, death: Death) -> bool:
        """Whether the death of a worker counts as a failed start."""
        if death.blameless:
            return False
        if worker.state is WorkerState.STARTING:
            return True
        if worker.state not in (SERVING, WorkerState.STANDBY):
            return False
        if worker.served or any(death.started):
            return False
        # It did not start what it was given; or it was there for a moment only.
        young = death.uptime is None or death.uptime <= self.policy.window
        return bool(worker.works) or young

    def _replace(self, worker: PoolWorker, *, failed: bool) -> None:
        """Put a new worker in the place of a lost one: at once, later, or never."""
        if worker in self.leaving:
            self.leaving.remove(worker)
            return
        if worker in self.spares:
            self._lost_spare(worker, failed=failed)
            return
        if not failed and self._succeed(worker):
            self.tally.restarts += 1
            return
        place = self.workers.index(worker)
        del self.workers[place]
        self._dismiss_heir(worker)
        if self._missing() <= 0:
            return
        pause = 0.0
        if failed:
            if self.policy.exhausted and not self._anyone_serves():
                return
            pause = self.policy.restart()
        if pause:
            self._pauses += 1
            self.pauses.append((pause, self.restart_due))
        else:
            self.tally.restarts += 1
            free = itertools.takewhile(lambda index: index <= worker.index, self._free_places())
            index = worker.index if worker.index in free else next(self._free_places())
            self.workers.insert(place, self._new_worker(index))
            self._inherit(self.workers[place], worker)

    def _despair(self) -> None:
        """Wait for no worker that would fail as others did; unless some worker serves."""
        if not self._anyone_serves():
            for worker in list(self.workers):
                self._retire(worker)

    def _break(self, reason: BaseException | None) -> None:
        """Give up: no worker is left and none could be started."""
        why = f": {reason}" if reason is not None else ""
        with late_imports.importing:
            from aplex.exceptions import BrokenPoolError
        self.broken = BrokenPoolError(
            f"the pool is broken: {self.policy.failures} workers in a row ended before they "
            f"served{why}"
        )
        self.broken.__cause__ = reason
        for work in self._drain_waiting():
            self._settle(work, RAISED, self.broken)

    # -- invariants -----------------------------------------------------------

    def check(self) -> None:
        """Assert, besides, that there are as many workers as there should be."""
        super().check()
        states = {worker.state for worker in self.leaving}
        assert states <= {WorkerState.RETIRING, WorkerState.STOPPING}
        for worker in self.leaving:
            assert bool(worker.works) is (worker.state is WorkerState.RETIRING)
            assert worker.room == [False, False]
            assert not any(worker.pinned)
        assert len(self.workers) <= self.size
        assert self._pauses >= 0
        if self.wants_workers and self.workers and not self.policy.failures:
            assert self._missing() <= 0


def _worth(worker: PoolWorker) -> tuple[int, int]:
    """Order workers by how much is lost with them; of equal ones the first goes.

    Of those that start it is the newest: the oldest will be ready next. If that one went, a pool
    that is resized faster than workers start would never have one that serves.
    """
    if worker.state is WorkerState.STARTING:
        return 0, -worker.id
    return (1 if worker.worn else 2), worker.workload
