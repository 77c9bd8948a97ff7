"""How files and sockets come to a child that is being started on Windows.

A file: its handle is duplicated into the child, by what `multiprocessing` has for that. A socket:
Windows shares it with the process of that number (``WSADuplicateSocket``). Both are done while
the child waits for the pickle in which they are named. So there is nothing that has a name, and
nothing listens; and if the child ends before it has read that, they end with it.

`multiprocessing` itself would have a thread listen on a named pipe, by which the child fetches
sockets.
"""

from __future__ import annotations

import os
import socket
import sys
from multiprocessing.context import get_spawning_popen
from typing import Any

if sys.platform == "win32":
    import msvcrt

assert sys.platform == "win32"


def for_child(fd: int) -> int:
    """Return the handle that a file will have in the child that is being started."""
    popen: Any = get_spawning_popen()
    handle: int = popen.duplicate_for_child(msvcrt.get_osfhandle(fd))
    return handle


def received(handle: int) -> int:
    """In the child: return the descriptor of a file, which no other process inherits."""
    return msvcrt.open_osfhandle(handle, os.O_RDWR | os.O_BINARY | os.O_NOINHERIT)


def socket_for_child(end: socket.socket) -> bytes:
    """Return what the child that is being started makes a copy of a socket of."""
    popen: Any = get_spawning_popen()
    return end.share(popen.pid)


def received_socket(shared: bytes) -> socket.socket:
    """In the child: return its copy of a socket."""
    return socket.fromshare(shared)
