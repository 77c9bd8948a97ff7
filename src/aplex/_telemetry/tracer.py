"""The Tracer: makes a span of OpenTelemetry of an attempt that has ended."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.trace import SpanKind, Status, StatusCode

from aplex._observe.attempts import Attempt
from aplex._observe.crew import Member
from aplex._observe.history import FAILED, LOST, OUTCOMES, UNKNOWN
from aplex._telemetry.callers import Caller
from aplex._version import __version__

OPT_IN: Final = "OTEL_SEMCONV_STABILITY_OPT_IN"
"""Variable of the environment by which conventions are chosen that are not stable yet."""
LOST_BY: Final = "aplex.exceptions.WorkerLostError"
LANES: Final = ("coroutine", "function")


class Tracer:
    """Makes spans for one pool."""

    def __init__(self, pool: str, names: Sequence[str], provider: Any) -> None:
        """Make nothing yet.

        Args:
            pool: Its name.
            names: Texts for places, which may grow.
            provider: The ``TracerProvider``; None: the global one.
        """
        self._pool = pool
        self._names = names
        self._tracer = trace.get_tracer("aplex", __version__, provider)
        wanted = {word.strip() for word in os.environ.get(OPT_IN, "").split(",")}
        self._messaging = not wanted.isdisjoint(("messaging", "messaging/dup"))

    def make(self, attempt: Attempt, caller: Caller, member: Member | None) -> None:
        """Make a span; the provider's sampler is asked first, with the attributes.

        Args:
            attempt: Of what.
            caller: Whose context is the parent's.
            member: The worker, if there was one.
        """
        waits = caller.time if attempt.since == UNKNOWN else attempt.since
        begins = UNKNOWN if attempt.began == UNKNOWN else max(attempt.began, waits)
        # The clocks are compared now: other spans have the time of day.
        offset = time.time_ns() - time.monotonic_ns()
        name = self._names[attempt.name]
        span = self._tracer.start_span(
            f"process {name}",
            context=caller.context,
            kind=SpanKind.CONSUMER,
            attributes=self._attributes(attempt, name, waits, begins, member),
            start_time=waits + offset,
        )
        if span.is_recording():
            if begins != UNKNOWN:
                span.add_event("started", timestamp=begins + offset)
            if attempt.outcome in (FAILED, LOST):
                span.set_status(Status(StatusCode.ERROR))
        span.end(max(attempt.ended, waits, begins) + offset)

    def _attributes(
        self, attempt: Attempt, name: str, waits: int, begins: int, member: Member | None
    ) -> dict[str, Any]:
        told: dict[str, Any] = {
            "aplex.pool": self._pool,
            "aplex.work.id": attempt.id,
            "aplex.work.kind": LANES[attempt.lane],
            "aplex.attempt": attempt.number,
            "aplex.outcome": OUTCOMES[attempt.outcome],
            "code.function.name": name,
        }
        if begins != UNKNOWN:
            told["aplex.wait"] = (begins - waits) / 1e9
        if member is not None:
            told["aplex.worker.slot"] = member.slot
            if member.pid is not None:
                told["aplex.worker.pid"] = member.pid
        if attempt.outcome in (FAILED, LOST):
            # `_OTHER` is what the conventions have for a type that is not known.
            error = LOST_BY if attempt.outcome == LOST else self._names[attempt.error]
            told["error.type"] = error or "_OTHER"
        if self._messaging:
            told |= {
                "messaging.system": "aplex",
                "messaging.operation.type": "process",
                "messaging.operation.name": "process",
                "messaging.destination.name": self._pool,
                "messaging.message.id": str(attempt.id),
            }
        return told
