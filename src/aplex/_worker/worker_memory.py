"""The WorkerMemory: what a worker process shares with its parent, beside the channels.

Big results go into memory that the parent reads, and shared objects are read where the parent has
put them. Each of the two is imported, and made, when it is first wanted.
"""

from __future__ import annotations

from aplex._common.locks import RLock

TYPE_CHECKING = False  # from `typing`, which workers need not import
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from aplex._wire.frames import PipeEnd
    from aplex._wire.shared_objects import Arrivals, SharedObjects
    from aplex._worker.child_ends import ChildEnds
    from aplex._worker.shared_results import SharedResults


class WorkerMemory:
    """The results and the shared objects of one worker, for both of its lanes.

    Attributes:
        arrivals: Knows which shared objects are in their file. None: all are there before they
            are told.
    """

    def __init__(self, ends: ChildEnds, wake: Callable[[], object]) -> None:
        """Have nothing yet.

        Args:
            ends: The files are among them, where there are such.
            wake: Has `freed` and `trim` called soon. Safe in a finalizer.
        """
        self.arrivals: Arrivals | None = None
        self._ends = ends
        self._wake = wake
        self._results: SharedResults | None = None
        self._objects: SharedObjects | None = None
        self._lock = RLock()  # for making these two

    # -- any thread ---------------------------------------------------------------

    def objects(self) -> SharedObjects:
        """Return the shared objects of this worker, none at first."""
        if self._objects is None:
            with self._lock:
                if self._objects is None:
                    from aplex._wire.shared_objects import SharedObjects

                    where = self._ends.arena_in or self._ends.common
                    self._objects = SharedObjects(where, self._wake, self.arrivals)
        return self._objects

    def put(self, payloads: Any) -> Any:
        """Put a big result into shared memory; return where it is, None if there is no room."""
        if self._results is None:
            assert self._ends.arena_out is not None
            self._make_results(self._ends.arena_out)
        assert self._results is not None
        return self._results.put(payloads)

    def keep(self, payloads: Any) -> Any:
        """Copy a big result that is to travel; return what keeps the copy, None if it cannot."""
        if self._results is None:
            from aplex._wire.shared_memory import make_shared_memory_file

            end = make_shared_memory_file()
            if end is None:
                return None
            self._make_results(end)
        assert self._results is not None
        return self._results.keep(payloads)

    def _make_results(self, end: PipeEnd) -> None:
        with self._lock:
            if self._results is None:
                from aplex._worker.shared_results import SharedResults

                self._results = SharedResults(end, self._wake)

    # -- the watcher's thread -----------------------------------------------------

    def freed(self) -> list[int] | None:
        """Return the numbers of shared objects that this worker has nothing of any more."""
        return None if self._objects is None else self._objects.freed()

    def trim(self) -> float | None:
        """Give back memory of results, if it is time to; see `SharedResults.trim`."""
        return None if self._results is None else self._results.trim()

    # -- the end ------------------------------------------------------------------

    def forget(self) -> None:
        """Unmap it all, where no end of a process does that."""
        if self._objects is not None:
            self._objects.forget()
        if self._results is not None:
            self._results.forget()
