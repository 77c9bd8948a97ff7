"""The levels of all loggers: read in the parent, set in its workers."""

from __future__ import annotations

import contextlib
import logging
import selectors
import threading
from typing import TypeAlias

from aplex._wire.frames import End, Reader
from aplex._worker.loop_thread import be_daemon

Levels: TypeAlias = tuple[dict[str, int], int, bool]
"""Of each logger that has one its level; which one is disabled; whether warnings are logged."""


def levels_now() -> Levels:
    """Return the levels of this process."""
    levels = {name: logger.level for name, logger in loggers().items() if logger.level}
    capture = getattr(logging, "_warnings_showwarning", None) is not None
    return levels, logging.root.manager.disable, capture


def set_levels(new: Levels, before: Levels | None) -> None:
    """Have these levels in this process.

    Args:
        new: The levels.
        before: Those that the parent had before: other loggers, which only works have given a
            level, keep that. None: the process begins, and no logger keeps any.
    """
    levels, disabled, capture = new
    known = loggers()
    for name in known if before is None else before[0]:
        if name not in levels and name in known:
            known[name].level = logging.NOTSET
    for name, level in levels.items():
        logging.getLogger(name).level = level
    if before is None or before[2] != capture:
        logging.captureWarnings(capture)
    logging.disable(disabled)  # which has all loggers forget what they thought was enabled


def loggers() -> dict[str, logging.Logger]:
    """Return all loggers by their names; the root has none."""
    known = list(logging.root.manager.loggerDict.items())
    found = {name: logger for name, logger in known if isinstance(logger, logging.Logger)}
    return {"": logging.root, **found}


class LevelReader:
    """Takes the parent's levels, in a worker.

    Attributes:
        may_come: Whether the parent is there to send some.
    """

    def __init__(self, end: End) -> None:
        """Read nothing yet.

        Args:
            end: Where levels come from; does not block.
        """
        self.may_come = True
        self._end = end
        self._reader = Reader(end)
        self._newest: Levels | None = None
        self._set: Levels | None = None  # those that this process has
        self._lock = threading.Lock()  # of threads that set levels

    def begin(self) -> None:
        """Have the levels that the parent has sent before this process began."""
        selector = getattr(selectors, "PollSelector", selectors.SelectSelector)()
        selector.register(self._end, selectors.EVENT_READ)
        while self.may_come and not self._read():
            selector.select()
        self._change()

    def take(self) -> None:
        """Take what has come, on the watcher's thread.

        They are set in a thread: `logging` has a lock, for which the watcher must not wait.
        """
        if self._read():
            thread = threading.Thread(target=self._change, name="aplex-levels")
            be_daemon(thread)
            with contextlib.suppress(RuntimeError):  # there can be no more threads
                thread.start()

    def _read(self) -> bool:
        """Read once; return whether there are new levels."""
        try:
            frames = self._reader.read()
        except BlockingIOError:
            return False
        except (EOFError, OSError):
            self.may_come = False
            return False
        if not frames:
            return False
        self._newest = frames[-1]
        frames.clear()
        return True

    def _change(self) -> None:
        with self._lock:
            levels = self._newest
            if levels is not None and levels is not self._set:
                set_levels(levels, self._set)
                self._set = levels
