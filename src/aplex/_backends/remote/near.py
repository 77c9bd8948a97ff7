"""The end of a relay beside the pool: makes the calls of the cluster. See `relay`.

It begins with the first connection, and ends with the last one, or when a call fails: then all
connections end, for nothing may be lost in the middle of one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aplex._backends.remote.relay import BYE, Exchange

_log = logging.getLogger("aplex")


class Near:
    """The end of a relay beside the pool: makes the calls. On one event loop."""

    def __init__(self, call: Callable[..., Awaitable[Any]], over: Callable[[], None]) -> None:
        """Begin with the first connection.

        Args:
            call: Calls `Far.push` or `Far.pull` at the other end, whose name comes first, with what
                follows, but for the name of this relay.
            over: Called when it has ended, or will take no more connections.
        """
        self._call = call
        self._over = over
        self.exchange = Exchange(self._part)
        self.task: asyncio.Task[None] | None = None

    async def attach(self, connection: Any, key: str, host: str, port: int) -> None:
        """Have the other end dial, and a socket here be that connection."""
        await self.exchange.attach(connection, key, host, port)
        if self.task is None:
            self.task = asyncio.get_running_loop().create_task(self._run())

    def end(self) -> None:
        """End all connections at once: the other end is gone."""
        self.exchange.end()
        if self.task is not None:
            self.task.cancel()

    def _part(self) -> None:
        self._over()
        self.exchange.put([BYE, 0, None])

    async def _run(self) -> None:
        up: asyncio.Task[None] | None = None
        try:
            while (frames := await self.exchange.some()) is not None:
                await self._call("push", frames)
                if up is None:
                    up = asyncio.get_running_loop().create_task(self._bring_up())
                    up.add_done_callback(lambda _: self.exchange.end())
                if any(frame[0] == BYE for frame in frames):
                    break
        except Exception:  # noqa: BLE001 - of a cluster, of many kinds
            _log.debug("a relay has ended, as a call of the cluster has failed", exc_info=True)
        finally:
            self._over()
            self.exchange.end()
            if up is not None:
                up.cancel()

    async def _bring_up(self) -> None:
        try:
            while (frames := await self._call("pull")) is not None:
                self.exchange.feed(frames)
        except Exception:  # noqa: BLE001 - of a cluster, of many kinds
            _log.debug("a relay has ended, as a call of the cluster has failed", exc_info=True)
