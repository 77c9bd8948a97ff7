"""Judges: whether a work was told to slow down, and whether it runs again. User's code, mostly."""

from __future__ import annotations

import math
import random
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from threading import current_thread, main_thread
from typing import TYPE_CHECKING, Any, Final

from aplex._common.messages import RAISED, VALUE
from aplex._common.options import WorkOptions, is_error_type
from aplex._futures.outcome import outcome
from aplex._pool.state import Work
from aplex.outcomes import Outcome

if TYPE_CHECKING:
    from aplex._manager.manager import Manager

LONGEST_BACKOFF: Final = 60.0
"""Seconds; what doubles grows to this."""
HEADER: Final = "Retry-After"


class Judge:
    """Judges one work. Stands where its future stands, until the outcome is final.

    Args:
        work: It.
        options: Its options.
        args: Its positional arguments, for the predicates.
    """

    __slots__ = ("_args", "_attempts", "_manager", "_options", "_work")

    def __init__(
        self, manager: Manager, work: Work, options: WorkOptions, args: tuple[Any, ...]
    ) -> None:
        self._manager = manager
        self._work = work
        self._options = options
        self._args = args
        self._attempts = 0

    def _settle(self, kind: int, data: Any) -> None:
        """Judge an outcome. Called as a future's, with no lock, where futures are settled."""
        value, error = outcome(kind, data)
        self._attempts += 1
        try:
            pause, again = self._judge(Outcome(self._args, value, error))
        except BaseException as failure:  # of a predicate: the future tells of it
            if failure is not error and _is_ctrl_c(failure):
                self._attempts -= 1  # it is settled once more
                raise
            failure.add_note("raised by slow_down, retry_on or backoff, an option of this work")
            error, pause, again = failure, None, None
        kind, data = (VALUE, value) if error is None else (RAISED, error)
        self._manager.judged(self._work, kind, data, pause, again)

    def _judge(self, given: Outcome[Any]) -> tuple[float | None, float | None]:
        """Return for how long its key is to pause (None: not at all), and when it runs again."""
        options = self._options
        pause = None
        if options.slow_down is not None:
            pause = _seconds(options.slow_down, given)
        if options.retry_on is None or self._attempts >= options.max_attempts:
            return pause, None
        wait = _seconds(options.retry_on, given)
        if wait is None:
            return pause, None
        return pause, max(self._backoff(), wait, pause or 0.0)

    def _backoff(self) -> float:
        """Return the seconds before the next attempt."""
        backoff = self._options.backoff
        if callable(backoff):
            return max(0.0, float(backoff(self._attempts)))
        longest = min(LONGEST_BACKOFF, backoff * 2.0 ** min(self._attempts - 1, 60))
        return longest * random.uniform(0.5, 1.0)


def _is_ctrl_c(error: BaseException) -> bool:
    return isinstance(error, KeyboardInterrupt) and current_thread() is main_thread()


def _seconds(sign: Any, given: Outcome[Any]) -> float | None:
    """Return for how long an outcome asks to wait; None: it is not one that is meant."""
    if isinstance(sign, tuple) or is_error_type(sign):
        return _retry_after(given.exception) if isinstance(given.exception, sign) else None
    said = sign(given)
    if said is None or said is False:
        return None
    return _retry_after(given.exception) if said is True else max(0.0, float(said))


def _retry_after(error: BaseException | None) -> float:
    """Return the seconds that an exception asks to wait, in the ways of HTTP clients.

    An attribute ``retry_after`` (seconds), or the header ``Retry-After`` in ``headers`` of the
    exception or of its ``response``: seconds, or a date (RFC 9110, section 10.2.3).
    """
    if error is None:
        return 0.0
    said: Any = getattr(error, "retry_after", None)
    for holder in (error, getattr(error, "response", None)):
        headers = getattr(holder, "headers", None)
        if said is None and callable(get := getattr(headers, "get", None)):
            # Not all are a `Mapping`: those of `urllib.error.HTTPError` are a `Message`.
            said = get(HEADER, get(HEADER.lower()))
    if said is None:
        return 0.0
    try:
        seconds = float(said)
    except (TypeError, ValueError):
        return _until(said)
    return max(0.0, seconds) if math.isfinite(seconds) else 0.0  # none can be waited for


def _until(date: Any) -> float:
    """Return the seconds until a date of HTTP; 0 if it is none."""
    try:
        then = parsedate_to_datetime(date)
    except (TypeError, ValueError):
        return 0.0
    if then.tzinfo is None:
        then = then.replace(tzinfo=UTC)
    return max(0.0, (then - datetime.fromtimestamp(time.time(), UTC)).total_seconds())
