"""Finds the pages of a process and reads them, without its help. See `_wire.page`.

Whoever may look at what a process has open (``/proc/PID/fd``) may read: the same user, and root.
Nothing is written, no signal is sent, and nothing changes in the process.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from aplex._cli.processes import Process, look_at, own_number, processes_of
from aplex._common.messages import COROUTINE, PLAIN, SINCE
from aplex._wire import page, pool_page
from aplex._wire.counters import turns_in
from aplex._wire.page import Memory

LINK: Final = f"/memfd:{page.NAME}"
LOOKS: Final = 20
"""How often to look for a moment between two steps, before one in the middle will do."""


class Refused(Exception):  # noqa: N818 - it says what happened
    """A process may not be looked at, or has nothing to see; the message says why."""


@dataclass(slots=True)
class Pages:
    """The pages of one process.

    Attributes:
        process: The process, as it was when they were opened.
        pools: Of its pools, by their names.
        workers: Of their workers, by the name of the pool and the number of the worker.
        foreign: How many there are whose layout this version does not know.
    """

    process: Process
    pools: dict[str, Memory] = field(default_factory=dict)
    workers: dict[tuple[str, int], Memory] = field(default_factory=dict)
    foreign: int = 0
    _there: set[tuple[int, int]] = field(default_factory=set)

    @property
    def is_there(self) -> bool:
        """Whether the process is still that one: another may have its number by now."""
        now = look_at(self.process.pid)
        return now is not None and now.began == self.process.began and now.state not in "ZX"

    def find(self) -> None:
        """Open the pages that are new; forget those that are gone.

        Raises:
            Refused: The process may not be looked at, or is gone.
        """
        there: dict[tuple[int, int], str] = {}
        for path in descriptors_of(self.process.pid):
            with contextlib.suppress(OSError):  # closed just now
                if os.readlink(path).startswith(LINK):  # noqa: PTH115 - a path of text
                    status = os.stat(path)  # noqa: PTH116 - the same
                    there.setdefault((status.st_dev, status.st_ino), path)
        if there.keys() == self._there:
            return
        self.close()
        self._there = set(there)
        number = own_number(self.process.pid)
        for path in there.values():
            with contextlib.suppress(OSError, ValueError):
                self._open(path, number)

    def _open(self, path: str, number: int) -> None:
        fd = os.open(path, os.O_RDONLY)
        try:
            memory = Memory(os.fstat(fd).st_size, fd, writable=False)
        finally:
            os.close(fd)
        words = memory.words
        kind, layout, parent = words[page.KIND], words[page.LAYOUT], words[page.PARENT]
        if kind not in (page.POOL, page.WORKER) or parent != number:
            memory.close()  # that of another process, which has forked this one
        elif layout != page.VERSION:
            self.foreign += kind == page.POOL
            memory.close()
        else:
            name = text(memory, page.POOL_NAME, page.POOL_NAME_SIZE)
            if kind == page.POOL:
                self.pools[name] = memory
            else:
                self.workers[name, words[page.NUMBER]] = memory

    def close(self) -> None:
        """Unmap them all."""
        for memory in (*self.pools.values(), *self.workers.values()):
            memory.close()
        self.pools.clear()
        self.workers.clear()
        self._there = set()
        self.foreign = 0


def descriptors_of(pid: int) -> Iterator[str]:
    """Yield the paths of what a process has open.

    Raises:
        Refused: It may not be looked at, or is gone.
    """
    folder = f"/proc/{pid}/fd"
    try:
        names = os.listdir(folder)  # noqa: PTH208 - it may have thousands
    except PermissionError:
        raise Refused(
            f"process {pid} is another user's, or closed to others: only its user and root "
            "may look at it"
        ) from None
    except (FileNotFoundError, NotADirectoryError):
        raise Refused(f"there is no process {pid}") from None
    except OSError as error:  # it ends just now
        raise Refused(f"process {pid} cannot be looked at: {error}") from None
    return (f"{folder}/{name}" for name in names)


def open_pages(pid: int) -> Pages:
    """Return the pages of a process; it may have none.

    Raises:
        Refused: It may not be looked at, or there is none.
    """
    process = look_at(pid)
    if process is None:
        raise Refused(f"there is no process {pid}")
    pages = Pages(process)
    pages.find()
    return pages


def all_pages() -> list[Pages]:
    """Return the pages of all processes of this user that have pools."""
    found: list[Pages] = []
    for pid in processes_of(_user()):
        if pid == os.getpid():
            continue
        try:
            pages = open_pages(pid)
        except Refused:  # it has ended just now, or is closed to everybody
            continue
        if pages.pools or pages.foreign:
            found.append(pages)
        else:
            pages.close()
    return found


def text(memory: Memory, at: int, size: int) -> str:
    """Return a text of a page, of which nothing can command a terminal."""
    found = page.text_at(memory.bytes, at, size).decode(errors="replace")
    return "".join(letter if letter.isprintable() else "?" for letter in found)


def counts_of(memory: Memory) -> tuple[int, ...]:
    """Return the counts of a pool, of one step if that can be; see `pool_page.COUNTS`."""
    counts: tuple[int, ...] = ()
    for _ in range(LOOKS):
        counts = pool_page.COUNTS.unpack_from(memory.bytes, pool_page.COUNTS_AT)
        if counts[0] == counts[-1]:
            break
        time.sleep(0)
    return counts


def running_in(memory: Memory) -> tuple[str, int]:
    """Return the name of the function that runs in a worker, and since when in nanoseconds.

    Returns:
        An empty name if none runs.
    """
    counters = page.COUNTERS
    words = memory.words
    for _ in range(LOOKS):
        number, since, runs = (words[counters + at] for at in (PLAIN, SINCE, page.RUNS))
        if number == words[counters + PLAIN]:
            break
    else:
        return "", 0
    return (name_of(memory, runs), since) if since else ("", 0)


def name_of(memory: Memory, runs: int) -> str:
    """Return the name of what `page.RUNS` says."""
    words = memory.words
    count = min(words[page.NAMES], page.PLACES)
    place = runs - page.PLACE
    if runs < page.PLACE:
        numbers = [words[(page.TABLE + page.ENTRY * at) // 8] for at in range(count)]
        place = numbers.index(runs) if runs in numbers else page.PLACES - 1
    if not 0 <= place < count:
        return page.OTHERS
    return text(memory, page.TABLE + page.ENTRY * place + 16, page.LONGEST_NAME)


def begun_in(memory: Memory) -> tuple[int, int, int]:
    """Return how many coroutines and functions a worker has started, and how many live."""
    words, at = memory.words, page.COUNTERS
    return words[at + COROUTINE], words[at + PLAIN], words[at + page.ALIVE]


if sys.platform == "win32":

    def _user() -> int:
        return 0  # nobody: there is no such number, and no ``/proc``

else:
    _user = os.geteuid


def lag_in(memory: Memory, now: float) -> float:
    """Return the seconds that a coroutine waits for its turn in a worker's loop.

    Args:
        memory: The page of the worker.
        now: The time, on the monotonic clock.
    """
    at = page.COUNTERS
    return max(turns_in(memory.words[at : at + page.COUNTER_COUNT], now))
