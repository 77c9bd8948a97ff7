"""The Writer: keeps the file of a recording that goes on, so that a crash loses a second of it.

What is new is appended at most once a second, and not at all while nothing happens, on the
listener's thread. When the file has twice as many works as may be kept, it is made anew from what
is kept, beside the old one, and put in its place.
"""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path
from typing import Any, BinaryIO

from aplex._observe.file import MAGIC, part, save
from aplex._observe.tape import Block, Tape

_log = logging.getLogger("aplex")


class Writer:
    """The file of one recording. Used by one thread at a time."""

    def __init__(self, path: Path, head: dict[str, Any], limit: int) -> None:
        """Make the file.

        Args:
            path: Where; what was there is gone.
            head: Of the recording.
            limit: How many works are kept.

        Raises:
            OSError: It cannot be made.
        """
        self.path = path
        self._limit = limit
        self._works = 0
        self._names = 0
        self._failed = False
        # Without a buffer: a forked process must not write our bytes a second time.
        self._file: BinaryIO = path.open("wb", buffering=0)
        self._write(MAGIC + part({"head": head}, ()))

    def append(self, blocks: list[Block], names: list[str]) -> None:
        """Append what is new: blocks, and names that they use."""
        new, self._names = names[self._names :], len(names)
        self._works += sum(block.works for block in blocks)
        if blocks:
            self._write(part({"names": new}, blocks))

    @property
    def is_long(self) -> bool:
        """Whether `renew` is to be called."""
        return self._works > 2 * self._limit

    def renew(self, tape: Tape) -> None:
        """Make the file anew."""
        if self._failed:
            return
        beside = self.path.with_name(f"{self.path.name}.{os.getpid()}.part")
        try:
            with beside.open("wb") as file:
                save(tape, file)
            beside.replace(self.path)
            self._file.close()
            self._file = self.path.open("ab", buffering=0)
        except OSError as error:
            with contextlib.suppress(OSError):
                beside.unlink()
            self._fail(error)
        self._works = sum(block.works for block in tape.blocks)
        self._names = len(tape.names)

    def close(self, head: dict[str, Any]) -> None:
        """Write what the whole recording is, and close the file."""
        self._write(part({"head": head}, ()))
        self._file.close()

    def _write(self, data: bytes) -> None:
        if self._failed:
            return
        view = memoryview(data)
        try:
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        self._failed = True
        with contextlib.suppress(Exception):  # of a handler of the user's
            _log.error("the recording %s ends here: %s", self.path, error)
