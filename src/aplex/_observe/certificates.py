"""The certificate of a worker's end: what is kept of its `Death`, as JSON can say it."""

from __future__ import annotations

from typing import Any

from aplex._pool.state import Death
from aplex._worker.times import LONGEST, told, type_name

FIELDS = (
    *("pid", "exitcode", "signal_name", "cause", "in_flight", "works", "works_done", "uptime"),
    *("out_of_memory", "peak_rss", "reason", "stack"),
)
"""Attributes of `WorkerLostError` that are kept; none of them has arguments or results."""


def certificate_of(death: Death, *, asked: bool, messages: bool) -> dict[str, Any]:
    """Say how a worker ended.

    Args:
        death: What is known of it.
        asked: Whether the pool had asked it to end.
        messages: Whether messages of exceptions may be told: those of a start that has failed.
    """
    told_of: dict[str, Any] = {"asked": asked}
    error = death.error
    if error is not None:
        for name in FIELDS:
            told_of[name] = getattr(error, name, None)
        told_of["works"] = list(told_of["works"] or ())
        told_of["summary"] = getattr(error, "summary", type_name(error))
    if death.reason is not None:
        cause = death.reason.__cause__
        told_of["start_failed"] = type_name(cause or death.reason)
        if messages:
            told_of["start_failed_because"] = told(death.reason)[:LONGEST]
    return told_of
