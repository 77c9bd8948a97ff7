"""The file of a journal: opened, locked, read, appended to. IO only.

Each record is one write of one line, so that the kernel has it when ``append`` returns: whatever
kills the process after that, the record is there. What a full disk or a crash of the machine leaves
of a last line is cut off when the file is opened the next time.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from collections.abc import Iterator
from typing import Final

from aplex._common.errors import JournalError
from aplex._common.locks import RLock
from aplex._journal.index import Index, Place
from aplex._journal.records import Fields, check_head, line_of, read_line

if sys.platform == "win32":
    BINARY: Final = os.O_BINARY
    """What `os.open` is told besides, so that bytes stay as they are."""
else:
    import fcntl

    BINARY: Final = 0
    """What `os.open` is told besides, so that bytes stay as they are."""

BLOCK: Final = 2**20
"""Bytes that are read at a time."""
_held: set[tuple[int, int]] = set()
"""The files that this process has open as journals: locks of a process do not see those."""


class JournalFile:
    """An open journal.

    Attributes:
        index: What was in it when it was opened.

    Args:
        path: Of the file. It is made if it is not there.
        head: What its first line is to say.
        fresh: Whether it must have no records.
        force: Whether it may be of another job.

    Raises:
        JournalError: It is of another job, or no journal; or somebody else writes to it.
        OSError: It cannot be opened, read, or written.
    """

    def __init__(
        self, path: str, head: Fields, *, fresh: bool = False, force: bool = False
    ) -> None:
        self.index = Index()
        self._path = path
        self._identity: tuple[int, int] | None = None
        self._fd = -1
        self._check_free()
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | BINARY, 0o666)
        try:
            self._lock()
            if stat.S_ISREG(os.fstat(self._fd).st_mode):  # else a pipe, or a device
                self.index.read(self._blocks())
            self._begin(head, fresh=fresh, force=force)
        except BaseException:
            self.close()
            raise

    def _check_free(self) -> None:
        """Check that this process has not opened it, before it opens, and closes, it once more.

        That would free the lock: it ends with the first close.
        """
        with contextlib.suppress(OSError):
            if _identity(os.stat(self._path)) in _held:  # noqa: PTH116
                raise JournalError(f"{self._path} is being written by another run")

    def _lock(self) -> None:
        """Take the lock of the file, which ends with the process.

        A lock by ``lockf``, which no child process inherits: a worker that outlives its parent for
        a moment would hold up the next run.
        """
        if sys.platform != "win32":
            try:
                fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:  # others: a file system that has no locks
                if error.errno in {errno.EACCES, errno.EAGAIN}:
                    raise JournalError(f"{self._path} is being written by another run") from None
        status = os.fstat(self._fd)
        if stat.S_ISREG(status.st_mode):
            self._identity = _identity(status)
            _held.add(self._identity)

    def _blocks(self) -> Iterator[bytes]:
        offset = 0
        while block := _read_at(self._fd, BLOCK, offset):
            offset += len(block)
            yield block

    def _begin(self, head: Fields, *, fresh: bool, force: bool) -> None:
        if self.index.foreign:
            raise JournalError(f"{self._path} is not empty, and no journal of aplex")
        if self.index.head is None or not len(self.index):  # of a run that has come to nothing
            if stat.S_ISREG(os.fstat(self._fd).st_mode):
                os.ftruncate(self._fd, 0)
            self._write(line_of(head))
            return
        if fresh:
            raise JournalError(f"{self._path} is there already")
        check_head(self._path, self.index.head, head, force=force)
        if self.index.is_cut:
            os.ftruncate(self._fd, self.index.end)
        if _read_at(self._fd, 1, self.index.end - 1) != b"\n":
            self._write(b"\n")

    def append(self, record: Fields) -> None:
        """Add a record. When this returns, only a crash of the machine can lose it.

        Raises:
            OSError: It cannot be written: the disk is full. The file is as it was.
        """
        self._write(line_of(record))

    def _write(self, line: bytes) -> None:
        written = os.write(self._fd, line)
        if written < len(line):  # a full disk
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, os.fstat(self._fd).st_size - written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._path)

    def read(self, place: Place) -> Fields:
        """Return the record that stands there.

        Raises:
            JournalError: Somebody has changed the file meanwhile.
        """
        fields = read_line(_read_at(self._fd, place.length, place.offset))
        if fields is None:
            raise JournalError(f"{self._path} was changed while it was in use")
        return fields

    def sync(self) -> None:
        """Have the disk hold what was written: not even a crash of the machine loses that."""
        with contextlib.suppress(OSError):  # a pipe, or /dev/null
            os.fsync(self._fd)

    def __del__(self) -> None:
        """Free the file of a map that nobody has iterated."""
        self.close()

    def close(self) -> None:
        """Free the file. May be called twice."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            if self._identity is not None:
                _held.discard(self._identity)
            os.close(fd)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


if sys.platform == "win32":
    _lock = RLock()

    def _read_at(fd: int, size: int, start: int) -> bytes:
        with _lock:  # writing does not mind the place, as it appends
            os.lseek(fd, start, os.SEEK_SET)
            return os.read(fd, size)

else:
    _read_at = os.pread
