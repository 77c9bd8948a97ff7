"""The ProcessLink: the parent's side of one worker process, its pipes and its shared memory."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from aplex._backends.linked.piped import PipedLink
from aplex._wire.frames import End, PipeEnd
from aplex._wire.shared_memory import SharedMemory
from aplex._worker import (
    coroutine_pipes,  # noqa: F401 - forked workers have it at once  # pyright: ignore[reportUnusedImport]
)

if TYPE_CHECKING:
    from aplex._backends.linked.logs import Logs
    from aplex._pool.state import PoolWorker


class ProcessLink(PipedLink):
    """The parent's side of one worker process.

    Attributes:
        process: A ``multiprocessing.Process``.
        peak_rss: Bytes, known after its end.
        pidfd: By which its end is told, where there is such.
    """

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
        super().__init__(arena, worker, logs, pool, slow_callback)
        self.process: Any = None
        self.peak_rss: int | None = None
        self.pidfd: PipeEnd | None = None

    @property
    def described(self) -> str:
        return f"worker process {self.process.pid}"

    def ends(self) -> Iterator[End]:
        yield from super().ends()
        if self.pidfd is not None:
            yield self.pidfd

    def kill(self) -> None:
        """Kill the process, which was started; it may have ended by now."""
        with contextlib.suppress(OSError, ValueError):  # its end is known
            if (
                sys.platform == "linux" and self.pidfd is not None
            ):  # its number may be another's by now
                signal.pidfd_send_signal(self.pidfd.fileno(), signal.SIGKILL)
            else:
                self.process.kill()
