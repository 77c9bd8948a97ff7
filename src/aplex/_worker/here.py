"""Here: what `aplex.current_worker()` is made of in a worker process."""

from __future__ import annotations

from aplex._common.locks import RLock
from aplex._common.messages import COROUTINE, PLAIN, SINCE

TYPE_CHECKING = False  # from `typing`, which workers need not import
if TYPE_CHECKING:
    from collections.abc import Callable, MutableSequence

    from aplex._worker.loop_thread import LoopThread
    from aplex._worker.plain_lane import PlainLane
    from aplex.workers import CurrentWorker


class Here:
    """Makes what works call their worker, when somebody first asks. Any thread."""

    def __init__(
        self,
        index: int,
        pid: int,
        name: Callable[[], str],
        started: MutableSequence[int] | memoryview,
        plain: PlainLane,
        loop_thread: LoopThread,
    ) -> None:
        """Have been asked by nobody.

        Args:
            index: Of the worker's slot.
            pid: Of its process.
            name: Returns the name of the worker.
            started: Its counters.
            plain: Its plain lane.
            loop_thread: That of its coroutine lane.
        """
        self._index = index
        self._name = name
        self._pid = pid
        self._started = started
        self._plain = plain
        self._loop_thread = loop_thread
        self._worker: CurrentWorker | None = None
        self._lock = RLock()  # for making it

    def worker(self) -> CurrentWorker:
        """Return what works call their worker."""
        if self._worker is None:
            with self._lock:
                if self._worker is None:
                    from aplex.workers import CurrentWorker

                    self._worker = CurrentWorker(
                        self._index,
                        self._name(),
                        self._pid,
                        self._loop_thread.want_loop,
                        self._works_done,
                    )
        return self._worker

    def _works_done(self) -> int:
        started = self._started
        begun = started[COROUTINE] + started[PLAIN] - self._plain.skips
        return begun - bool(started[SINCE]) - self._loop_thread.works_running()
