"""Messages with descriptors, over a socket pair between two processes of this machine.

Each message is a small pickle; the descriptors that belong to it travel beside it (``SCM_RIGHTS``,
see ``man 7 unix``). What is big travels in an anonymous file, as a descriptor.
"""

from __future__ import annotations

import array
import os
import pickle
import socket
import sys
from collections.abc import Sequence

TYPE_CHECKING = False  # from `typing`, which workers need not import
if TYPE_CHECKING:
    from typing import Any, Final

assert sys.platform == "linux"

_LONGEST: Final = 64 * 1024  # bytes of a message
MOST_DESCRIPTORS: Final = 250
"""How many descriptors a message may have; the kernel's limit is 253."""

received: list[int] = []
"""The descriptors that came with what is being unpickled, see `Numbered`."""


class Numbered:
    """Stands for a descriptor in a pickle: its place among those that travel beside it."""

    def __init__(self, place: int) -> None:
        self._place = place

    def detach(self) -> int:
        """Return the descriptor, which is the caller's from now on."""
        fd, received[self._place] = received[self._place], -1
        return fd


def send(channel: socket.socket, message: Any, fds: Sequence[int] = ()) -> None:
    """Send a message. Copies of the descriptors travel; the caller's stay open.

    Raises:
        OSError: The other side is gone, or there are too many descriptors.
    """
    beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    channel.sendmsg([pickle.dumps(message)], beside)


def receive(channel: socket.socket) -> tuple[Any, list[int]]:
    """Wait for a message, and return it with its descriptors, none of which exec inherits.

    Raises:
        EOFError: The other side is gone.
    """
    room = socket.CMSG_LEN(MOST_DESCRIPTORS * array.array("i").itemsize)
    try:
        data, beside, _, _ = channel.recvmsg(_LONGEST, room, socket.MSG_CMSG_CLOEXEC)
    except ConnectionError as error:
        raise EOFError from error
    if not data:
        raise EOFError
    fds = array.array("i")
    for _, _, part in beside:
        fds.frombytes(part[: len(part) - len(part) % fds.itemsize])
    return pickle.loads(data), fds.tolist()


def file_of(data: bytes) -> int:
    """Return an anonymous file that holds the data, at its beginning.

    Raises:
        OSError: There are too many open files, or there is no memory.
    """
    fd = os.memfd_create("aplex-start", os.MFD_CLOEXEC)
    try:
        written = 0
        while written < len(data):
            written += os.pwrite(fd, memoryview(data)[written:], written)
    except OSError:
        os.close(fd)
        raise
    return fd


def data_of(fd: int) -> bytes:
    """Return what an anonymous file holds, and close it."""
    with open(fd, "rb") as file:
        return file.read()
