"""How plain functions are interrupted where no signal comes: in subinterpreters.

What Ctrl-C and ``pthread_kill`` reach is the main interpreter alone. ``PyThreadState_SetAsyncExc``
raises at any later moment, perhaps when the function has ended and the thread is in our own code,
which nobody could then mend. So while a function is to be interrupted (and only then: it has a
price), ``sys.monitoring`` calls us back, in its own thread, at its next line, jump or call. There
we look where the thread is, as the handler of the signal does, and raise. Code of C that does not
come back to Python is not stopped.

Source: PEP 669, https://docs.python.org/3/library/sys.monitoring.html
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

from aplex._wire.counters import Progress
from aplex._worker.plain_lane import PlainLane
from aplex._worker.signals import FIRST_PAUSE, LONGEST_PAUSE, Interrupts

TYPE_CHECKING = False  # from `typing`, which workers need not import
if TYPE_CHECKING:
    from typing import Any, Final

NAME: Final = "aplex"
TOOLS: Final = range(6)
EVENTS: Final = ("LINE", "JUMP", "BRANCH_LEFT", "BRANCH_RIGHT", "PY_START", "PY_RESUME")


class MonitoredInterrupts(Interrupts):
    """Interrupts functions of a lane that runs on the thread in which this is made."""

    def __init__(self, lane: PlainLane, progress: Progress, wake: Callable[[], object]) -> None:
        super().__init__(lane, progress, wake)
        self._main = threading.get_ident()
        self._monitoring: Any = getattr(sys, "monitoring", None)  # Python 3.12
        self._tool: int | None = None

    def install(self) -> None:
        """Hear of exceptions that are swallowed in finalizers. On the main thread."""
        self._say_unraisable = sys.unraisablehook
        sys.unraisablehook = self._swallowed

    def send(self) -> float | None:
        """Have the function look, if one is still to be interrupted.

        Returns:
            Seconds after which to call again; None: only when there is something new.
        """
        seq = self._wanted
        if not seq or self._progress.running()[0] != seq:  # it has ended
            self._wanted = 0
            self.stop()
            return None
        self._begin()
        pause = self._pause
        self._pause = min(2 * pause, LONGEST_PAUSE)
        return pause

    def ask(self, seq: int) -> None:
        self._wanted = seq
        self._pause = FIRST_PAUSE

    def stop(self) -> None:
        super().stop()
        tool, self._tool = self._tool, None
        if tool is not None:
            self._monitoring.set_events(tool, 0)
            self._monitoring.free_tool_id(tool)

    def _begin(self) -> None:
        if self._tool is not None:
            return
        monitoring = self._monitoring
        for tool in reversed(TOOLS):
            if monitoring.get_tool(tool) is None:
                break
        else:  # others have taken all: nothing is interrupted, and the worker is left behind
            return
        monitoring.use_tool_id(tool, NAME)
        self._tool = tool
        events = 0
        for name in EVENTS:
            event = getattr(monitoring.events, name)
            monitoring.register_callback(tool, event, self._look)
            events |= event
        monitoring.set_events(tool, events)

    def _look(self, *_: object) -> None:
        """Raise, if this is the thread, and in the user's function. Any thread."""
        if self._wanted and threading.get_ident() == self._main:
            self._handle(0, sys._getframe(1))  # noqa: SLF001 - documented
