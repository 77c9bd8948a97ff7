"""Retries: what becomes of a work that was in flight on a worker that died. A function of data."""

from __future__ import annotations

import enum
from typing import Final

from aplex._common.locks import late_imports
from aplex._pool.state import Death, Work


class Fate(enum.Enum):
    """What becomes of a work, unless it fails."""

    AGAIN = "again"
    CANCELLED = "cancelled"


AGAIN: Final = Fate.AGAIN
CANCELLED: Final = Fate.CANCELLED


def had_started(work: Work, death: Death) -> bool:
    """Whether the worker had started the work before it died."""
    return work.seq <= death.started[work.lane]


def verdict(
    work: Work, *, started: bool, terminating: bool, broken: BaseException | None
) -> Fate | BaseException:
    """Say what becomes of a work whose worker has died.

    Args:
        work: The work; its ``deaths`` include this one, if it was started.
        started: Whether the worker had started it.
        terminating: Whether workers are being killed: nothing runs again.
        broken: Why the pool is broken, if it is: nothing runs again.

    Returns:
        Whether it runs again or is cancelled; or the error with which it fails.
    """
    if work.cancel_asked:
        return CANCELLED
    if started and not (_is_retried(work) and not terminating and broken is None):
        if len(work.deaths) == 1:
            return work.deaths[0]
        with late_imports.importing:
            from aplex.exceptions import WorkQuarantinedError
        return WorkQuarantinedError(work.name, work.deaths)
    if terminating:
        return CANCELLED
    return AGAIN if broken is None else broken


def _is_retried(work: Work) -> bool:
    deaths, options = len(work.deaths), work.options
    allowed = deaths <= options.retries and deaths < options.quarantine_after
    return allowed and not work.yielded
