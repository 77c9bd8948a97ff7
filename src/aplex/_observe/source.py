"""The Source: where a recording comes from: a pool that is recorded now, or a tape.

It joins a `Book` to the `Recorder` of a pool, of which there is one, made with the first recording.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, Self, TypeVar

from aplex._observe.book import Book
from aplex._observe.recorder import Recorder
from aplex._observe.tape import Block, Tape
from aplex._observe.writer import Writer
from aplex._pool.pool import Pool
from aplex._pool.state import PoolWorker
from aplex._version import __version__

T = TypeVar("T")
PAUSE: Final = 1.0
"""Seconds after which what is new is written to the file."""


class Observable(Protocol):
    """What a recording needs of a manager."""

    name: str
    pool: Pool

    def within(self, look: Callable[[], T]) -> T:
        """Make a call under the lock."""
        ...

    def observe(self, observer: Any, level: int) -> None:
        """Have an observer told from now on; the workers are told the level."""

    def look(self) -> None:
        """Have workers know what they were told."""

    def observer(self) -> Any:
        """Return who is told, or was."""

    def call_later(self, seconds: float, call: Callable[[], None]) -> None:
        """Make a call after that time, on a thread of the pool's own."""

    def running(self, worker: PoolWorker) -> tuple[int, float]:
        """Return the number of the function that runs in a worker, and since when."""
        ...

    def in_flight(self) -> Collection[int]:
        """Return the numbers of the works that are in flight."""
        ...


class Source:
    """A recording, from its begin to its end."""

    def __init__(
        self,
        manager: Observable | None,
        limit: int,
        *,
        messages: bool,
        path: Path | None = None,
    ) -> None:
        """Record nothing yet.

        Args:
            manager: Of the pool; None: there is a tape.
            limit: Works that are kept at most.
            messages: Whether to keep the messages of exceptions.
            path: The file to write while it goes on, if there is to be one.
        """
        self._path = path
        self._writer: Writer | None = None
        self._manager = manager
        self._limit = limit
        self._messages = messages
        self._book: Book | None = None
        self._recorder: Recorder | None = None
        self._tape: Tape | None = None
        self._ended: int | None = None
        self._pid = 0  # of the process in which it began; a fork must not write the same file
        self.pool = "" if manager is None else manager.name

    @classmethod
    def of(cls, tape: Tape) -> Self:
        """Return the source of a recording that was read."""
        source = cls(None, 0, messages=False)
        source._tape = tape
        source.pool = tape.head.get("pool", "?")
        return source

    @property
    def active(self) -> bool:
        """Whether it is being recorded."""
        return self._book is not None and self._ended is None

    @property
    def dropped(self) -> int:
        """Works that were dropped."""
        if self._book is not None:
            return self._book.dropped
        return 0 if self._tape is None else self._tape.head.get("dropped", 0)

    def begin(self) -> None:
        """Begin to record.

        Raises:
            RuntimeError: It has begun before.
        """
        if self._manager is None or self._book is not None:
            raise RuntimeError("this recording was made already; pool.record() makes a new one")
        self._manager.within(self._begin)
        self._manager.look()  # else a worker elsewhere may begin a work before it knows

    def _begin(self) -> None:
        manager = self._manager
        assert manager is not None
        recorder = manager.observer()
        if recorder is None:
            recorder = Recorder(manager.pool)
        head = {
            "pool": manager.name,
            "size": manager.pool.size,
            "max_works_per_worker": manager.pool.max_works_per_worker,
            "os_pid": os.getpid(),
            "aplex": __version__,
            "python": platform.python_version(),
            "wall": time.time(),
            "started": time.monotonic_ns(),
        }
        if self._path is not None:
            self._writer = Writer(self._path, head, self._limit)
        book = Book(head, recorder.names, self._limit, messages=self._messages)
        if self._writer is not None:
            book.to_write = lambda: manager.call_later(PAUSE, self._write)
        recorder.open(book, self.end)
        if self._writer is not None:
            recorder.closers.append(self._close_file)
        self._recorder, self._book, self._pid = recorder, book, os.getpid()
        manager.observe(recorder, recorder.level)

    def _look_at_functions(self) -> None:
        """Note what runs: when a work that has not ended began is not reported yet."""
        if self._manager is not None and self._recorder is not None:
            for worker in self._manager.pool.everyone():
                self._recorder.running(worker, self._manager.running(worker))

    def end(self) -> None:
        """End the recording, if it goes on."""
        if self.active:
            assert self._manager is not None
            self._manager.within(self._end)

    def _end(self) -> None:
        book, recorder, manager = self._book, self._recorder, self._manager
        if self._ended is None and book and recorder and manager:
            self._look_at_functions()
            recorder.shut(book)
            self._ended = time.monotonic_ns()
            manager.observe(recorder, recorder.level)
            self._manager = self._recorder = None

    # -- the file: on the listener's thread, so that no lock is needed ----------

    def _write(self) -> None:
        """Write what is new."""
        manager, book, writer = self._manager, self._book, self._writer
        if manager is None or book is None or writer is None or os.getpid() != self._pid:
            return
        blocks, names = manager.within(partial(self._take_new, manager, book))
        writer.append(blocks, names)
        if writer.is_long:
            writer.renew(manager.within(book.tape))

    @staticmethod
    def _take_new(manager: Observable, book: Book) -> tuple[list[Block], list[str]]:
        return book.take_new(manager.in_flight()), book.names.texts[:]

    def _close_file(self) -> None:
        """Write the rest, when the pool has ended."""
        book, writer, self._writer = self._book, self._writer, None
        if book is None or writer is None or os.getpid() != self._pid:
            return
        head = {"ended": self._ended}
        if book.dropped:  # the file has them still
            writer.renew(book.tape(**head))
        else:
            writer.append(book.take_new(()), book.names.texts[:])
        writer.close(head)

    def mark(self, text: str) -> None:
        """Note what the user says."""
        recorder, book, manager = self._recorder, self._book, self._manager
        if recorder is not None and book is not None and manager is not None:
            manager.within(lambda: recorder.mark(book, text))

    def tape(self) -> Tape:
        """Return all that was recorded so far.

        Raises:
            RuntimeError: It has not begun.
        """
        if self._tape is not None:
            return self._tape
        book, manager = self._book, self._manager
        if book is None:
            raise RuntimeError("nothing is recorded yet: use `with pool.record() as run:`")
        if manager is not None:
            return manager.within(partial(self._tape_now, book))
        self._tape = book.tape(ended=self._ended or 0)
        if self._writer is None:
            self._book = None  # the memory of one of them is enough
        return self._tape

    def _tape_now(self, book: Book) -> Tape:
        """Return what is recorded so far, with what waits."""
        self._look_at_functions()
        tape = book.tape(ended=time.monotonic_ns(), going_on=True)
        if self._recorder is not None:
            tape.blocks.append(Block(self._recorder.left()))
            tape.names = book.names.texts[:]
        return tape
