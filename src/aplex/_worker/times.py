"""Times: when works began and ended, gathered for the frame that reports them.

Only while somebody records (the parent says so in shared memory, `RECORDING`); a worker that is
never recorded does not import this. The times are those of the monotonic clock, in nanoseconds,
which all processes of a machine share.

What goes up is a column of 8-byte integers, in the order in which works ended:

* of the plain lane ``id, began`` for each, then one more word: when the last of them ended. A
  function ended when the next one began, so the clock is not looked at twice. The id 0 is no
  work: a function that has returned a coroutine, which has not ended.
* of the coroutine lane ``id, began, ended`` for each. What never waited ended when the next
  thing happened. If it is not known when a work began, as it was before the recording, that is 0.

Beside it go the errors: ``(id, type, message)``; the message is empty unless it is asked for.
"""

from __future__ import annotations

import time
from array import array
from typing import Final, TypeAlias

Errors: TypeAlias = list[tuple[int, str, str]]
Column: TypeAlias = tuple[bytes, Errors]

WITH_MESSAGES: Final = 2
"""Value of `RECORDING` from which on messages of exceptions are wanted."""
LONGEST: Final = 300
"""Characters of a message, or of the name of a type, that are kept."""


class Times:
    """The times of one lane, used under its lock, or on its thread.

    Attributes:
        rows: The column, of plain numbers. The lanes add to it themselves, which saves a call.
        begun: When coroutines began that have not ended, by their numbers.
    """

    __slots__ = ("_errors", "_messages", "begun", "rows")

    def __init__(self, level: int) -> None:
        """Have no rows yet.

        Args:
            level: The value of `RECORDING`.
        """
        self._messages = level >= WITH_MESSAGES
        self._errors: Errors = []
        self.rows: list[int] = []
        self.begun: dict[int, int] = {}

    def failed(self, work_id: int, error: BaseException) -> None:
        """Note of what type an error was."""
        self._errors.append((work_id, type_name(error), told(error) if self._messages else ""))

    def ended(self, work_id: int) -> None:
        """Note that a coroutine that has waited has ended."""
        now = time.monotonic_ns()
        self.close(now)
        self.rows += (work_id, self.begun.pop(work_id, 0), now)

    def close(self, now: int) -> None:
        """Say when what never waited has ended, if that is not said yet."""
        rows = self.rows
        if rows and not rows[-1]:
            rows[-1] = now

    def take_plain(self, running_since: int) -> Column:
        """Return what goes up; 0 if nothing runs, or since when the next function runs."""
        self.rows.append(running_since or time.monotonic_ns())
        return self._taken()

    def take_coroutines(self) -> Column:
        """Return what goes up."""
        self.close(time.monotonic_ns())
        return self._taken()

    def _taken(self) -> Column:
        taken = array("q", self.rows).tobytes(), self._errors
        self.rows = []
        self._errors = []
        return taken


def type_name(error: BaseException) -> str:
    """Return what a type of exception is called, with its module unless it is built in."""
    kind = type(error)
    module, name = str(kind.__module__), str(kind.__qualname__)
    return (name if module == "builtins" else f"{module}.{name}")[:LONGEST]


def told(error: BaseException) -> str:
    """Return the message of an exception, whose ``__str__`` may raise."""
    try:
        return str(error)[:LONGEST]
    except BaseException as reason:  # noqa: BLE001 - user code
        return f"(its message raised {type(reason).__name__})"[:LONGEST]
