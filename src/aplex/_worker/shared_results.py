"""SharedResults: puts big results into shared memory, for both lanes of a worker process.

Imported when the first big result comes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from aplex._wire.frames import PipeEnd
from aplex._wire.segments import Place
from aplex._wire.shared_memory import SharedMemory, SharedPayload


class SharedResults:
    """The shared memory that a worker process writes and its parent reads."""

    def __init__(self, end: PipeEnd, wake: Callable[[], object]) -> None:
        """Have nothing in it yet.

        Args:
            end: The file.
            wake: Has ``trim`` called soon. Safe in a finalizer.
        """
        self._wake = wake
        self._trim_at: float | None = None  # monotonic
        self._memory = SharedMemory(end, self._trim_later)

    def put(self, payloads: Any) -> Place | None:
        """Return where the payloads are, for the parent to have; None if there is no room."""
        payload = self._memory.put(payloads)
        if payload is None:
            return None
        self._memory.lend(payload.place)
        return payload.place

    def keep(self, payloads: Any) -> SharedPayload | None:
        """Copy payloads for this process alone, until what this returns is garbage."""
        return self._memory.put(payloads)

    def forget(self) -> None:
        """Unmap it all; nothing is put there any more."""
        self._memory.forget()

    def _trim_later(self, seconds: float) -> None:
        self._trim_at = time.monotonic() + seconds
        self._wake()

    def trim(self) -> float | None:
        """Give back memory, if it is time to.

        Returns:
            Seconds after which to call again; None: only when there is something new.
        """
        when = self._trim_at
        if when is not None and when <= time.monotonic():
            self._trim_at = None
            self._memory.trim()
            when = self._trim_at
        return None if when is None else max(0.0, when - time.monotonic())
