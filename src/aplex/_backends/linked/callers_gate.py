"""The gate for callers who read reports themselves, as far as the other back-end code knows it.

There is one on Linux only (`_backends.linked.gate`): elsewhere the listener reads everything.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Protocol

if sys.platform == "linux":
    from aplex._backends.linked import gate


class CallersGate(Protocol):
    """Waits for the channels of all workers, in the listener or in the thread of a caller."""

    def fileno(self) -> int:
        """Return what the listener waits for."""
        ...

    def watch(self, fd: int, readable: Callable[[], None]) -> None:
        """Call back whenever a channel can be read. Any thread."""

    def unwatch(self, fd: int) -> None:
        """Stop watching a channel, before it is closed. Any thread."""

    def read(self) -> None:
        """Call back for the channels that can be read now. On the listener's thread."""

    def arm(self) -> None:
        """Have the listener read, unless somebody leads. Any thread."""

    def read_until(
        self, done: Callable[[], bool], end: float | None, quiet: Callable[[], bool]
    ) -> None:
        """Lead until ``done()``, or the monotonic time ``end``; return at once if another leads."""

    def wake(self) -> None:
        """Make the thread that leads look whether it is done. Any thread."""

    def leads(self) -> bool:
        """Whether the caller is a callback in the thread that leads."""
        ...

    def is_broken_into(self) -> bool:
        """Whether the caller is a signal handler, or a finalizer, that has broken in here."""
        ...

    def settle(self, quiet: Callable[[], bool]) -> None:
        """See to it that the listener reads, if nobody leads and reports are to come."""

    def close(self) -> None:
        """Free the descriptors, as soon as nobody leads."""

    def discard(self) -> None:
        """Free the descriptors now."""


def make_gate(resume: Callable[[], None]) -> CallersGate | None:
    """Return a gate; None where there can be none. For ``resume`` see `gate.Gate`."""
    if sys.platform == "linux" and gate.AVAILABLE:
        return gate.Gate(resume)
    return None
