"""Relays through a cluster of Ray: where no connection is possible, bytes go in calls of actors.

On each node that has workers of the pool there is one small actor, which dials them there, and is
called by the envoy. See `aplex._backends.remote.relay`. The pool's ends of the connections come by
a socket pair of their own, as descriptors. All is done on an event loop of its own, in a thread
that starts with the first connection.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from functools import partial
from importlib import import_module
from typing import Any

from aplex._backends.remote import relay
from aplex._backends.remote.near import Near
from aplex._backends.remote.relay import Far


class RayRelays:
    """Those of one envoy."""

    def __init__(self, ray: Any, hatch: socket.socket) -> None:
        """Wait for connections that are to be made.

        Args:
            ray: The module.
            hatch: Where they come, each with the number of an order.
        """
        self._ray = ray
        self._hatch = hatch
        self._listens: dict[int, tuple[Any, ...]] = {}
        self._nears: dict[str, Near] = {}
        self._actors: dict[str, Any] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self.thread = threading.Thread(target=self._take_all, name="aplex-relays", daemon=True)
        self.thread.start()

    def note(self, number: int, listens: tuple[Any, ...]) -> None:
        """Note where a worker listens: the id of its node, the way, host and port."""
        self._listens[number] = listens

    def forget(self, number: int) -> None:
        """Note that it has ended."""
        self._listens.pop(number, None)

    def _take_all(self) -> None:
        recv_fds: Any = import_module("socket").recv_fds  # not on Windows, nor is this
        try:
            while (taken := recv_fds(self._hatch, 8, 1))[0]:
                number = int.from_bytes(taken[0], sys.byteorder)
                for descriptor in taken[1]:  # none comes where there are too many open files
                    self._take(number, socket.socket(fileno=descriptor))
        except OSError:
            pass  # the pool is gone: that is read elsewhere

    def _take(self, number: int, connection: socket.socket) -> None:
        listens = self._listens.get(number)
        if listens is None:  # it has ended
            connection.close()
        else:
            attach = self._attach(connection, str(number), *listens)
            asyncio.run_coroutine_threadsafe(attach, self._running())

    def _running(self) -> asyncio.AbstractEventLoop:
        """Return the loop."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(
                target=self._loop.run_forever, name="aplex-relay-loop", daemon=True
            ).start()
        return self._loop

    # -- on the loop ------------------------------------------------------------

    async def _attach(
        self, connection: socket.socket, key: str, node: str, _way: str, host: str, port: int
    ) -> None:
        near = self._nears.get(node)
        if near is None:
            call = partial(self._call, self._actor(node), f"relay-{id(connection)}")
            near = Near(call, lambda: self._part(node, near))
            self._nears[node] = near
        await near.attach(connection, key, host, port)

    def _part(self, node: str, near: Near | None) -> None:
        """Have the next connection make a relay anew, and an actor: this one may be dead."""
        if self._nears.get(node) is near:
            del self._nears[node]
            self._actors.pop(node, None)

    def _actor(self, node: str) -> Any:
        """Return the actor of a node."""
        actor = self._actors.get(node)
        if actor is None:
            import_module("ray.cloudpickle").register_pickle_by_value(relay)
            strategies = import_module("ray.util.scheduling_strategies")
            there = strategies.NodeAffinitySchedulingStrategy(node, soft=False)
            far = self._ray.remote(Far).options(
                num_cpus=0, max_restarts=0, max_concurrency=100, scheduling_strategy=there
            )
            actor = self._actors[node] = far.remote()
        return actor

    async def _call(self, actor: Any, name: str, what: str, *frames: Any) -> Any:
        return await getattr(actor, what).remote(name, *frames)
