"""Works that submit to their own pool, and wait for it: which of them may.

`_pool.nesting` decides; here it is asked, under the lock. It is the workers of
`ThreadAsyncPoolExecutor` that can do this: they live in the process of their pool.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

from aplex._backends.contract import Backend
from aplex._manager.lifecycle import Lifecycle
from aplex._manager.steps import Phase
from aplex._pool.nesting import Nesting, would_block, would_starve
from aplex._pool.pool import Pool
from aplex._pool.state import PoolWorker, Work

Loop = asyncio.AbstractEventLoop


class Nested(Lifecycle):
    """Refuses what a work must not do with its own pool, because both would wait for ever."""

    def __init__(
        self,
        pool: Pool,
        backend: Backend,
        name: str,
        exit_grace: float,
        start_timeout: float | None,
    ) -> None:
        super().__init__(pool, backend, name, exit_grace, start_timeout)
        self._in_threads = backend.in_threads  # works may wait for works
        self._nesting = Nesting(pool, backend.has_started)

    def check_may_block(self, work: Any) -> None:
        """Note that a work of this pool is about to wait for another one, if the caller is one.

        No step: the caller may have the locks of futures.

        Raises:
            RuntimeError: It might wait for ever.
        """
        if not self._backend.runs_current_thread():
            return
        awaited = work.awaited()
        if awaited is None:
            return
        try:
            with self._lock:
                nested = self._stepping
                self._stepping = True  # a finalizer that breaks in only asks
                try:
                    self._note_wait(awaited, None if nested else self._backend.function_here())
                finally:
                    self._stepping = nested
        finally:
            if self._put_off:
                self._listener.call_soon(partial(self._step, None))

    def take_nested(
        self, take: Callable[[Work, Loop | None], None], work: Work, loop: Loop | None
    ) -> None:
        """Take in what a work of this pool submits.

        Args:
            take: Takes in any work.
            work: The new one.
            loop: The running loop, if the work's future belongs to it.

        Raises:
            RuntimeError: It might never start, and others wait for it. Or as for ``take``.
        """
        self.within(partial(self._nesting.submit, work))
        try:
            take(work, loop)
        except BaseException:
            self.within(partial(self._nesting.forget, work))
            raise

    def warn_of_nesting(self, *, limited: bool) -> None:
        """Warn a work of ours that submits one if that may have to wait until it is done itself.

        Not a plain function: it cannot await, and is told when it is about to block.

        Args:
            limited: Whether the new work has a limit of its own.
        """
        awaits = self._backend.function_here() is None
        if awaits and (limited or self.within(self.pool.is_full)):
            limit = "max_concurrency" if limited else "max_works_per_worker"
            warnings.warn(
                f"a work submits to its own pool, and {limit} may let the new one wait until it "
                "is done itself: if it awaits it, both wait for ever. Raise the limit, or use a "
                "second executor",
                RuntimeWarning,
                stacklevel=4,
            )

    def _note_wait(self, awaited: Work, function: tuple[PoolWorker, int] | None) -> None:
        if function is not None:
            self._nesting.wait(*function, awaited)
        elif not awaited.is_done:
            raise would_block()

    def _resize(self, size: int) -> None:
        if self._phase is Phase.RUNNING:
            self.pool.resize(size)
            for work in self._nesting.starved():
                self.pool.expire(work, would_starve())
        elif self._phase is Phase.NEW:
            self.pool.size = size
