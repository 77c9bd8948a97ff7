"""Frames of a thread, looked at by another thread while it goes on. A leaf.

CPython 3.11 may collect garbage while it makes the object of a frame, as ``f_back`` and
``cr_frame`` do. A finalizer that is called then may let the other thread run, whose frame ends
meanwhile: the object is then made of memory that is used for something else, and who walks on
reads garbage, or crashes. So there is no collection during such a walk. (CPython does the same in
``sys._current_frames``, https://github.com/python/cpython/issues/106883. CPython 3.12 collects
between bytecodes only, https://github.com/python/cpython/issues/97922.)
"""

from __future__ import annotations

import gc
import os
import sys
import threading

TYPE_CHECKING = False  # from `typing`, which workers need not import
if TYPE_CHECKING:
    from types import FrameType
    from typing import Final

COLLECTS_ANYWHERE: Final = sys.version_info < (3, 12)
"""Whether garbage is collected wherever an object is made."""


class FrameWalk:
    """Frames of other threads can be walked in the ``with`` block of this.

    Take it for moments. If someone calls ``gc.disable()`` just then, that is lost.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._depth = 0  # a finalizer may look as well, in the middle
        self._was_enabled = False
        self._knows_forks = False

    def __enter__(self) -> None:
        if not COLLECTS_ANYWHERE:
            return
        self._lock.acquire()
        self._depth += 1
        if self._depth == 1:
            if not self._knows_forks and sys.platform != "win32":
                self._knows_forks = True
                os.register_at_fork(after_in_child=self._end_in_child)
            self._was_enabled = gc.isenabled()
            gc.disable()

    def __exit__(self, *_: object) -> None:
        if not COLLECTS_ANYWHERE:
            return
        self._depth -= 1
        if not self._depth and self._was_enabled:
            gc.enable()
        self._lock.release()

    def _end_in_child(self) -> None:
        """End the walk of a thread that is not here."""
        if self._depth and self._was_enabled:
            gc.enable()
        self._depth = 0
        self._lock = threading.RLock()


walking: Final = FrameWalk()


def frames_of(thread: int) -> list[FrameType]:
    """Return the frames of a thread, by its number, the innermost first; none if it has ended.

    Of the thread that calls, those of this call and of its caller are not among them: who kept the
    list in a variable would keep itself, and all that is further out, until garbage is collected.
    """
    if thread == threading.get_ident():
        return _walk(sys._getframe(1).f_back)  # noqa: SLF001 - documented
    with walking:
        return _walk(sys._current_frames().get(thread))  # noqa: SLF001 - documented, for just this


def _walk(frame: FrameType | None) -> list[FrameType]:
    frames = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames
