"""The invariants of the Pool, named on top of ``_pool.py``; and some finer ones."""

from __future__ import annotations

from aplex._common.messages import LANES
from aplex._pool.pool import SUSPECT, SUSPECTS, Pool
from aplex._pool.state import IN_FLIGHT, WAITING, WorkerState


def check(pool: Pool) -> None:
    """Assert what must hold between two events."""
    waiting = [w for line in pool._lines for w in line if w.state is WAITING]
    pinned = [
        w for worker in pool.workers for line in worker.pinned for w in line if w.state is WAITING
    ]
    apart = pool._limits.waiting
    assert pool._waiting == len(waiting) + len(pinned) + len(apart)
    assert all(w.worker is None for w in [*waiting, *pinned, *apart])
    assert all(w.state is WAITING and w.apart for w in apart)
    assert not apart.intersection(waiting + pinned)
    assert not apart or pool._limits.first(pool._places()) is None
    assert pool._aboard == sum(worker.workload for worker in pool.everyone())
    for worker in pool.everyone():
        assert 0 <= worker.workload <= pool.max_works_per_worker
        assert worker.plain == sum(w.lane for w in worker.works.values())
        assert all(w.state is IN_FLIGHT for w in worker.works.values())
        assert all(w.worker is worker for w in worker.works.values())
    for lane in LANES:
        rooms = [worker for worker in pool.workers if worker.room[lane]]
        assert set(pool._open[lane]) == set(rooms)
        assert not rooms or not any(w.state is WAITING for w in pool._lines[lane])
        for worker in pool.workers:
            room = worker.state is WorkerState.SERVING and worker.workload < pool._limit
            assert worker.room[lane] is (room and (not lane or worker.plain < worker.depth))
            assert not worker.room[lane] or not any(w.state is WAITING for w in worker.pinned[lane])
    assert pool._lined_up or all(worker.plain <= 1 for worker in pool.workers)
    _check_suspects(pool)
    _check_workers(pool)
    if pool.closing and pool.idle and not pool.terminating:
        assert all(worker.state is WorkerState.STOPPING for worker in pool.workers)
    if pool.broken:
        assert not pool._waiting
        assert not pool.workers


def _check_suspects(pool: Pool) -> None:
    aboard = [w for worker in pool.everyone() for w in worker.works.values()]
    for work in aboard + [w for line in pool._lines for w in line]:
        assert len(work.deaths) < work.options.quarantine_after
        assert len(work.deaths) <= work.options.retries
    for worker in pool.everyone():
        suspects = [w.id for w in worker.works.values() if len(w.deaths) >= SUSPECT]
        assert suspects in ([], [worker.suspect])
    head = pool._head(pool._lines[SUSPECTS])
    for worker in pool.workers:
        if head is not None and worker.room[head.lane]:
            assert worker.suspect in worker.works


def _check_workers(pool: Pool) -> None:
    states = [worker.state for worker in pool.leaving]
    assert set(states) <= {WorkerState.RETIRING, WorkerState.STOPPING}
    for worker in pool.leaving:
        assert bool(worker.works) is (worker.state is WorkerState.RETIRING)
        assert worker.room == [False, False]
        assert not any(worker.pinned)
    assert pool._starting == sum(w.state is WorkerState.STARTING for w in pool.workers)
    worn = sum(worker.due_for_recycling for worker in pool.workers)
    assert len(pool.workers) - worn <= pool.size
    serving = sum(w.state is WorkerState.SERVING for w in pool.workers)
    assert not worn or serving <= pool.size
    assert pool._pauses >= 0
    if pool.wants_workers and pool.workers and not pool.policy.failures:
        assert pool._missing() <= 0
