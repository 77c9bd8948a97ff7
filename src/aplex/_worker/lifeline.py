"""The Lifeline: what a parent tells its worker beside the lanes, and by its end that it is dead.

Or that it does not want this worker any more. What it writes, before, are the numbers of plain
functions that are to be interrupted, or `TERMINATE`, or an `INQUIRY`, which is answered. It is
read on the watcher's thread, which runs no user's code.
"""

from __future__ import annotations

import contextlib
import threading

from aplex._common.messages import DUMPED, SINCE, only
from aplex._worker.signals import Interrupts, is_deaf, kill_self, obey
from aplex._worker.stacks import rows_of

TYPE_CHECKING = False  # from `typing`, which workers need not import
if TYPE_CHECKING:
    from collections.abc import MutableSequence
    from typing import Final

    from aplex._wire.frames import End
    from aplex._worker.loop_thread import LoopThread
    from aplex._worker.plain_lane import PlainLane

_NUMBER: Final = 8  # bytes of a number on the lifeline
TERMINATE: Final = 0
"""On the lifeline, where else the numbers of functions come: end by SIGTERM."""
INQUIRY: Final = 1 << 63
"""On the lifeline, with the number of an inquiry: tell what you do."""
STUCK: Final = 0.2
"""Seconds in which the main thread must have heard a SIGTERM; else it is in code of C."""


class Lifeline:
    """The worker's side.

    Attributes:
        end: What is read.
        orphaned: Set when the worker begins to end, as the parent is dead or does not want it.
    """

    def __init__(
        self,
        end: End,
        interrupts: Interrupts,
        started: MutableSequence[int] | memoryview,
        plain: PlainLane,
        loop_thread: LoopThread,
    ) -> None:
        """Have heard nothing yet. On the main thread.

        Args:
            end: What is read.
            interrupts: Interrupts functions of the plain lane.
            started: The counters of the worker.
            plain: The plain lane, which runs on this thread.
            loop_thread: That of the coroutine lane.
        """
        self.end = end
        self.orphaned = threading.Event()
        self._plain = plain
        self._interrupts = interrupts
        self._loop_thread = loop_thread
        self._started = started
        self._main = threading.get_ident()

    def read(self) -> bool:
        """Take in which function is to be interrupted; return False at the lifeline's end."""
        data = bytearray(64 * _NUMBER)
        try:
            count = self.end.read_into(memoryview(data))
        except ConnectionError:  # a socket, whose other side has died
            return False
        numbers = memoryview(data)[: count - count % _NUMBER].cast("Q").tolist()
        asked = [number for number in numbers if number < INQUIRY]
        if TERMINATE in asked:
            self._terminate()
        elif asked:
            self._interrupts.ask(asked[-1])
        for number in numbers:
            if number >= INQUIRY:
                self._answer(number - INQUIRY)
        return count > 0

    def _answer(self, inquiry: int) -> None:
        """Tell what this worker does now."""
        rows = rows_of(
            self._loop_thread.lane,
            self._main,
            self._loop_thread.thread.ident,
            self._started[SINCE],
        )
        with contextlib.suppress(OSError):  # the parent is dead: the lifeline says so, too
            self._plain.tell(only((inquiry, DUMPED, rows)))

    def _terminate(self) -> None:
        """End by SIGTERM, unless a work handles that."""
        obey()
        self.orphaned.wait(STUCK)  # nobody sets it but this thread: the end comes meanwhile
        if is_deaf():
            kill_self()
