"""What a work can ask about the worker that runs it: `current_worker`.

It is the same for coroutines and plain functions, in processes and in threads. A worker process
knows itself in all its threads; a worker thread only in its own two.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aplex._common.identity import here

if TYPE_CHECKING:
    import asyncio

__all__ = ["CurrentWorker", "current_worker"]


class CurrentWorker:
    """The worker that runs this very work; see `current_worker`.

    Attributes:
        index: Its place in the pool, an int from 0. A worker that replaces another one, for
            whatever reason, has the same.
        name: Its name, unique in the program: that of its process, or of its thread.
        pid: The id of its process; that of the program, if workers are threads.
        state: What its ``lifespan`` has yielded; None if it has none, or is still entering it.
    """

    __slots__ = ("_done", "_loop", "index", "name", "pid", "state")

    def __init__(
        self,
        index: int,
        name: str,
        pid: int,
        loop: Callable[[], asyncio.AbstractEventLoop],
        done: Callable[[], int],
    ) -> None:
        self.index = index
        self.name = name
        self.pid = pid
        self.state: Any = None
        self._loop = loop
        self._done = done

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Its event loop, started if it was not there yet.

        In a plain function use ``asyncio.run_coroutine_threadsafe(…, loop)``: the loop runs in
        another thread.
        """
        return self._loop()

    @property
    def works_done(self) -> int:
        """How many works have ended on it. A chunk of a ``map`` counts as one."""
        return self._done()

    def __repr__(self) -> str:
        """Show which one it is."""
        return f"<CurrentWorker {self.name}, index {self.index}, pid {self.pid}>"


def current_worker() -> CurrentWorker:
    """Return the worker that runs the caller: a work, an ``initializer`` or a ``lifespan``.

    Returns:
        The same object each time, in one worker.

    Raises:
        RuntimeError: No worker runs the caller. As ``asyncio.get_running_loop``, whose manners
            this follows.
    """
    worker = here()
    if worker is None:
        raise RuntimeError(
            "no worker runs this: current_worker() is for works, initializers and lifespans. In "
            "a worker thread it is not known in threads that works start; hand it to them"
        )
    assert isinstance(worker, CurrentWorker)
    return worker
