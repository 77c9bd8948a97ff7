"""Nesting: works that submit to their own pool, and functions that wait for such works.

Rules of this file: logic only, as in ``_pool``. Called under the Manager's lock.

A plain function of a thread worker may wait for a *coroutine* of its own pool, which runs on
another thread. Meanwhile it holds that for plain functions, its place at the worker and its
place among the works of its key. So there is one rule: what a work has submitted, or waits for,
must be able to start even if none of the functions that wait now goes on. Whoever is about to
break it, by a wait or by a submit, is told. What a coroutine awaits is not known; so it may be
anything that a work has submitted.

Nobody says when a wait is over: a function waits as long as it runs, and anything that it has
waited for is not done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING
from weakref import WeakSet, WeakValueDictionary

from aplex._common.adaptive_limit import AdaptiveLimit
from aplex._common.messages import COROUTINE, PLAIN
from aplex._pool.state import PoolWorker, Work, WorkerState

if TYPE_CHECKING:
    from aplex._pool.pool import Pool


def would_block() -> RuntimeError:
    """Return why a work may not wait for another one of its own pool."""
    return RuntimeError(
        "a work must not block until another work of its own pool is done: when all workers "
        "wait, nobody is left to run it. (A plain function may wait for coroutines.) Make this "
        "work a coroutine function, and await asyncio.wrap_future(future); or use a second "
        "executor"
    )


def would_starve() -> RuntimeError:
    """Return why a function may not wait for a coroutine now, or a work not be submitted."""
    return RuntimeError(
        "a work must not block until another work of its own pool is done if they may wait for "
        "each other: functions that wait for coroutines hold all threads for plain functions, or "
        "all places (max_works_per_worker, max_concurrency), and a work that was submitted by a "
        "work needs one. Make the functions that wait coroutine functions, and await "
        "asyncio.wrap_future(future); or use a second executor"
    )


class Nesting:
    """Knows which functions wait for works of their own pool, and what works have submitted.

    Args:
        pool: Has the works.
        has_started: Whether a worker has started the function of that number.
    """

    def __init__(self, pool: Pool, has_started: Callable[[PoolWorker, int], bool]) -> None:
        self._pool = pool
        self._has_started = has_started
        # The last function of each worker that has waited.
        self._functions: WeakValueDictionary[PoolWorker, Work] = WeakValueDictionary()
        # Works that works have submitted, or wait for, and that are not done. Per lane.
        self._works: tuple[WeakSet[Work], WeakSet[Work]] = (WeakSet(), WeakSet())
        self._limited: WeakSet[Work] = WeakSet()  # of those, who has a max_concurrency
        self._streams: WeakSet[Work] = WeakSet()  # and who may wait for its reader

    def submit(self, work: Work) -> None:
        """Note that a work of the pool submits this one.

        Raises:
            RuntimeError: It might never start.
        """
        held = self._held()
        if held.workers and not held.lets_start(work):
            raise would_starve()
        self._know(work)

    def wait(self, worker: PoolWorker, seq: int, work: Work) -> None:
        """Note that the plain function of that number waits for a work.

        Raises:
            RuntimeError: It might wait for ever.
        """
        function = self._function(worker, seq)
        if work.is_done or (function is not None and work in function.awaits):
            return
        if function is None or work.lane == PLAIN:
            raise would_block()
        waited = _is_waiting(function)
        function.awaits = function.awaits or {}  # its own, and not that of the class
        function.awaits[work] = None
        self._functions[worker] = function
        self._know(work)
        held = self._held(work)
        if held.lets_start(work) and (waited or not any(self._starved(held))):
            return
        del function.awaits[work]
        raise would_starve()

    def starved(self) -> list[Work]:
        """Return the works that cannot start, now that the pool has fewer workers."""
        held = self._held()
        return list(self._starved(held))

    def forget(self, work: Work) -> None:
        """Note that a work was not submitted after all."""
        for works in (*self._works, self._limited, self._streams):
            works.discard(work)

    def _know(self, work: Work) -> None:
        self._works[work.lane].add(work)
        if work.options.max_concurrency is not None:
            self._limited.add(work)
        if work.is_stream:
            self._streams.add(work)

    def _function(self, worker: PoolWorker, seq: int) -> Work | None:
        known = self._functions.get(worker)
        if known is not None and known.seq == seq:
            return known
        for work in worker.works.values():
            if work.lane == PLAIN and work.seq == seq:
                return work
        return None

    def _blocked(self) -> dict[PoolWorker, Work]:
        """Return the functions that wait now, and where."""
        known = list(self._functions.items())
        return {w: work for w, work in known if work.worker is w and _is_waiting(work)}

    def _held(self, awaited: Work | None = None) -> _Held:
        """Return what is held. The stream that is waited for now is read."""
        streams = [stream for stream in self._streams if stream is not awaited]
        return _Held(self._pool, self._blocked(), streams, self._has_started)

    def _starved(self, held: _Held) -> Iterator[Work]:
        """Find works that could not start. Looks through those only that may be among them."""
        sets = [self._limited] if held.keys else []
        if not held.thread_left or held.keeps_works:
            sets.append(self._works[PLAIN])
        if not held.place_left:
            sets.append(self._works[COROUTINE])
        for works in sets if held.workers else ():
            yield from (work for work in works if not held.lets_start(work))


class _Held:
    """What functions that wait hold, and what is left for others.

    Args:
        pool: Has the works.
        blocked: Functions that wait, and where.
        streams: Those that may wait for their reader, which may be one of these functions.
        has_started: As for `Nesting`.
    """

    def __init__(
        self,
        pool: Pool,
        blocked: dict[PoolWorker, Work],
        streams: list[Work],
        has_started: Callable[[PoolWorker, int], bool],
    ) -> None:
        self.workers = blocked
        self._pool = pool
        self._streams = streams
        self._has_started = has_started
        # If the load balancer insists on its choice, it may choose any of them.
        enough = all if pool.keeps_choice else any
        self.thread_left = enough(
            not any(each in blocked for each in (worker, *worker.elders)) for worker in pool.workers
        )
        most = pool.max_works_per_worker
        self.place_left = enough(self._places(worker) < most for worker in pool.workers)
        self.keys = any(
            work.options.max_concurrency is not None for work in (*blocked.values(), *streams)
        )
        self.keeps_works = any(map(self._keeps, blocked))

    def lets_start(self, work: Work) -> bool:
        """Whether a work has started, or can start."""
        worker = work.worker
        if work.is_done:
            return True
        if work.lane == COROUTINE:
            return worker is not None or (self.place_left and self._key_lets_start(work))
        if worker is not None:
            if self._has_started(worker, work.seq):
                return True
            if self._keeps(worker):
                return worker not in self.workers
        return self.thread_left and self._key_lets_start(work)

    def _keeps(self, worker: PoolWorker) -> bool:
        """Whether functions behind the one that runs stay there, and are not recalled."""
        return self._pool.keeps_choice or worker.state is not WorkerState.SERVING

    def _places(self, worker: PoolWorker) -> int:
        """Return how many places at a worker are held, or will be."""
        # A stream that is still to start may do so there.
        together = (worker, *worker.elders)  # of one place
        places = sum(stream.worker in (*together, None) for stream in self._streams)
        for each in together:
            if each in self.workers:
                places += max(each.depth, each.plain) if self._pool.keeps_choice else 1
        return places

    def _key_lets_start(self, work: Work) -> bool:
        bound = work.options.max_concurrency
        if isinstance(bound, AdaptiveLimit):
            bound = bound.least
        if bound is None or not self.workers:
            return True
        assert isinstance(bound, int)
        held = sum(map(self._is_held, self._pool.holders_beside(work)))
        return held + sum(self._may_hold(stream) for stream in self._streams) < bound

    @staticmethod
    def _may_hold(stream: Work) -> bool:
        """Whether a stream is still to start, and may be of any key."""
        return stream.worker is None and stream.options.max_concurrency is not None

    def _is_held(self, work: Work) -> bool:
        """Whether a work that holds a place of its key may hold it for as long as those wait."""
        if work in self._streams:
            return True  # until it is read
        worker = work.worker
        if worker not in self.workers or work.lane != PLAIN:
            return False
        assert worker is not None
        return work is self.workers[worker] or self._keeps(worker)


def _is_waiting(function: Work) -> bool:
    """Whether a function may still wait. Forgets what it has waited for and is done."""
    awaits = function.awaits
    while awaits:
        last = next(reversed(awaits))
        if not last.is_done:
            return True
        del awaits[last]
    return False
