"""The PackedSetup: what a worker process is set up with, from the parent to its worker.

That is the loop factory, the initializer and its arguments. They are pickled once, when the
executor is made (`_wire.setup_packer`), and travel with the process object:

* What only passes from parent to child while a process is being started (locks and queues of
  ``multiprocessing``) is no part of the pickle. It travels beside it.
* A big pickle is kept in anonymous memory, where there is such, and all workers map it. With
  ``fork`` they have the parent's pages anyway. So no worker needs a copy of its own, and what
  the initializer lets go of is gone.

Assumes: `PackedSetup.take` is called once in a worker, before any work runs.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import pickle
import sys
from collections.abc import Sequence

from aplex._common.locks import late_imports
from aplex._wire.calls import SHARED
from aplex._wire.frames import PipeEnd

TYPE_CHECKING = False  # from `typing`, which workers need not import
if TYPE_CHECKING:
    from typing import Any, Final

_LINE: Final = 64  # bytes: parts begin at a cache line

_arrived: list[Any] = []
"""What has come by inheritance, while the pickle that names it is loaded."""


class PackedSetup:
    """The setup of the workers of one pool; travels with the process object."""

    def __init__(
        self,
        parts: Sequence[bytes | bytearray],
        inherited: Sequence[Any],
        end: PipeEnd | None = None,
        sizes: Sequence[int] = (),
    ) -> None:
        """Hold a setup; `_wire.setup_packer` makes one.

        Args:
            parts: The pickle, and the buffers it names.
            inherited: Objects the pickle names that travel beside it.
            end: The anonymous file that holds the parts, if one does.
            sizes: How long the parts in the file are, in bytes.
        """
        self._parts: list[bytes | bytearray] = list(parts)
        self.inherited = list(inherited)
        self._end = end
        self._sizes = sizes

    def __reduce__(self) -> tuple[Any, ...]:
        return PackedSetup, (self._parts, self.inherited, self._end, self._sizes)

    # -- in the parent ----------------------------------------------------------

    @property
    def parts(self) -> list[bytes | bytearray]:
        """The pickle, and the buffers it names; as long as they were not put into shared memory."""
        return self._parts

    def share(self) -> None:
        """Put big parts into anonymous memory, for workers that do not have ours."""
        sizes = [len(part) for part in self._parts]
        if sys.platform != "linux" or not hasattr(os, "memfd_create"):
            return
        if self._end is not None or sum(sizes) < SHARED:
            return
        with late_imports.importing:  # a worker needs none
            from aplex._wire.shared_files import write_at
        end = PipeEnd(os.memfd_create("aplex-setup", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING))
        try:
            for start, part in zip(_starts(sizes), self._parts, strict=True):
                write_at(end.fileno(), part, start)
            _seal(end.fileno())
        except OSError:  # no room: it travels with the process object
            end.close()
            return
        self._end, self._sizes, self._parts = end, sizes, []

    def close(self) -> None:
        """Free what it holds: no more workers will start."""
        self.abandon()
        self._parts, self.inherited = [], []

    def abandon(self) -> None:
        """In a forked child, which may be a worker that is to `take` the rest: close the file."""
        if self._end is not None:
            self._end.close()

    # -- in the worker ----------------------------------------------------------

    def take(self) -> tuple[Any, Any, Any, Any]:
        """Return loop factory, initializer, its arguments, the rest; keep nothing of them."""
        parts: Any = self._parts if self._end is None else self._mapped()
        _arrived[:] = self.inherited
        self._parts, self.inherited = [], []
        try:
            taken: tuple[Any, Any, Any, Any] = pickle.loads(parts[0], buffers=parts[1:])
        finally:
            _arrived.clear()
        return taken

    def _mapped(self) -> list[Any]:
        """Return views of the parts; changes are this process's own."""
        assert self._end is not None
        starts = _starts(self._sizes)
        length = starts[-1] + self._sizes[-1]
        view = memoryview(mmap.mmap(self._end.fileno(), length, access=mmap.ACCESS_COPY))
        self._end.close()
        self._end = None
        return [view[at : at + size] for at, size in zip(starts, self._sizes, strict=True)]


def inherited(number: int) -> Any:
    """Return what has travelled beside the pickle that is being loaded."""
    return _arrived[number]


def _starts(sizes: Sequence[int]) -> list[int]:
    """Return where in the file the parts begin."""
    starts = [0]
    for size in sizes[:-1]:
        starts.append(-(-(starts[-1] + size) // _LINE) * _LINE)
    return starts


def _seal(fd: int) -> None:
    """Make sure that no worker changes what the next one gets."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            import fcntl

            seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
