"""Anonymous files in memory that processes share, of a size that nobody can change.

A process that reads a page beyond the end of a mapped file is killed (SIGBUS). So a file has
its whole size from the beginning, which takes no memory, and is *sealed*: none of those who
have it can shorten or lengthen it, or take the seals off.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys

from aplex._wire.frames import PipeEnd


def make_shared_file(*sizes: int) -> PipeEnd:
    """Return a new file, of the first of these sizes that the system allows.

    Raises:
        OSError: None of them is; there are too many open files; there is no such memory here.
    """
    end = PipeEnd(_make())
    try:
        _set_size(end.fileno(), sizes)
        _seal(end.fileno())
    except BaseException:
        end.close()
        raise
    return end


if sys.platform != "win32":

    def write_at(fd: int, data: bytes | bytearray | memoryview, start: int) -> None:
        """Write all of the data at that place of a file.

        Raises:
            OSError: There is no room.
        """
        written = 0
        with memoryview(data) as view:
            while written < len(view):
                written += os.pwrite(fd, view[written:], start + written)

else:

    def write_at(fd: int, data: bytes | bytearray | memoryview, start: int) -> None:
        """Raise OSError: there are no such files here."""
        raise OSError(errno.ENOSYS, f"not here: {len(data)} bytes at {start} of {fd}")


def _set_size(fd: int, sizes: tuple[int, ...]) -> None:
    for size in sizes[:-1]:
        with contextlib.suppress(OSError):  # there may be a limit (``ulimit -f``)
            os.ftruncate(fd, size)
            return
    os.ftruncate(fd, sizes[-1])


def _make() -> int:
    if sys.platform != "linux" or not hasattr(os, "memfd_create"):
        raise OSError("no anonymous files in memory here")
    return os.memfd_create("aplex", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)


def _seal(fd: int) -> None:
    if sys.platform == "linux":
        from fcntl import F_ADD_SEALS, F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_SHRINK, fcntl

        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
