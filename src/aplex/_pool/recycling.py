"""Recycling: workers that are replaced although they could go on.

Rules of this file: logic only, as in ``_pool.pool``. Whoever measures memory tells it here.

A worker takes ``max_tasks`` works at most, ever. So that no work waits for a start, its heir is
started when as many are left to it as it may take while a worker starts, twice; the heir stands
by, and takes its place when it has taken its last work. One that is *worn*, since it is old or
holds much memory, serves until its heir is ready, and is replaced then; or, where workers wait for
places and there is no other one, it goes first, so that its heir gets its place.

Who was replaced finishes what it has, and is an *elder* of its heir. Together they have as many
works in flight as one worker may have, and run one function at a time: there are more processes
than places, but not more works at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from aplex._pool.ledger import SERVING
from aplex._pool.restarts import RestartPolicy
from aplex._pool.staff import Staff
from aplex._pool.state import PoolWorker, WorkerState
from aplex._pool.terms import UNBOUND, Terms
from aplex.load_balancers import LoadBalancerFactory

LOOK: Final = 0.01
"""Seconds over which the pace of works is measured, at least."""
PLACE: Final = 2.0
"""Seconds in which an heir finds a place, if there is one beside that of the worker before it."""
EARLY: Final = 2
"""An heir is started so many times earlier than a start took lately."""


class Recycling(Staff):
    """Replaces workers that have taken their last work, or are worn."""

    def __init__(
        self,
        size: int,
        max_works_per_worker: int,
        load_balancer: LoadBalancerFactory,
        policy: RestartPolicy,
        terms: Terms,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(size, max_works_per_worker, load_balancer, policy, terms, clock)
        self._start_seconds = 0.0  # that a start took lately
        self._rate = 0.0  # works that a worker took in a second, lately, when it was quick
        # Of a pool with a ``min_size``: workers that it needs, the most works that there were
        # before the last look and since, and whether there will be another look.
        self._needed = 0
        self._peaks = (0, 0)
        self._looks = False

    # -- events ---------------------------------------------------------------

    def wear(self, worker: PoolWorker) -> None:
        """Replace a worker as soon as its heir is ready."""
        if worker.state in (SERVING, WorkerState.STANDBY) and not worker.worn:
            worker.worn = True
            self._renew()
            self.dispatch()

    def _entered(self, worker: PoolWorker) -> None:
        """Take in that a worker has become ready, to serve or to stand by."""
        took = self._clock() - worker.born
        self._start_seconds = max(took, (self._start_seconds + took) / 2)
        if self.terms.max_age is not None:
            self.pauses.append((self.terms.max_age, lambda: self.wear(worker)))
        self._renew()

    def _worked(self, worker: PoolWorker) -> None:
        """Note that a worker has reported works."""
        worker.elders = [elder for elder in worker.elders if elder.works]
        self._refresh(worker)
        heir = worker.heir
        if worker.state is not SERVING:
            if heir is not None:  # it may run what this one does not run any more
                self._refresh(heir)
        elif self.terms.max_tasks is not None:
            self._measure(worker)
            if heir is None and self._is_due(worker):
                self._want_heir(worker)

    def _measure(self, worker: PoolWorker) -> None:
        """Learn how many works a worker takes in a second. Up at once, down slowly."""
        now, (before, taken) = self._clock(), worker.mark
        if now - before >= LOOK:
            worker.mark = now, worker.taken
            if before:
                rate = (worker.taken - taken) / (now - before)
                self._rate = max(rate, 0.9 * self._rate + 0.1 * rate)

    # -- decisions ------------------------------------------------------------

    def _is_due(self, worker: PoolWorker) -> bool:
        """Whether it is time to start the heir of a worker."""
        if worker.worn:
            return True
        left = self.left_to(worker)
        return left <= 1 + math.ceil(EARLY * self._start_seconds * self._rate)

    def _renew(self) -> None:
        """Start the heirs for which it is time, and let those go that are worn and have one."""
        if not self.terms.replaces:
            return
        for worker in list(self.workers):
            if worker.state is not SERVING or not self._is_due(worker):
                continue
            if worker.heir is None:
                self._want_heir(worker)
            elif worker.worn and worker.heir.state is WorkerState.STANDBY:
                self._hand_over(worker)

    def _want_heir(self, worker: PoolWorker) -> None:
        """Start the heir of a worker, unless there is nothing for it to do; or it must wait.

        Workers that are worn are replaced a few at a time: else those that were started together
        would need twice the memory together.
        """
        last = self.closing and not self._waiting
        if worker.heir_paused or last or not self.wants_workers:
            return
        if worker.worn and self.left_to(worker) > 1:
            worn = sum(other.worn and other.heir is not None for other in self.workers)
            if worn >= max(1, self.size // 4):
                return
        heir = self._hire(worker.index)
        self.spares.append(heir)
        worker.heir = heir
        if worker.worn and self.waits_for_places:
            self.pauses.append((PLACE, lambda: self._make_place(worker, heir)))

    def _make_place(self, worker: PoolWorker, heir: PoolWorker) -> None:
        """Let a worker go whose heir has found no place as yet: it may be waiting for that one."""
        if (
            worker.heir is heir
            and heir in self.spares
            and not heir.placed
            and worker.state is SERVING
        ):
            self._hand_over(worker)
            self._share()
            self.dispatch()

    def _hand_over(self, worker: PoolWorker) -> None:
        """Retire a worker; put its heir in its place, where load balancers see it."""
        place = self.workers.index(worker)
        heir = worker.heir
        if heir is None and self.wants_workers:
            heir = worker.heir = self._hire(worker.index)
        if heir is not None:
            self._inherit(heir, worker)
            self.workers.insert(place + 1, heir)
            if heir in self.spares:
                self.spares.remove(heir)
            if heir.state is WorkerState.STANDBY:
                heir.state = SERVING
            else:
                self._starting += 1
        self.leaving.append(worker)
        worker.state = WorkerState.RETIRING
        self.workers.remove(worker)
        self._part(worker)
        if heir is not None:
            self._refresh(heir)

    def _replace_spent(self) -> None:
        spent, self._spent = self._spent, []
        for worker in spent:
            if worker in self.workers and worker.state is SERVING and self.left_to(worker) <= 0:
                self._hand_over(worker)
        self._share()
        self._renew()
        self.dispatch()

    def _succeed(self, worker: PoolWorker) -> bool:
        """Put the heir of a lost worker into its place; return whether there is one."""
        heir = worker.heir
        if heir is None or heir not in self.spares or heir.state is WorkerState.STOPPING:
            return False
        self.workers[self.workers.index(worker)] = heir
        self.spares.remove(heir)
        if heir.state is WorkerState.STANDBY:
            heir.state = SERVING
        else:
            self._starting += 1
        self._share()
        self._inherit(heir, worker)
        return True

    def _inherit(self, heir: PoolWorker, *elders: PoolWorker) -> None:
        """Have a worker in its place after others, which may still have works."""
        heir.elders = [elder for each in elders for elder in (each, *each.elders) if elder.works]
        for elder in heir.elders:
            elder.heir = heir
        self._refresh(heir)

    def _lost_spare(self, spare: PoolWorker, *, failed: bool) -> None:
        """Take note of the end of a spare, and start another one: at once, or later."""
        self.spares.remove(spare)
        worker = next((worker for worker in self.workers if worker.heir is spare), None)
        if worker is not None:
            worker.heir = None
            if failed:
                worker.heir_paused = True
                self.pauses.append((self.policy.restart(), lambda: self._heir_due(worker)))
        self._renew()

    def _heir_due(self, worker: PoolWorker) -> None:
        """Start an heir whose pause is over, if it is still wanted."""
        worker.heir_paused = False
        self._renew()

    # -- invariants -----------------------------------------------------------

    def _recount_workers(self) -> None:
        super()._recount_workers()
        heirs = {worker.heir for worker in self.workers}
        for spare in [spare for spare in self.spares if spare not in heirs]:
            self.leaving.append(spare)
            spare.state = WorkerState.RETIRING
            self.spares.remove(spare)
            self._part(spare)
        for worker in self.workers:
            if worker.heir is not None and worker.heir not in self.spares:
                worker.heir = None
            if worker.state is WorkerState.STANDBY:
                worker.state = SERVING
            worker.elders = [elder for elder in worker.elders if elder.works]
            for elder in worker.elders:
                elder.heir = worker

    def check(self) -> None:
        """Assert, besides, that each spare is the heir of a worker, and that none is spent."""
        super().check()
        states = {WorkerState.STARTING, WorkerState.STANDBY, WorkerState.STOPPING}
        for spare in self.spares:
            assert spare.state in states
            assert not spare.works
            assert [w.index for w in self.workers if w.heir is spare] == [spare.index]
        assert self.terms is not UNBOUND or not self.spares
        for worker in self.workers:
            assert worker.state is not SERVING or self.left_to(worker) > 0
            assert worker.heir is None or worker.heir in self.spares
            if worker.elders:
                elders = sum(elder.workload for elder in worker.elders)
                assert not worker.works or worker.workload + elders <= self.capacity
                assert not worker.plain or not any(elder.plain for elder in worker.elders)
