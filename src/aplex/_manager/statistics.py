"""Makes the snapshot of ``pool.stats()``.

No lock is taken: whoever asks must not wait for a load balancer of the user's, nor for a thread
that was stopped in the middle of a step. So everything is read by copies that no other thread
gets into (`list` of a dictionary), and what may be gone meanwhile is asked for carefully.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aplex._common.messages import PLAIN
from aplex._common.names import described
from aplex._pool.pool import Pool
from aplex._pool.state import PoolWorker, Work
from aplex.statistics import LimitStats, RunningFunction, WorkerStats

if TYPE_CHECKING:
    from aplex._backends.contract import Backend


def workers_of(pool: Pool, backend: Backend, now: float) -> tuple[WorkerStats, ...]:
    """Return what is known of each worker at that time.

    Args:
        pool: Whose workers.
        backend: Knows what they run.
        now: Seconds, on the monotonic clock.
    """
    # One that is being retired, or replaced, is in two of the lists for a moment.
    everyone = dict.fromkeys([*pool.workers, *pool.spares, *pool.leaving])
    workers = (_stats_of(worker, backend, now) for worker in everyone)
    return tuple(sorted(workers, key=lambda worker: (worker.slot, worker.id)))


def limits_of(pool: Pool, now: float) -> tuple[LimitStats, ...]:
    """Return what is known of each bound that follows what is borne."""
    return tuple(
        LimitStats(
            key=described(key) if callable(key) else str(key),
            limit=group.adaptation.limit,
            running=group.held,
            refused=group.adaptation.refused,
            paused=max(0.0, group.paused_until - now),
        )
        for key, group in pool.adaptations()
        if group.adaptation is not None
    )


def _stats_of(worker: PoolWorker, backend: Backend, now: float) -> WorkerStats:
    works = list(worker.works.values())
    pid = worker.pid  # none of threads; that of this process has all of it
    return WorkerStats(
        slot=worker.index,
        id=worker.id,
        pid=pid,
        state=worker.state.value,
        in_flight=len(works),
        coroutines=max(0, len(works) - worker.plain),
        running=_running(worker, works, backend, now),
        done=max(0, worker.seqs[0] + worker.seqs[1] - worker.given_back - len(works)),
        uptime=max(0.0, now - worker.born),
        rss=backend.resident(worker),
        loop_lag=max(backend.turns(worker)),
        node=worker.node,
        connect=worker.way,
    )


def _running(
    worker: PoolWorker, works: list[Work], backend: Backend, now: float
) -> RunningFunction | None:
    try:
        seq, since = backend.running(worker)
    except ValueError:  # its memory was freed just now: it has died
        return None
    if not seq:
        return None
    for work in works:
        target = work.target  # it is taken away when the work ends
        if work.seq == seq and work.lane == PLAIN and target is not None:
            return RunningFunction(work.id, work.name, since, max(0.0, now - since))
    return None  # it has ended just now, and its report was taken in
