"""Context variables for tests, and works that look at them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from typing import Any

TENANT: ContextVar[str] = ContextVar("tenant")  # not the name it has here
REQUEST: ContextVar[Any] = ContextVar("REQUEST", default=None)
OTHER: ContextVar[str] = ContextVar("OTHER", default="default")


def seen(*_: object) -> tuple[str, Any, str]:
    return TENANT.get("nobody"), REQUEST.get(), OTHER.get()


async def aseen(*_: object) -> tuple[str, Any, str]:
    await asyncio.sleep(0)
    return seen()


def seen_later() -> Any:
    """A plain function that returns a coroutine."""
    return aseen()


def see_and_set(value: str) -> tuple[str, Any, str]:
    before = seen()
    TENANT.set(value)
    OTHER.set(value)
    return before


def see_and_fail(value: str) -> None:
    see_and_set(value)
    raise LookupError(value)


async def asee_and_set(value: str) -> tuple[str, Any, str]:
    before = seen()
    TENANT.set(value)
    await asyncio.sleep(0)
    OTHER.set(value)
    return before


def stream_seen(count: int) -> Iterator[tuple[str, Any, str]]:
    for number in range(count):
        yield seen()
        OTHER.set(str(number))


async def astream_seen(count: int) -> AsyncIterator[tuple[str, Any, str]]:
    for number in range(count):
        yield seen()
        OTHER.set(str(number))


def trace_and_baggage() -> tuple[int, Any]:
    from opentelemetry import baggage, trace

    return trace.get_current_span().get_span_context().trace_id, baggage.get_baggage("tenant")


async def atrace_and_baggage() -> tuple[int, Any]:
    await asyncio.sleep(0)
    return trace_and_baggage()
