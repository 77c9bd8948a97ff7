"""Writes what is told of items, in a thread of its own. IO only.

A reader that stands still must hold up neither signals nor works. Of each item, the result is
written first and the record of the journal last: whatever kills the process in between, the journal
never has an item whose result was not written.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from aplex._journal.file import JournalFile

SYNC: Final = 1.0
"""Seconds for which a crash of the machine may lose records."""
CLEAR: Final = b"\r\x1b[K"
"""Clears the line of a terminal (ECMA-48, EL)."""


@dataclass(slots=True)
class Entry:
    """What is written of one item.

    Attributes:
        result: To standard output.
        failure: To standard error.
        again: To the file of failed items.
        record: To the journal.
    """

    result: bytes = b""
    failure: bytes = b""
    again: bytes = b""
    record: dict[str, Any] | None = None


class Sink:
    """Where entries go.

    Args:
        output: Descriptor of the results.
        errors: Descriptor of standard error.
        again: Descriptor of the file of failed items, if there is one.
        journal: The journal, if there is one.
        written: Called when an item was written; in the thread.
        failed: Called when something cannot be written, with what, and the error; in the thread.
            Nothing is written after that.
        ended: Called when all is written, after `finish`; in the thread.
    """

    def __init__(
        self,
        output: int,
        errors: int,
        again: int | None,
        journal: JournalFile | None,
        written: Callable[[], object],
        failed: Callable[[str, OSError], object],
        ended: Callable[[], object],
    ) -> None:
        self._output, self._errors, self._again, self._journal = output, errors, again, journal
        self._written, self._failed, self._end = written, failed, ended
        self._changed = threading.Condition()
        self._entries: deque[Entry] = deque()
        self._status = b""
        self._shown = b""  # what the terminal's last line shows
        self._ending = False
        self._broken = False
        self._unsynced = 0.0  # since when there are records that the disk may not have
        self._thread = threading.Thread(target=self._run, name="aplex-map-output", daemon=True)
        self._clears_output = os.isatty(output)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def put(self, entry: Entry) -> None:
        """Have an entry written."""
        with self._changed:
            self._entries.append(entry)
            self._changed.notify()

    def show(self, status: str) -> None:
        """Show a status in the last line of the terminal."""
        with self._changed:
            self._status = status.encode("utf-8", "replace")
            self._changed.notify()

    def finish(self) -> None:
        """End when all is written."""
        with self._changed:
            self._status = b""
            self._ending = True
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._has_work, self._patience())
                entry = self._entries.popleft() if self._entries else None
                status, ending = self._status, self._ending
            if entry is not None:
                self._write(entry)
            if status != self._shown:
                self._draw(status)
            if self._patience() == 0:
                self._sync()
            if entry is None and ending:
                self._sync()
                self._end()
                return

    def _has_work(self) -> bool:
        return bool(self._entries) or self._ending or self._status != self._shown

    def _patience(self) -> float | None:
        """Seconds until the journal must be on the disk."""
        return max(0.0, self._unsynced + SYNC - time.monotonic()) if self._unsynced else None

    def _write(self, entry: Entry) -> None:
        if self._broken:
            return
        what = "the results"
        try:
            if entry.result:
                if self._clears_output:
                    self._draw(b"")
                write_all(self._output, entry.result)
            if entry.again and self._again is not None:
                what = "the file of failures"
                write_all(self._again, entry.again)
            if entry.failure:
                self._draw(b"")
                tell(self._errors, entry.failure)
            if entry.record is not None and self._journal is not None:
                what = "the journal"
                self._journal.append(entry.record)
                self._unsynced = self._unsynced or time.monotonic()
        except OSError as error:
            self._broken = True
            self._failed(what, error)
        else:
            self._written()

    def _draw(self, status: bytes) -> None:
        if status != self._shown:
            tell(self._errors, CLEAR + status)
            self._shown = status

    def _sync(self) -> None:
        if self._unsynced and self._journal is not None:
            self._unsynced = 0.0
            self._journal.sync()


def write_all(fd: int, data: bytes) -> None:
    """Write all of it: one write, unless a pipe takes less.

    Raises:
        OSError: That cannot be done.
    """
    written = os.write(fd, data)
    while written < len(data):
        written += os.write(fd, data[written:])


def tell(fd: int, data: bytes) -> None:
    """Write to standard error; if nobody listens, nobody is told."""
    with contextlib.suppress(OSError):
        write_all(fd, data)
