"""Files in memory that another process of the same machine has open, which has told where.

A process that is no child, and has no socket to send descriptors over, can still open what another
process of the same user has open, by ``/proc`` (Linux). Both may live in containers of their own,
and number processes differently. So a descriptor is told with the number of its file, which no
other file of the running kernel has, and nothing is opened before that is the one.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Sequence
from typing import TypeAlias

from aplex._wire.frames import PipeEnd

Told: TypeAlias = tuple[int, int, int, int]
"""Where a file is: the process, its descriptor; the device and the number of the file."""


def told(descriptor: int, owner: int | None = None) -> Told:
    """Return where this process has a file, for another one to open it.

    Args:
        descriptor: By which it has it.
        owner: Another process that has it by the same descriptor. None: this one.
    """
    found = os.fstat(descriptor)
    return owner or os.getpid(), descriptor, found.st_dev, found.st_ino


def opened(where: Sequence[int]) -> PipeEnd | None:
    """Return a file that another process has; None if that is not to be had."""
    if sys.platform == "win32":
        return None
    process, descriptor, *file = where
    path = f"/proc/{process}/fd/{descriptor}"
    try:
        if not _is(os.stat(path), file):  # noqa: PTH116 - no more than one system call
            return None
        end = PipeEnd(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return None
    if _is(os.fstat(end.fileno()), file):  # else that process has ended, and closed it, just now
        return end
    end.close()
    return None


def _is(found: os.stat_result, file: list[int]) -> bool:
    return stat.S_ISREG(found.st_mode) and [found.st_dev, found.st_ino] == file
