"""The ends of relays beside a pool on Dask: one for each Dask worker that has workers of it.

A call goes from the pool's client to the scheduler, which hands it on to the Dask worker, as it
does for actors; `Far` answers there, on the loop of the Dask worker, which takes no place of it.

A call that is on its way when a Dask worker is lost fails. One that comes to the scheduler after it
has forgotten the Dask worker does so much later: the scheduler tries to connect for half a minute.
So a relay ends as well when the scheduler tells that a Dask worker is gone.
"""

from __future__ import annotations

import hashlib
import inspect
import secrets
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

from aplex._backends.remote import relay
from aplex._backends.remote.dask import far
from aplex._backends.remote.dask.cluster import begin
from aplex._backends.remote.meetings import NODES
from aplex._backends.remote.near import Near
from aplex._backends.remote.recent import Recent


class DaskRelays:
    """All those of one pool. On the loop of its client."""

    def __init__(self, client: Callable[[], Any]) -> None:
        """Have none yet.

        Args:
            client: Returns what makes the calls; None: the scheduler is away.
        """
        self._client = client
        self._nears: dict[str, Near] = {}
        self._lost: Recent[str, None] = Recent(NODES)  # addresses of Dask workers
        texts = [inspect.getsource(relay), inspect.getsource(far)]
        digest = hashlib.sha256("".join(texts).encode()).hexdigest()[:16]
        self._name = f"aplex_relay_{digest}"
        self.texts = (self._name, texts)

    def connect(
        self, connection: socket.socket, address: str, key: str, host: str, port: int
    ) -> None:
        """Have a Dask worker dial, and a socket here be that connection. Any thread.

        Args:
            connection: From now on its own.
            address: Of the Dask worker.
            key: Of the anchor.
            host: Where to dial.
            port: There.
        """
        attach = self._attach(connection, address, key, host, port)
        try:
            begin(self._client(), attach)
        except (AttributeError, RuntimeError):  # there is no client any more
            attach.close()
            connection.close()

    async def _attach(
        self, connection: socket.socket, address: str, key: str, host: str, port: int
    ) -> None:
        if address in self._lost:
            connection.close()
            return
        near = self._nears.get(address)
        if near is None:
            name = secrets.token_hex(8)
            call = partial(self._call, address, name)
            near = Near(call, lambda: self._forget(address, near))
            self._nears[address] = near
        await near.attach(connection, key, host, port)

    def meet(self, address: str) -> None:
        """Note that there is a Dask worker, perhaps in the place of another one."""
        self._lost.pop(address, None)

    def lose(self, address: str) -> None:
        """End the relay of a Dask worker that is gone."""
        self._lost.note(address, None)
        near = self._nears.pop(address, None)
        if near is not None:
            near.end()

    def _forget(self, address: str, near: Near | None) -> None:
        if self._nears.get(address) is near:
            del self._nears[address]

    async def _call(self, address: str, relay: str, what: str, frames: Any = None) -> Any:
        message = {"op": self._name, "what": what, "relay": relay, "frames": frames}
        client = self._client()
        if client is None:
            raise ConnectionError("there is no connection to the scheduler")
        return await client.scheduler.proxy(worker=address, msg=message)
