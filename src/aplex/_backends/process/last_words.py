"""Last words: why a new interpreter ended before it ran any code of ours.

A process that is spawned imports the main module first. If that raises, the traceback would go to
stderr, once for each process, and the parent would know no more than "exit code 1". To read
stderr along the way would need a pipe, which can fill, and changes what the users see.

So the process keeps its last words in the memory that outlives it (`_wire.counters`). The
hook that does so must be set before the main module is imported, and with what Python has
built in: nothing of aplex can be imported so early, ``sys.path`` is not set yet. What
``multiprocessing`` sends first is the process's name. So the name brings the hook along.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Generator
from multiprocessing import reduction
from multiprocessing.context import get_spawning_popen
from typing import Any, Final

from aplex._wire.counters import MARK, Progress

_HOOK: Final = """
import faulthandler, os, sys
exec(take)
wanted = os.environ.get("PYTHONFAULTHANDLER") or "faulthandler" in sys._xoptions
taken = faulthandler.is_enabled() and (wanted or sys.flags.dev_mode)
if taken:
    faulthandler.enable(fd)
    os.lseek(fd, mark, os.SEEK_SET)
    os.write(fd, b"\\1" + bytes(7))  # behind that are the last words

def hook(kind, error, trace, show=sys.excepthook):
    try:
        import traceback
        text = "".join(traceback.format_exception(kind, error, trace))
        os.write(fd, text[-16384:].encode(errors="replace"))
    except BaseException:
        show(kind, error, trace)

def withdraw(show=sys.excepthook):
    sys.excepthook = show
    if not taken:
        os.close(fd)

hook.withdraw = withdraw
sys.excepthook = hook
"""


if sys.platform == "win32":
    import msvcrt

    _TAKE: Final = """
import msvcrt
fd = msvcrt.open_osfhandle(*end)
"""

    def _end(fd: int) -> Any:
        """Return the handle of a file in the child that is being started, and how to open it."""
        popen: Any = get_spawning_popen()
        handle: int = popen.duplicate_for_child(msvcrt.get_osfhandle(fd))
        return handle, os.O_RDWR | os.O_BINARY | os.O_NOINHERIT

else:
    _TAKE: Final = """
fd = end.detach()
os.set_inheritable(fd, False)
"""

    def _end(fd: int) -> Any:
        return reduction.DupFd(fd)


class _Name(str):
    """The name of a process that sets the hook where it is unpickled."""

    __slots__ = ("fd",)
    fd: int | None

    def __reduce__(self) -> tuple[Any, ...]:
        fd, self.fd = self.fd, None
        if fd is None:  # it is sent a second time, with the process itself
            return str, (str(self),)
        names = {"hook": _HOOK, "name": str(self), "take": _TAKE, "end": _end(fd), "mark": MARK}
        return eval, ("exec(hook) or name", names)


@contextlib.contextmanager
def kept(process: Any, progress: Progress) -> Generator[None]:
    """Have a process keep its last words there, if it is started in this block."""
    name = process.name
    fd = os.dup(progress.file.fileno())  # each descriptor can be passed on once
    process.name = hooked = _Name(name)
    hooked.fd = fd
    try:
        yield
    finally:
        process.name = name
        os.close(fd)
