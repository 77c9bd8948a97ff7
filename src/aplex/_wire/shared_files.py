"""Anonymous files in memory that processes share, of a size that nobody can change.

A process that reads a page beyond the end of a mapped file is killed (SIGBUS). So a file has
its whole size from the beginning, which takes no memory, and is *sealed*: none of those who
have it can shorten or lengthen it, or take the seals off.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any

from aplex._wire.frames import PipeEnd


def make_shared_file(*sizes: int) -> PipeEnd:
    """Return a new file, of the first of these sizes that the system allows.

    Raises:
        OSError: None of them is; there are too many open files; there is no such memory here.
    """
    make: Any = getattr(os, "memfd_create", None)
    if make is None:
        raise OSError("no anonymous files in memory here")
    flags: int = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    end = PipeEnd(make("aplex", flags))
    try:
        _set_size(end.fileno(), sizes)
        _seal(end.fileno())
    except BaseException:
        end.close()
        raise
    return end


def _set_size(fd: int, sizes: tuple[int, ...]) -> None:
    for size in sizes[:-1]:
        with contextlib.suppress(OSError):  # there may be a limit (``ulimit -f``)
            os.ftruncate(fd, size)
            return
    os.ftruncate(fd, sizes[-1])


def _seal(fd: int) -> None:
    from fcntl import F_ADD_SEALS, F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_SHRINK, fcntl

    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
