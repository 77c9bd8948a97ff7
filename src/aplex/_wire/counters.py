"""How far a worker process got, and its last words: memory that outlives it.

Two counters in anonymous shared memory say how many works of each lane a worker
has *started*. Writing one costs nothing on the path of a work; after a death
the parent reads exactly which works may have run, and which may run elsewhere.
Behind them is when the plain function that runs began, so that the parent knows when
its time is over without asking a worker that may not answer.
The memory has no name, so a crash leaves nothing behind.

Behind the counters, last words can be written, as into a file: the stack that
``faulthandler`` dumps, or the exception that ended a worker which had not begun. It is no
pipe: nobody has to read it, and it changes nothing about stderr. What is longer than the
memory is cut off.
"""

from __future__ import annotations

import faulthandler
import mmap
import os
import sys
from typing import Any, Final

from aplex._common.locks import late_imports
from aplex._common.messages import DOOMED, PLAIN, SINCE
from aplex._wire.frames import PipeEnd

_SIZE: Final = mmap.PAGESIZE
MARK: Final = _SIZE - 8
"""Where in the file is a number that is not 0 if ``faulthandler`` was to write to stderr."""
_LONGEST: Final = 64 * 1024  # bytes of last words


class Progress:
    """The counters; travels to a child that is being started."""

    def __init__(self, end: PipeEnd | None = None) -> None:
        self._end = end if end is not None else _anonymous_file()
        try:
            self._memory = mmap.mmap(self._end.fileno(), _SIZE)
        except OSError:
            self._end.close()
            raise
        self.started = memoryview(self._memory).cast("Q")

    def __reduce__(self) -> tuple[Any, ...]:
        return Progress, (self._end,)

    def read(self) -> tuple[int, int]:
        """Return how many works of each lane were started."""
        return self.started[0], self.started[1]

    def running(self) -> tuple[int, float]:
        """Return the number of the plain function that runs, and since when; see `running_in`."""
        return running_in(self.started)

    def has_started(self, seq: int) -> bool:
        """Whether the plain function of that number was started."""
        return self.started[PLAIN] >= seq

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

    @property
    def file(self) -> PipeEnd:
        """Where last words are to be written."""
        return self._end

    def keep_crashes(self) -> None:
        """In the worker: have the stack of a crash written here, or to stderr if that is wanted.

        Python was told to write it to stderr (``PYTHONFAULTHANDLER``, ``-X dev``) before we were:
        then it stays so in a process of its own; in a forked one the parent shows it there.
        """
        if not faulthandler.is_enabled():
            faulthandler.enable(self._end.fileno(), all_threads=False)
        elif environment_wants_crashes() and not self.is_for_stderr:  # forked: there was no hook
            faulthandler.enable(self._end.fileno())
            self.mark_for_stderr()

    def mark_for_stderr(self) -> None:
        """In the worker: note that the stack of a crash was to be written to stderr."""
        self.started[-1] = 1

    @property
    def is_for_stderr(self) -> bool:
        """Whether the stack of a crash was to be written to stderr."""
        return self.started[-1] != 0

    def last_words(self) -> str:
        """Return what the worker wrote before it ended."""
        words = _read_at(self._end.fileno(), _SIZE, _LONGEST).rstrip(b"\0")
        return words.decode(errors="replace").strip()

    def close(self) -> None:
        """Free the memory of this process."""
        self.started.release()
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


def environment_wants_crashes() -> bool:
    """Whether the environment has enabled ``faulthandler``, which writes to stderr then."""
    wanted = os.environ.get("PYTHONFAULTHANDLER") or "faulthandler" in sys._xoptions  # noqa: SLF001
    return bool(wanted or sys.flags.dev_mode)


def _read_at(fd: int, start: int, size: int) -> bytes:
    if sys.platform == "win32":  # the process that has written has ended: the place is ours to move
        os.lseek(fd, start, os.SEEK_SET)
        return os.read(fd, size)
    return os.pread(fd, size, start)


def _anonymous_file() -> PipeEnd:
    size = _SIZE + _LONGEST  # of which only what is written takes memory
    if sys.platform == "linux" and hasattr(os, "memfd_create"):
        with late_imports.importing:  # a worker makes none
            from aplex._wire.shared_files import make_shared_file
        end = make_shared_file(size)
    else:
        import tempfile

        # It has no name (on Windows: none that outlives its last handle).
        with tempfile.TemporaryFile() as file:
            end = PipeEnd(os.dup(file.fileno()))
        _size(end, size)
    os.lseek(end.fileno(), _SIZE, os.SEEK_SET)  # last words come behind the counters
    return end


def _size(end: PipeEnd, size: int) -> None:
    """Give a file its size, or close it."""
    try:
        os.ftruncate(end.fileno(), size)
    except OSError:
        end.close()
        raise
