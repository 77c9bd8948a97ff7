"""The pages: what a pool and its workers do, in anonymous memory that whoever may can read.

A pool has a page, which the parent writes, and each worker has one, which that worker writes. They
are *sealed*: none but those two can write there, not even through ``/proc/PID/fd``, where another
process of the same user finds them by their name, ``memfd:aplex-page``. Reading needs no help of
the process that is read: it may compute, hang, or be stopped. The parent has the descriptors of
all of them, so those of a pool are found at one process.

A page of a worker has, after a few words that say what it is: counters (those of
`_common.messages`, and the ones below); a table of names of functions, each with the number under
which calls name it; for each of these two histograms, of waiting and of running. Its size is
fixed; what is not written takes no memory. The order of bytes is the machine's own: no page leaves
it. All numbers are words of 64 bits, which a machine stores at once: a reader may see a moment
between two of them, and never half a number.

`VERSION` grows with each change of the layout. A reader that does not know it says so.

Where there is no such memory, or ``APLEX_PAGE=0``, the same is in memory that has no such name:
statistics work, and nobody else sees anything.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import sys
from collections.abc import Callable
from functools import partial

from aplex._common.histograms import BUCKETS, Timing
from aplex._common.locks import RLock
from aplex._wire.frames import PipeEnd

TYPE_CHECKING = False  # from `typing`, which workers need not import
if TYPE_CHECKING:
    from typing import Final

NAME: Final = "aplex-page"
VERSION: Final = 1
WORKER: Final = int.from_bytes(b"aplex-w\n", "little")
"""The first word of the page of a worker; and, below, of a pool."""
POOL: Final = int.from_bytes(b"aplex-p\n", "little")

# Words at the front of every page.
KIND: Final = 0
LAYOUT: Final = 1
PARENT: Final = 2  # process id of the parent
NUMBER: Final = 3  # of a worker
NAMES: Final = 5  # how many names the table has

COUNTERS: Final = 8
"""Where the counters of a worker begin; the next ones are counted from there."""
COUNTER_COUNT: Final = 24
RUNS: Final = 16
"""Which plain function runs, or ran last: its number, or its place in the table and `PLACE`."""
ALIVE: Final = 17
"""How many coroutines have begun and not ended."""
PLACE: Final = 1 << 48  # more than any number of a function

# Bytes.
POOL_NAME: Final = 512
POOL_NAME_SIZE: Final = 64
TABLE: Final = 4096
ENTRY: Final = 256  # a word with the number of the function, one with the length, the name
LONGEST_NAME: Final = ENTRY - 16
PLACES: Final = 64
OTHERS: Final = "(other functions)"
"""The name of the last place, where all functions are for which there is no place."""
HISTOGRAMS: Final = TABLE + PLACES * ENTRY
PAIR: Final = 2 * 8 * BUCKETS  # one of waiting, one of running
SIZE: Final = HISTOGRAMS + PLACES * PAIR

_FUTURE_WRITE: Final = 0x10  # ``F_SEAL_FUTURE_WRITE``, of Linux 5.1, known to Python since 3.13


class Memory:
    """Memory that is mapped as bytes and as words, until it is closed."""

    __slots__ = ("_map", "bytes", "words")

    def __init__(self, size: int, fd: int = -1, *, writable: bool = True) -> None:
        """Map it. A copy of the descriptor is kept open (by `mmap`): by that others find it.

        Args:
            size: Bytes, a multiple of 8.
            fd: An open file of that size; -1: memory of this process.
            writable: Whether it is written here.

        Raises:
            OSError: It cannot be mapped.
        """
        access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
        self._map = mmap.mmap(fd, size, access=access)
        self.bytes = memoryview(self._map)
        self.words = self.bytes.cast("Q")

    def close(self) -> None:
        """Unmap it; whoever uses a view then gets a ValueError."""
        self.words.release()
        self.bytes.release()
        self._map.close()


class WorkerPage:
    """The page of a worker, on either side of it.

    Attributes:
        counters: Its counters.
        words: All of it.
        is_counted: Whether what it tells was added to what is kept of workers that are gone.
    """

    def __init__(self, end: PipeEnd | None) -> None:
        """Map a page.

        Args:
            end: Its file. None: memory that this process alone has.

        Raises:
            OSError: It cannot be mapped.
        """
        self.end = end
        self.is_counted = False
        self._memory = Memory(SIZE, -1 if end is None else end.fileno())
        self.words = self._memory.words
        self.counters = self.words[COUNTERS : COUNTERS + COUNTER_COUNT]
        self._bytes = self._memory.bytes
        self._lock = RLock()  # for adding names: both lanes do

    # -- in the parent ----------------------------------------------------------

    def name(self, pool: str, number: int) -> None:
        """Write whose page it is, before its worker has it."""
        put_text(self._bytes, POOL_NAME, POOL_NAME_SIZE, pool)
        words = self.words
        words[LAYOUT], words[PARENT], words[NUMBER] = VERSION, os.getpid(), number
        words[KIND] = WORKER

    def timings(self) -> Callable[[], list[Timing]]:
        """Return what returns the histograms of now, by the names of functions."""
        return timings_in(self._bytes)

    def snapshot(self) -> bytes:
        """Return the table and the histograms as they are now, for `restore`."""
        count = min(PLACES, self.words[NAMES])
        names = self._bytes[TABLE : TABLE + ENTRY * count]
        return bytes(names) + bytes(self._bytes[HISTOGRAMS : HISTOGRAMS + PAIR * count])

    def restore(self, snapshot: bytes) -> None:
        """Have here what another page had, that of a worker on another machine."""
        count = min(PLACES, len(snapshot) // (ENTRY + PAIR))
        self._bytes[TABLE : TABLE + ENTRY * count] = snapshot[: ENTRY * count]
        histograms = snapshot[ENTRY * count : (ENTRY + PAIR) * count]
        self._bytes[HISTOGRAMS : HISTOGRAMS + PAIR * count] = histograms
        self.words[NAMES] = count

    def close_file(self) -> None:
        """Close the file, when its worker has it: it stays mapped."""
        if self.end is not None:
            self.end.close()

    def close(self) -> None:
        """Free what this process has of it."""
        self.counters.release()
        self._memory.close()
        self.close_file()

    # -- in the worker ----------------------------------------------------------

    def seal(self) -> None:
        """Have nobody write here who does not yet; close the file, which stays mapped."""
        if self.end is not None:
            seal(self.end.fileno())
            self.close_file()

    def place_of(self, name: str, number: int = 0) -> int:
        """Return the place of a name in the table; take one, if it has none. Any thread.

        Args:
            name: Of a function.
            number: Under which calls name it; 0: it has none.
        """
        with self._lock:
            count = self.words[NAMES]
            if count < PLACES:
                at = TABLE + ENTRY * count
                last = count == PLACES - 1
                put_text(self._bytes, at + 16, LONGEST_NAME, OTHERS if last else name)
                self.words[at // 8] = 0 if last else number
                self.words[NAMES] = count + 1
        return min(count, PLACES - 1)


def make_page_file(size: int, name: str = NAME) -> PipeEnd:
    """Return a new anonymous file of a size that nobody can change.

    Args:
        size: Bytes.
        name: By which others find it.

    Raises:
        OSError: There are too many open files; or there is no such memory here.
    """
    if sys.platform == "linux" and hasattr(os, "memfd_create"):
        end = PipeEnd(os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING))
        try:
            os.ftruncate(end.fileno(), size)
            from fcntl import F_ADD_SEALS, F_SEAL_GROW, F_SEAL_SHRINK, fcntl

            fcntl(end.fileno(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW)
        except BaseException:
            end.close()
            raise
        return end
    raise OSError(f"no anonymous files in memory here: {name}, {size} bytes")


def make_own_page_file() -> PipeEnd:
    """Return a new file for the page of a worker, which others find unless they may not.

    Raises:
        OSError: There are too many open files; or there is no such memory here.
    """
    return make_page_file(SIZE, NAME if is_shown() else "aplex")


def seal(fd: int) -> None:
    """Have nobody write into a file who has not mapped it yet, where the kernel can."""
    if sys.platform == "linux":
        from fcntl import F_ADD_SEALS, F_SEAL_SEAL, fcntl

        with contextlib.suppress(OSError):  # before 5.1; or it is no such file
            fcntl(fd, F_ADD_SEALS, _FUTURE_WRITE)
        with contextlib.suppress(OSError):
            fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL)


def is_shown() -> bool:
    """Whether others may see the pages: not with ``APLEX_PAGE=0``."""
    return os.environ.get("APLEX_PAGE", "") != "0" and sys.platform == "linux"


def put_text(memory: memoryview, at: int, size: int, text: str) -> None:
    """Write a word with the length of a text, and the text before it is seen: at ``at``.

    The length stands in the word before ``at``.
    """
    data = text.encode(errors="replace")[:size]
    memory[at : at + len(data)] = data
    memory[at - 8 : at] = len(data).to_bytes(8, sys.byteorder)


def text_at(memory: memoryview, at: int, size: int) -> bytes:
    """Return what `put_text` has written."""
    length = int.from_bytes(memory[at - 8 : at], sys.byteorder)
    return bytes(memory[at : at + min(length, size)])


def timings_in(memory: memoryview) -> Callable[[], list[Timing]]:
    """Return what returns the histograms that a page has now, by the names of functions.

    They are copied at once, and taken apart when somebody wants to see them.
    """
    count = min(PLACES, int.from_bytes(memory[8 * NAMES : 8 * NAMES + 8], sys.byteorder))
    names = bytes(memory[TABLE : TABLE + ENTRY * count])
    return partial(_timings, names, bytes(memory[HISTOGRAMS : HISTOGRAMS + PAIR * count]))


def _timings(names: bytes, histograms: bytes) -> list[Timing]:
    table = memoryview(names)
    return [
        (
            text_at(table, ENTRY * place + 16, LONGEST_NAME),
            histograms[PAIR * place : PAIR * (place + 1)],
        )
        for place in range(len(names) // ENTRY)
    ]
