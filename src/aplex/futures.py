"""The futures that ``submit`` returns.

Both kinds differ from their standard parents in one point only: ``cancel`` is a
*request*, as that of ``asyncio.Task`` is. A work that still waits is cancelled at
once. A coroutine that runs gets ``CancelledError`` in its worker, a plain function
of a process worker is interrupted, and the future ends as the work does.
"""

from __future__ import annotations

from aplex._futures.awaitable import AsyncioFuture
from aplex._futures.blocking import ConcurrentFuture

__all__ = ["AsyncioFuture", "ConcurrentFuture"]
