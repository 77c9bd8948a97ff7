"""The InterpreterLink: the parent's side of one worker in a subinterpreter."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aplex._backends.linked.piped import PipedLink

if TYPE_CHECKING:
    from aplex._backends.linked.logs import Logs
    from aplex._common.threads import OnceThread
    from aplex._pool.state import PoolWorker
    from aplex._wire.frames import End
    from aplex._wire.shared_memory import SharedMemory


class InterpreterLink(PipedLink):
    """The parent's side of one worker in a subinterpreter.

    Both sides are of one process, so each needs descriptors of its own for what both have.

    Attributes:
        thread: Runs the interpreter.
        left_behind: Whether the worker was given up; it may go on for a while, unheard.
        taken: Whether its end was taken in.
    """

    thread: OnceThread

    def __init__(
        self,
        arena: SharedMemory | None,
        worker: PoolWorker,
        logs: Logs | None,
        pool: str,
        slow_callback: float | None,
        give_up: Callable[[InterpreterLink], None],
    ) -> None:
        """Open all channels of a worker, or none.

        Args:
            arena: Where the big arguments are.
            worker: Whose works get them.
            logs: Where its log records go.
            pool: The name of the pool.
            slow_callback: Seconds after which what blocks its event loop is told of.
            give_up: Called once, by whoever would kill a process; returns at once.

        Raises:
            OSError: There are too many open files.
        """
        super().__init__(arena, worker, logs, pool, slow_callback)
        self._give_up = give_up
        self._name = f"{pool}-{worker.id}"
        self.left_behind = False
        self.taken = False
        progress = self.progress
        assert progress.page.end is not None
        try:
            self._words: End = progress.file.duplicate()
            self._page: End = progress.page.end.duplicate()
        except OSError:
            self.child_ends.close()
            self.close()
            raise
        progress.page.close_file()

    @property
    def described(self) -> str:
        return f"worker interpreter {self._name}"

    def arguments(self) -> tuple[Any, ...]:
        """Return the first three arguments of `_worker.interpreter.main`."""
        ends = self.child_ends
        order = (
            *(ends.coroutines_in, ends.coroutines_out, ends.plain_in, ends.plain_out),
            *(ends.lifeline, ends.arena_in, ends.arena_out, ends.logs),
        )
        fds = tuple(None if end is None else end.fileno() for end in order)
        return fds, self._words.fileno(), self._page.fileno()

    def close_child(self) -> None:
        """Close the worker's ends; its interpreter is gone, or never was."""
        self.child_ends.close()
        self._words.close()
        self._page.close()

    def kill(self) -> None:
        """Give the worker up: it starts nothing any more, and ends when what it runs lets it."""
        left, self.left_behind = self.left_behind, True
        if not left:
            if not self.closed:
                self.progress.leave_behind()
            self._give_up(self)
