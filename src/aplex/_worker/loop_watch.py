"""The LoopWatch: sees what blocks the event loop of a worker, while it is blocked.

A loop goes round in *turns*: it waits for what happens, then runs what is due. With loops of
``asyncio`` the selector is wrapped, so it is known, at some 0.3 us a turn, when each turn has
begun and how long it took. That is written into the counters of the worker, where the parent can
read it without asking. With other loops (uvloop) nothing is called each turn: there the loop is
asked to note the time, twice in `slow` seconds, as long as works are on it.

Another thread looks at it: the watcher of a worker process, the listener of a pool of threads.
It sleeps while the loop waits. The first turn after that wakes it; it looks twice in `slow`
seconds then, and sleeps again when it finds the loop waiting. So a loop that waits wakes nobody,
and one that is busy wakes the watcher once in a while, not at each turn.

What the loop has called at two looks in one turn, and still runs when the turn has taken `slow`
seconds, blocks it. (At one look it may be anything of a crowd.) Named is the innermost coroutine
in it: that has called what blocks. Code that keeps the
interpreter lock keeps the watcher from looking, too: it is seen in the counters only.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
import time
import traceback
import weakref
from asyncio.selector_events import BaseSelectorEventLoop
from collections.abc import Callable, Collection, MutableSequence
from types import CodeType, FrameType
from typing import Any, Final

from aplex._common.frames import frames_of
from aplex._common.messages import COUNTERS, SLOW, TURN_ENDED, TURN_LAG, TURN_SINCE

COROUTINES: Final = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
LOOKS: Final = 2
"""Looks in ``slow_callback`` seconds."""
FORGET: Final = 8
"""Turns after which a long one is nearly forgotten."""
MOST_PLACES: Final = 1000
"""Places that were told of and are remembered."""
OURS: Final = ("aplex._", "asyncio", "uvloop", "threading", "concurrent.futures", "contextlib")
"""Modules, or beginnings of their names, that are around the user's code."""

Stall = tuple[float, str, str, int, str]
"""Seconds, and what blocks: name, file, line, stack."""


class LoopWatch:
    """Watches one loop.

    Args:
        started: The counters of the worker.
        wake: Has the thread that looks call `look` soon. Any thread; takes no lock.
        tell: Takes a `Stall`. Called in the thread that looks.
    """

    def __init__(
        self,
        started: MutableSequence[int] | memoryview,
        wake: Callable[[], object],
        tell: Callable[[Stall], object],
    ) -> None:
        self._started = started
        self._slow = started[SLOW]  # nanoseconds; 0: tell nothing
        self._wake = wake
        self._tell = tell
        self._awake = False  # whether `look` will be called without a `_wake`
        self._thread = 0
        self._around: set[CodeType] = set()  # what runs the loop
        # The turn, and what ran, at the last look.
        self._seen: tuple[int, Callable[[], object]] | None = None
        self._places: set[tuple[str, int]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._asks = False  # whether the loop must be asked
        self._works: Collection[object] = ()
        self._arriving = False  # whether some are just beginning
        self._asked = 0  # when it was asked for the time, and has not answered

    # -- on the loop's thread -------------------------------------------------

    def attach(
        self, loop: asyncio.AbstractEventLoop, works: Collection[object], ident: int
    ) -> None:
        """Watch a loop that does not run yet, on the thread of that number."""
        self._thread = ident
        frame: FrameType | None = sys._getframe()  # noqa: SLF001 - documented
        while frame is not None:
            self._around.add(frame.f_code)
            frame = frame.f_back
        if isinstance(loop, BaseSelectorEventLoop):
            any_loop: Any = loop
            selector = any_loop._selector  # noqa: SLF001
            selector.select = self._watched(selector.select)
        else:
            self._asks = True
        self._loop, self._works = loop, works

    def arriving(self, *, now: bool) -> None:
        """Note that works are about to begin, or have begun. Of use where turns are not seen."""
        if not self._asks or not self._slow:
            return
        self._arriving = now
        if not self._awake and self._has_to_ask():  # in this order, see `look`
            self._awake = True
            self._wake()

    def detach(self) -> None:
        """Watch no more: the loop has ended."""
        self._slow = self._thread = 0
        self._asks = False
        self._started[TURN_SINCE] = 0
        self._started = [0] * COUNTERS  # its memory may be freed, and a look be due

    def _watched(self, select: Callable[[float | None], Any]) -> Callable[[float | None], Any]:
        """Return a ``select`` that notes when the loop waits. Short: it is called each turn."""
        started, now = self._started, time.monotonic_ns
        since = lag = 0

        def watched_select(timeout: float | None = None) -> Any:
            nonlocal since, lag
            if since:
                started[TURN_ENDED] = ended = now()
                took = ended - since
                lag = took if took > lag else lag - (lag - took) // FORGET
                started[TURN_LAG] = lag
                started[TURN_SINCE] = 0
            events = select(timeout)
            started[TURN_SINCE] = since = now()
            if not self._awake and self._slow:  # in this order, see `look`
                self._awake = True
                self._wake()
            return events

        return watched_select

    def _answer(self) -> None:
        """Note that the loop came to this, which it was asked for."""
        ended = time.monotonic_ns()
        took = ended - self._asked
        self._asked = 0
        lag = self._started[TURN_LAG]
        self._started[TURN_LAG] = max(took, lag - (lag - took) // FORGET)
        self._started[TURN_ENDED] = ended
        self._started[TURN_SINCE] = 0

    # -- on the thread that looks ---------------------------------------------

    def look(self) -> float | None:
        """Look what the loop does; tell, once for each place, of what blocks it.

        Returns:
            Seconds after which to look again; None: when it is wanted.
        """
        if not self._awake:
            return None
        if self._asks:
            self._ask()
        since = self._started[TURN_SINCE]
        if not since and not self._has_to_ask():
            self._seen = None
            self._awake = False
            # Else a turn has begun, or works have, that saw us awake.
            if not self._started[TURN_SINCE] and not self._has_to_ask():
                return None
            self._awake = True
            since = self._started[TURN_SINCE]
        frame = self._root() if since and self._slow else None
        if frame is not None:
            self._judge(since, frame)
        return max(0.001, self._slow / LOOKS / 1e9)

    def _judge(self, since: int, frame: FrameType) -> None:
        """Tell of what has blocked the loop for long, and since the last look."""
        took = time.monotonic_ns() - since
        seen, self._seen = self._seen, (since, self._running(frame))
        if (
            took < self._slow
            or seen is None
            or seen[0] != since
            or seen[1]() is not self._seen[1]()
        ):
            return
        frames = self._from(frame)
        culprit = next((f for f in frames if f.f_code.co_flags & COROUTINES), frame)
        place = culprit.f_code.co_filename, culprit.f_lineno
        if place in self._places or len(self._places) >= MOST_PLACES:
            return
        self._places.add(place)
        module = str(culprit.f_globals.get("__name__", "?")).replace("__mp_main__", "__main__")
        name = f"{module}.{culprit.f_code.co_qualname}"
        self._tell((took / 1e9, name, *place, _stack_of(frames)))

    def _ask(self) -> None:
        """Ask the loop to note the time, unless it has not answered yet."""
        if not self._asked and self._has_to_ask() and self._loop is not None:
            self._asked = time.monotonic_ns()
            self._started[TURN_SINCE] = self._asked
            try:
                self._loop.call_soon_threadsafe(self._answer)
            except RuntimeError:  # it is closed
                self._asked = self._started[TURN_SINCE] = 0

    def _has_to_ask(self) -> bool:
        return self._asks and (self._arriving or len(self._works) > 0)

    def _root(self) -> FrameType | None:
        """Return the frame of the user's that the loop has called; else the innermost of ours.

        None while a work's module is imported for the first time, which nobody can help; and in
        the middle of asyncio's own code, which is slow only where the machine is.
        """
        frames = frames_of(self._thread)
        theirs = [each for each in frames if not self._is_ours(each)]
        if not theirs:
            return frames[0] if frames and _calls(frames[0]) else None
        root = theirs[-1]
        return None if root.f_globals.get("__name__") == "importlib._bootstrap" else root

    def _is_ours(self, frame: FrameType) -> bool:
        name = str(frame.f_globals.get("__name__", ""))
        return name.startswith(OURS) or frame.f_code in self._around

    def _running(self, frame: FrameType) -> Callable[[], object]:
        """Return what tells, as long as that lives, what runs: a task, or what else was called.

        The frame itself would keep alive what the work holds; and its address may soon be that
        of another one.
        """
        assert self._loop is not None
        task = asyncio.current_task(self._loop)
        if task is not None:
            return weakref.ref(task)
        code = frame.f_code
        return lambda: code

    def _from(self, root: FrameType) -> list[FrameType]:
        """Return the frames from the innermost one out to that one."""
        frames = frames_of(self._thread)
        if root not in frames:
            return [root]  # it has ended just now
        return frames[: frames.index(root) + 1]


def _calls(frame: FrameType) -> bool:
    """Whether an innermost frame of ours may have called code of C that is the user's."""
    asyncios = str(frame.f_globals.get("__name__", "")).startswith("asyncio")
    return not asyncios or frame.f_code is asyncio.Handle._run.__code__  # noqa: SLF001


def _stack_of(frames: list[FrameType]) -> str:
    """Return frames, the innermost first, as a traceback shows them."""
    pairs = ((frame, frame.f_lineno) for frame in reversed(frames))
    return "".join(traceback.StackSummary.extract(pairs).format())
