"""A journal that works write to: what began and ended where and when. Outlives a killed worker.

Each note is one ``write`` to a file that was opened for appending: notes of several processes
do not mix, and one that was written stays, whatever happens to its writer.
"""

from __future__ import annotations

import os
import struct
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

_NOTE = struct.Struct("<QQIB")
_fd = -1  # of this process

BEGAN, ENDED, CANCELLED = range(3)


class Note(NamedTuple):
    """One line of the journal."""

    work: int
    when: int  # nanoseconds, of the clock that all processes share
    pid: int
    event: int


def open_journal(path: str) -> None:
    """Make this process write to that file. The initializer of workers."""
    global _fd  # noqa: PLW0603 - one journal for each process
    _fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC)


def note(work: int, event: int) -> None:
    """Write that something happened to a work, here and now."""
    os.write(_fd, _NOTE.pack(work, time.monotonic_ns(), os.getpid(), event))


def read(path: Path) -> dict[int, list[Note]]:
    """Return the notes about each work, in their order."""
    notes: dict[int, list[Note]] = defaultdict(list)
    for fields in _NOTE.iter_unpack(path.read_bytes()):
        one = Note(*fields)
        notes[one.work].append(one)
    return notes
