"""What the workers of one machine have together, so that it travels there once.

Each agent has it open, and tells the pool where; so the next agent finds it with any of those that
live, and it is gone when the last of them is. Nothing of it has a name. Whoever cannot open it, in
a container with processes of its own, say, gets his own.
"""

from __future__ import annotations

import atexit
import os
import sys
from typing import NamedTuple

from aplex._wire import lent_files, orders
from aplex._wire.frames import PipeEnd, Reader, Writer
from aplex._wire.lent_files import Told
from aplex._wire.orders import Welcome
from aplex._wire.shared_memory import make_shared_memory_file


class Belongings(NamedTuple):
    """What a worker has besides its connections."""

    memory: list[PipeEnd]  # of the pool: for calls and for results; or none
    common: PipeEnd | None  # where shared objects are that came to this machine
    modules: str | None  # a path of what the program is made of


def take_up(control: PipeEnd, reader: Reader, welcome: Welcome) -> Belongings:
    """Open what is there, make what is not, and tell the pool.

    Args:
        control: The control connection.
        reader: Reads from it.
        welcome: What the pool has said.

    Raises:
        OSError: The pool is gone, or there are too many open files.
        EOFError: The pool is gone.
    """
    memory = _all_of(welcome["memory"])
    common = None if memory else _first_of(welcome["common"]) or make_shared_memory_file()
    lent = _first_of(welcome["modules_at"])
    path: str | None = None
    where: Told | None = None
    if lent is not None:
        path, where = _path_of(lent.fileno()), lent_files.told(lent.fileno())
    elif welcome["modules"] is not None:
        path, where = _place_modules(welcome["modules"])
    welcome["modules"] = None  # it is there now, not here
    told = None if common is None else lent_files.told(common.fileno())
    lacking = bool(welcome["modules_at"]) and lent is None
    Writer(control).write((orders.SET_UP, bool(memory), told, where, lacking))
    if lacking:
        while not reader.frames:
            reader.read()
        path, _ = _place_modules(reader.frames.popleft())
    return Belongings(memory, common, path)


def _path_of(fd: int) -> str:
    return f"/proc/{os.getpid()}/fd/{fd}"


def _first_of(places: list[Told]) -> PipeEnd | None:
    """Return the first of these that can be opened: they are the same."""
    for where in places:
        end = lent_files.opened(where)
        if end is not None:
            return end
    return None


def _all_of(places: list[Told]) -> list[PipeEnd]:
    """Return all of these, or none."""
    ends = [lent_files.opened(where) for where in places]
    found = [end for end in ends if end is not None]
    if len(found) == len(ends):
        return found
    for end in found:
        end.close()
    return []


def _place_modules(data: bytes) -> tuple[str, Told | None]:
    """Return a path for a zip of modules, good as long as this process lives, and where that is.

    On Linux it is anonymous memory, which the worker, and what its works start, can open by this
    path; elsewhere, a file that is removed when this process exits.
    """
    where: Told | None
    if sys.platform == "linux":
        fd = os.memfd_create("aplex-modules", os.MFD_CLOEXEC)
        path, where = _path_of(fd), lent_files.told(fd)
    else:
        import tempfile

        where = None
        fd, path = tempfile.mkstemp(suffix=".zip")
        atexit.register(_remove, path, os.getpid())
    with open(fd, "wb", closefd=sys.platform != "linux") as file:
        file.write(data)
    return path, where


def _remove(path: str, owner: int) -> None:
    if os.getpid() == owner:
        os.unlink(path)  # noqa: PTH108
