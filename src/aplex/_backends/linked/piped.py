"""The PipedLink: a link whose two sides are on one machine: pipes, and memory that both map."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aplex._backends.linked.link import Link
from aplex._common.messages import COROUTINE, LANES, PLAIN
from aplex._wire.borrowed import BorrowedMemory
from aplex._wire.counters import Progress
from aplex._wire.frames import End, Opened, Reader, Writer
from aplex._wire.shared_memory import SharedMemory, make_shared_memory_file
from aplex._worker.child_ends import ChildEnds
from aplex._worker.log_forwarding import ROOM

if TYPE_CHECKING:
    from aplex._backends.linked.logs import Logs
    from aplex._pool.state import PoolWorker


class PipedLink(Link):
    """The parent's side of one worker on this machine.

    Attributes:
        child_ends: The other ends of the channels, until the worker has them.
    """

    child_ends: ChildEnds

    def __init__(
        self,
        arena: SharedMemory | None,
        worker: PoolWorker | None = None,
        logs: Logs | None = None,
        pool: str = "",
        slow_callback: float | None = None,
    ) -> None:
        """Open all channels of a worker, or none.

        Args:
            arena: Where the big arguments are.
            worker: Whose works get them.
            logs: Where its log records go.
            pool: The name of the pool.
            slow_callback: Seconds after which what blocks its event loop is told of.

        Raises:
            OSError: There are too many open files.
        """
        super().__init__(worker, arena)
        with Opened() as opened:
            self._open(opened, arena)
            if logs is not None:
                self.logs, self.child_ends.logs = logs.open(opened)
            self.progress = Progress(room=0 if self.logs is None else ROOM)
        self.progress.page.name(pool, 0 if worker is None else worker.id)
        self.progress.watch_loop(slow_callback)

    def _open(self, opened: Opened, arena: SharedMemory | None) -> None:
        lanes_in: list[End] = []
        lanes_out: list[End] = []
        self.writers = []
        self.readers = []
        for _ in LANES:
            child_in, down = opened.one_way()
            up, child_out = opened.one_way()
            down.set_blocking(False)
            up.set_blocking(False)
            lanes_in.append(child_in)
            lanes_out.append(child_out)
            self.writers.append(Writer(down))
            self.readers.append(Reader(up))
        child_lifeline, self.lifeline = opened.one_way()
        self.lifeline.set_blocking(False)
        self.child_ends = ChildEnds(
            lanes_in[COROUTINE], lanes_out[COROUTINE], lanes_in[PLAIN], lanes_out[PLAIN],
            child_lifeline, None, None,
        )  # fmt: skip
        results = None if arena is None else make_shared_memory_file()
        if arena is not None and results is not None:
            self.child_ends.arena_out = opened.end(results)
            self.child_ends.arena_in = opened.end(arena.end.duplicate())
            self.results = BorrowedMemory(opened.end(results.duplicate()))
