"""How far a worker process got, and its last words: memory that outlives it.

Two counters in anonymous shared memory, on the `page` of the worker, say how many works of
each lane it has *started*. Writing one costs nothing on the path of a work; after a death
the parent reads exactly which works may have run, and which may run elsewhere.
Behind them is when the plain function that runs began, so that the parent knows when
its time is over without asking a worker that may not answer; and since when the event loop
has not waited, and how long its turns take.
The memory has no name, so a crash leaves nothing behind.

Behind the counters, last words can be written, as into a file: the stack that
``faulthandler`` dumps, or the exception that ended a worker which had not begun. It is no
pipe: nobody has to read it, and it changes nothing about stderr. What is longer than the
memory is cut off. Behind that there may be room for what a worker that ends could not send.
"""

from __future__ import annotations

import mmap
import os
import sys

from aplex._common.locks import late_imports
from aplex._common.messages import (
    DOOMED,
    LEFT,
    LEFT_BEHIND,
    LOGGED,
    PLAIN,
    RECORDING,
    SINCE,
    SLOW,
    TURN_ENDED,
    TURN_LAG,
    TURN_SINCE,
)
from aplex._wire.frames import Bytes, PipeEnd
from aplex._wire.page import SIZE, WorkerPage, make_own_page_file

TYPE_CHECKING = False  # from `typing`, which workers need not import
if TYPE_CHECKING:
    from typing import Any, Final

_SIZE: Final = mmap.PAGESIZE
MARK: Final = _SIZE - 8
"""Where in the file is a number that is not 0 if ``faulthandler`` was to write to stderr."""
_LONGEST: Final = 64 * 1024  # bytes of last words
_BEHIND: Final = _SIZE + _LONGEST  # where what is left behind begins


class Progress:
    """The counters; travels to a child that is being started."""

    def __init__(
        self, end: PipeEnd | None = None, page: PipeEnd | None = None, *, room: int = 0
    ) -> None:
        """Make the memory, or map it.

        Args:
            end: The file for last words. None: a new one, and a new page.
            page: The file of the page in which the counters are.
            room: Bytes that may be left behind, if the system allows a file of that size.

        Raises:
            OSError: There are too many open files.
        """
        if end is None:
            end, page = words_file(room), None
        self._end = end
        try:
            if page is None:
                page = _page_file()
            self._memory = mmap.mmap(end.fileno(), _SIZE)
            self._words = memoryview(self._memory).cast("Q")
            self.page = WorkerPage(page)
        except OSError:
            for file in (end, page):
                if file is not None:
                    file.close()
            raise
        self.started: memoryview = self.page.counters

    def __reduce__(self) -> tuple[Any, ...]:
        return Progress, (self._end, self.page.end)

    def read(self) -> tuple[int, int]:
        """Return how many works of each lane were started."""
        return self.started[0], self.started[1]

    def running(self) -> tuple[int, float]:
        """Return the number of the plain function that runs, and since when; see `running_in`."""
        return running_in(self.started)

    def watch_loop(self, slow: float | None) -> None:
        """In the parent, before the worker begins: say after how many seconds a turn is slow."""
        self.started[SLOW] = 0 if slow is None else int(slow * 1e9)

    def turns(self, now: float) -> tuple[float, float]:
        """Return how long turns of the event loop take, see `turns_in`."""
        return turns_in(self.started, now)

    def has_started(self, seq: int) -> bool:
        """Whether the plain function of that number was started."""
        return self.started[PLAIN] >= seq

    def logged(self) -> int:
        """Return how many log records the worker has had to forward."""
        return self.started[LOGGED]

    def leave(self, data: Bytes) -> None:
        """In a worker that ends: leave data to the parent, behind what was left before.

        Raises:
            OSError: There is no room for it.
        """
        at = self.started[LEFT]
        if _BEHIND + at + len(data) > os.fstat(self._end.fileno()).st_size:
            raise OSError("no room to leave data behind")
        # First: a signal handler that breaks in from here writes behind it.
        self.started[LEFT] = at + len(data)
        _write_at(self._end.fileno(), data, _BEHIND + at)

    def left(self) -> bytes:
        """Return what a worker that has ended has left behind."""
        if not self.started[LEFT]:
            return b""
        return _read_at(self._end.fileno(), _BEHIND, self.started[LEFT])

    def leave_behind(self) -> None:
        """Have the worker start nothing any more, for good: it cannot be killed, and is given up.

        What it has started is to be read after this: the worker writes that it starts something,
        then looks here.
        """
        self.started[LEFT_BEHIND] = 1
        self.started[DOOMED] = 1

    def doom(self, seq: int) -> bool:
        """Keep the worker from starting functions, if that of this number is the one that runs.

        The worker writes that it starts one, then looks at the flag; we set the flag, then look
        what it has started: one of us sees what the other did.
        """
        self.started[DOOMED] = 1
        if self.running()[0] == seq:
            return True
        self.started[DOOMED] = 0
        return False

    def record(self, level: int) -> None:
        """Have the worker note when works begin and end, from its next frame on; 0: no more."""
        self.started[RECORDING] = level

    @property
    def file(self) -> PipeEnd:
        """Where last words are to be written."""
        return self._end

    def keep_crashes(self) -> None:
        """In the worker: have the stack of a crash written here, or to stderr if that is wanted.

        Python was told to write it to stderr (``PYTHONFAULTHANDLER``, ``-X dev``) before we were:
        then it stays so in a process of its own; in a forked one the parent shows it there.
        """
        import faulthandler  # which subinterpreters refuse

        if not faulthandler.is_enabled():
            faulthandler.enable(self._end.fileno(), all_threads=False)
        elif environment_wants_crashes() and not self.is_for_stderr:  # forked: there was no hook
            faulthandler.enable(self._end.fileno())
            self.mark_for_stderr()

    def mark_for_stderr(self) -> None:
        """In the worker: note that the stack of a crash was to be written to stderr."""
        self._words[-1] = 1

    @property
    def is_for_stderr(self) -> bool:
        """Whether the stack of a crash was to be written to stderr."""
        return self._words[-1] != 0

    def last_words(self) -> str:
        """Return what the worker wrote before it ended."""
        words = _read_at(self._end.fileno(), _SIZE, _LONGEST).rstrip(b"\0")
        return words.decode(errors="replace").strip()

    def close(self) -> None:
        """Free the memory of this process."""
        self.page.close()
        self._words.release()
        self._memory.close()
        self._end.close()


def running_in(started: memoryview | list[int]) -> tuple[int, float]:
    """Return the number of the plain function that runs, and since when on the monotonic clock.

    Returns:
        Zeros if none runs.
    """
    while True:
        seq, since = started[PLAIN], started[SINCE]
        if seq == started[PLAIN]:  # else the next one has started between the two
            return (seq, since / 1e9) if since else (0, 0.0)


LAG_HALVES: Final = 0.2
"""Seconds in which the lag of a loop that waits is taken for half as long."""


def turns_in(started: memoryview | list[int], now: float) -> tuple[float, float]:
    """Return how long the turn of a worker's loop has taken that runs, and how long they take.

    Args:
        started: The counters of the worker.
        now: The time, on the monotonic clock.

    Returns:
        Seconds by now, 0.0 if the loop waits; and seconds lately.
    """
    since, ended, lag = started[TURN_SINCE], started[TURN_ENDED], started[TURN_LAG] / 1e9
    if since:
        return max(0.0, now - since / 1e9), lag
    return 0.0, lag * float(0.5 ** (max(0.0, now - ended / 1e9) / LAG_HALVES))


def environment_wants_crashes() -> bool:
    """Whether the environment has enabled ``faulthandler``, which writes to stderr then."""
    wanted = os.environ.get("PYTHONFAULTHANDLER") or "faulthandler" in sys._xoptions  # noqa: SLF001
    return bool(wanted or sys.flags.dev_mode)


def _page_file() -> PipeEnd:
    if sys.platform == "linux" and hasattr(os, "memfd_create"):
        return make_own_page_file()
    return _nameless_file(SIZE)


def _read_at(fd: int, start: int, size: int) -> bytes:
    if sys.platform == "win32":  # the process that has written has ended: the place is ours to move
        os.lseek(fd, start, os.SEEK_SET)
        return os.read(fd, size)
    return os.pread(fd, size, start)


def _write_at(fd: int, data: Bytes, start: int) -> None:
    if sys.platform == "win32":  # the place is where last words come
        with mmap.mmap(fd, 0) as memory:
            memory[start : start + len(data)] = data
    else:
        os.pwrite(fd, data, start)


def words_file(room: int = 0) -> PipeEnd:
    """Return a new file for last words.

    Args:
        room: Bytes that may be left behind, if the system allows a file of that size.
    """
    size = _BEHIND  # of which only what is written takes memory
    if sys.platform == "linux" and hasattr(os, "memfd_create"):
        with late_imports.importing:  # a worker makes none
            from aplex._wire.shared_files import make_shared_file
        end = make_shared_file(size + room, size)
    else:
        end = _nameless_file(size + room, size)
    os.lseek(end.fileno(), _SIZE, os.SEEK_SET)  # last words come behind the counters
    return end


def _nameless_file(*sizes: int) -> PipeEnd:
    """Return a new file of the first of these sizes that the system allows."""
    import tempfile

    # It has no name (on Windows: none that outlives its last handle).
    with tempfile.TemporaryFile() as file:
        end = PipeEnd(os.dup(file.fileno()))
    for size in sizes:
        try:
            os.ftruncate(end.fileno(), size)
        except OSError:
            if size == sizes[-1]:
                end.close()
                raise
        else:
            break
    return end
