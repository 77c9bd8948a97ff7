"""The LogPlace: what log records of a worker process say of where they come from.

Imported with what forwards them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aplex._worker.loop_thread import LoopThread


class LogPlace:
    """One worker, as its log records show it. Any thread."""

    def __init__(self, index: int, pid: int, loop_thread: LoopThread) -> None:
        """Know the worker.

        Args:
            index: Of its slot.
            pid: Of its process.
            loop_thread: That of its coroutine lane.
        """
        self._index = index
        self._pid = pid
        self._loop_thread = loop_thread

    def of_record(self) -> dict[str, Any]:
        """Return what a record that this thread logs says of its place."""
        from aplex._worker.whose_work import work_here

        lane = self._loop_thread.lane
        work_id, name = work_here(None if lane is None else lane.task_of)
        return {
            "worker_index": self._index,
            "worker_pid": self._pid,
            "work_id": work_id,
            "work_name": name,
        }
