"""Dumps for `aplex dump`: a signal asks for one, and its text lies in memory that the tool reads.

The handler only asks the listeners of the pools, which takes no lock: it may have broken into
anything. They ask the workers, and write what is told a second later at the latest. So a dump comes
also while the main thread waits for a lock or a result, or computes in Python; not while it is in
code of C that returns to Python late, as then no handler is called.

The handler stays when the pools are gone, and does nothing then but what the one before it did.
"""

from __future__ import annotations

import os
import signal
import sys
import weakref
from collections.abc import Callable
from types import FrameType
from typing import Any, Final, Protocol

from aplex._wire.dump_page import COUNT, CUT, DUMP, MOST, NAME, SIGNAL, SIZE, TEXT
from aplex._wire.page import (
    KIND,
    LAYOUT,
    PARENT,
    POOL_NAME,
    POOL_NAME_SIZE,
    VERSION,
    Memory,
    is_shown,
    make_page_file,
    put_text,
    seal,
)

TIMEOUT: Final = 1.0
"""Seconds that workers have to answer."""

_pools: dict[int, weakref.WeakSet[Dumps]] = {}
_before: dict[int, Any] = {}  # handlers that were there


class Dumps(Protocol):
    """What dumps: the manager of a pool."""

    dump_signal: int | None

    def dump_soon(self) -> None:
        """Have a dump written where others read it. Only asks."""


def dump_on(number: int, manager: Dumps) -> None:
    """Have a pool dump when that signal comes. On the main thread.

    Raises:
        ValueError: There is no such signal; or it cannot be handled, or not by this thread.
    """
    try:
        here = signal.getsignal(number)
        if here is not _handle:
            signal.signal(number, _handle)
            _before[number] = here
    except (ValueError, OSError) as error:
        raise ValueError(f"dump_signal={number!r}: no handler can be set: {error}") from error
    _pools.setdefault(number, weakref.WeakSet()).add(manager)
    manager.dump_signal = number


def _handle(number: int, frame: FrameType | None) -> None:
    for manager in list(_pools.get(number, ())):
        manager.dump_soon()
    before: Callable[[int, FrameType | None], object] | Any = _before.get(number)
    if callable(before):
        before(number, frame)


class DumpPage:
    """The memory with the text of the last dump of a pool."""

    def __init__(self, name: str, number: int) -> None:
        """Make it; where there is no such memory, dumps go to stderr.

        Args:
            name: Of the pool.
            number: Of the signal.
        """
        self._memory: Memory | None = None
        if not is_shown():
            return
        try:
            end = make_page_file(SIZE, NAME)
        except OSError:
            return
        try:
            self._memory = Memory(SIZE, end.fileno())
        except OSError:
            return
        finally:
            seal(end.fileno())
            end.close()
        words = self._memory.words
        put_text(self._memory.bytes, POOL_NAME, POOL_NAME_SIZE, name)
        words[LAYOUT], words[PARENT], words[SIGNAL] = VERSION, os.getpid(), number
        words[KIND] = DUMP

    def write(self, text: str) -> None:
        """Write a dump."""
        if self._memory is None:
            print(text, file=sys.stderr, flush=True)  # noqa: T201 - it was asked for
            return
        data = text.encode(errors="replace")
        if len(data) > MOST:
            cut = CUT.encode()
            data = data[: MOST - len(cut)] + cut
        self._memory.bytes[TEXT - 8 : TEXT] = len(data).to_bytes(8, sys.byteorder)
        self._memory.bytes[TEXT : TEXT + len(data)] = data
        self._memory.words[COUNT] += 1

    def close(self) -> None:
        """Free it."""
        self.abandon()

    def abandon(self) -> None:
        """Free it, of this process."""
        if self._memory is not None:
            self._memory.close()
