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
from collections.abc import Generator
from multiprocessing import reduction
from typing import Any, Final

from aplex._wire.counters import MARK, Progress

_HOOK: Final = """
import faulthandler, os, sys
fd = end.detach()
os.set_inheritable(fd, False)
wanted = os.environ.get("PYTHONFAULTHANDLER") or "faulthandler" in sys._xoptions
taken = faulthandler.is_enabled() and (wanted or sys.flags.dev_mode)
if taken:
    faulthandler.enable(fd)
    os.pwrite(fd, b"\\1", mark)

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


class _Name(str):
    """The name of a process that sets the hook where it is unpickled."""

    __slots__ = ("fd",)
    fd: int | None

    def __reduce__(self) -> tuple[Any, ...]:
        fd, self.fd = self.fd, None
        if fd is None:  # it is sent a second time, with the process itself
            return str, (str(self),)
        names = {"hook": _HOOK, "name": str(self), "end": reduction.DupFd(fd), "mark": MARK}
        return eval, ("exec(hook) or name", names)


@contextlib.contextmanager
def kept(process: Any, progress: Progress) -> Generator[None]:
    """Have a process keep its last words there, if it is started in this block."""
    if progress.file is None:
        yield
        return
    name = process.name
    fd = os.dup(progress.file.fileno())  # each descriptor can be passed on once
    process.name = hooked = _Name(name)
    hooked.fd = fd
    try:
        yield
    finally:
        process.name = name
        os.close(fd)
