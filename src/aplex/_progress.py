"""How far a worker process got, and its last words: memory that outlives it.

Two counters in anonymous shared memory say how many works of each lane a worker
has *started*. Writing one costs nothing on the path of a work; after a death
the parent reads exactly which works may have run, and which may run elsewhere.
The memory has no name, so a crash leaves nothing behind.

Behind the counters, last words can be written, as into a file: the stack that
``faulthandler`` dumps, or the exception that ended a worker which had not begun. It is no
pipe: nobody has to read it, it is never full, and it changes nothing about stderr.
"""

from __future__ import annotations

import mmap
import os
import sys
import tempfile
from typing import Any, Final

from aplex._frames import PipeEnd
from aplex._messages import LANES

_SIZE: Final = mmap.PAGESIZE
_ALL: Final = 2**63 - 1
_LONGEST: Final = 64 * 1024  # bytes of last words that are looked at


class Progress:
    """The counters; travels to a child that is being started."""

    def __init__(self, end: PipeEnd | None = None) -> None:
        self._end = end if end is not None else _anonymous_file()
        self._memory: mmap.mmap | None = None
        if self._end is not None:
            self._memory = mmap.mmap(self._end.fileno(), _SIZE)
            view: Any = memoryview(self._memory).cast("Q")
        else:
            view = [0 for _ in LANES]
        self.started: memoryview | list[int] = view

    def __reduce__(self) -> tuple[Any, ...]:
        return Progress, (self._end,)

    def read(self) -> tuple[int, int]:
        """Return how many works of each lane were started."""
        if self._end is None:  # no shared memory here: any of them may have been
            return _ALL, _ALL
        return self.started[0], self.started[1]

    @property
    def file(self) -> PipeEnd | None:
        """Where last words are to be written; None if there is no shared memory here."""
        return self._end

    def last_words(self) -> str:
        """Return what the worker wrote before it ended."""
        if self._end is None:
            return ""
        return os.pread(self._end.fileno(), _LONGEST, _SIZE).decode(errors="replace").strip()

    def close(self) -> None:
        """Free the memory of this process."""
        if isinstance(self.started, memoryview):
            self.started.release()
        if self._memory is not None:
            self._memory.close()
        if self._end is not None:
            self._end.close()


def _anonymous_file() -> PipeEnd | None:
    if sys.platform == "win32":
        return None
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("aplex", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile() as file:  # unlinked at once
            fd = os.dup(file.fileno())
    os.ftruncate(fd, _SIZE)
    os.lseek(fd, _SIZE, os.SEEK_SET)  # last words come behind the counters
    return PipeEnd(fd)
